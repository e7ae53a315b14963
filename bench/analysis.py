"""The analysis of a data file beside its floor, and its optimum filter beside that of QETpy.

The floor is what nobody is spared: reading the file, and the transforms of its traces. QETpy
(https://github.com/spice-herald/QETpy), the reference of the SuperCDMS groups, is measured where it is installed.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from detector import acquisition, analysis, optimum_filter
from detector.noise import measured_psd
from detector.pulses import DETECTORS, SAMPLING, FloatArray
from detector.template import make_template
from detector.traces import event_steps, opened, random_triggers

CONDITIONS = {'volts': {}, 'temperature': 0.0158}
BLOCK = 256  # traces in one transform of the floor; those of the analysis fit a core's cache, which is faster
TOGETHER = 50  # traces in one call of QETpy's ofamp, at which it is fastest, because it makes matrices of them

Work = tuple[int, Callable[[], object]]  # how many events (or traces of one detector), and what is done with them


def measure(events: int, rounds: int) -> dict[str, list[float]]:
    """Events a second of the analysis and of the parts of its floor, one figure a round, alternating.

    Of optimum filters, traces a second, of one detector.
    """
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name:
        source, target = Path(name) / 'x.root', Path(name) / 'x.amp.root'
        acquisition.write_file(source, events, np.random.default_rng(1), CONDITIONS)
        traces = _read(source)
        work: dict[str, Work] = {
            'reading and transforms': (events, lambda: _transform(_read(source), BLOCK)),
            'the same, small blocks': (events, lambda: _transform(_read(source), optimum_filter.BLOCK)),
            'reading': (events, lambda: _read(source)),
            'transforms': (events, lambda: _transform(traces, BLOCK)),
            'analysis': (events, lambda: analysis.analyse(source, target)),
            **(_filters(source) if importlib.util.find_spec('qetpy') else {}),
        }
        for _, function in work.values():
            function()  # once, so that nobody pays for imports and first calls
        rates: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, (number, function) in work.items():
                with analysis.BLAS.limit(limits=1):
                    started = time.perf_counter()
                    function()
                    rates[name].append(number / (time.perf_counter() - started))
    return rates


def _read(source: Path) -> list[np.ndarray]:
    """All traces that the analysis reads, as they are in the file: (n, SAMPLES) each."""
    with opened(source) as file:
        noise = random_triggers(file, analysis.MOST_NOISE)
        steps = list(event_steps(file, analysis.STEP))
    return [part[model.name] for part in (noise, *steps) for model in DETECTORS]


def _transform(traces: list[np.ndarray], size: int) -> FloatArray:
    """The transform of every trace, once. Returns the last of them, so that nothing can be left out."""
    last = np.zeros(0)
    for part in traces:
        for start in range(0, len(part), size):
            last = np.fft.rfft(part[start : start + size].astype(float))
    return last


def _filters(source: Path) -> dict[str, Work]:
    """Amplitude, delay and χ² of the same traces of one detector, with the same template, noise spectrum and window."""
    from qetpy import ofamp

    model = DETECTORS[0]
    with opened(source) as file:
        traces = next(event_steps(file, analysis.STEP))[model.name]
        noise = random_triggers(file, analysis.MOST_NOISE)[model.name]
    psd, _ = measured_psd(optimum_filter.transforms_of(noise))
    template = make_template(model, traces, psd).spectrum
    ours = optimum_filter.make_filter(template, psd)
    pulse, of_both_signs = np.fft.irfft(template), np.concatenate([psd[:-1], psd[:0:-1]]) / 2
    delays = 2 * int(optimum_filter.WINDOW) + 1  # samples

    def theirs(size: int) -> None:
        for start in range(0, len(traces), size):
            ofamp(traces[start : start + size], pulse, of_both_signs, SAMPLING, nconstrain=delays)

    return {
        'filter, one detector': (len(traces), lambda: optimum_filter.fit_pulses([ours], [traces])),
        'QETpy, trace by trace': (len(traces), partial(theirs, 1)),
        f'QETpy, {TOGETHER} traces a call': (len(traces), partial(theirs, TOGETHER)),
    }
