"""The analysis of a data file beside its floor: reading the file, and the transforms of its traces, alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from detector import acquisition, analysis
from detector.pulses import DETECTORS, FloatArray
from detector.traces import event_steps, opened, random_triggers

CONDITIONS = {'volts': {}, 'temperature': 0.0158}
BLOCK = 256  # traces in one transform, as in the analysis


def measure(events: int, rounds: int) -> dict[str, list[float]]:
    """Events a second of the analysis and of the parts of its floor, one figure a round, alternating."""
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name:
        source, target = Path(name) / 'x.root', Path(name) / 'x.amp.root'
        acquisition.write_file(source, events, np.random.default_rng(1), CONDITIONS)
        traces = _read(source)
        work: dict[str, Callable[[], object]] = {
            'reading and transforms': lambda: _transform(_read(source)),
            'reading': lambda: _read(source),
            'transforms': lambda: _transform(traces),
            'analysis': lambda: analysis.analyse(source, target),
        }
        for function in work.values():
            function()  # once, so that nobody pays for imports and first calls
        rates: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, function in work.items():
                started = time.perf_counter()
                function()
                rates[name].append(events / (time.perf_counter() - started))
    return rates


def _read(source: Path) -> list[np.ndarray]:
    """All traces that the analysis reads, as they are in the file: (n, SAMPLES) each."""
    with opened(source) as file:
        noise = random_triggers(file, analysis.MOST_NOISE)
        steps = list(event_steps(file, analysis.STEP))
    return [part[model.name] for part in (noise, *steps) for model in DETECTORS]


def _transform(traces: list[np.ndarray]) -> FloatArray:
    """The transform of every trace, once. Returns the last of them, so that nothing can be left out."""
    last = np.zeros(0)
    for part in traces:
        for start in range(0, len(part), BLOCK):
            last = np.fft.rfft(part[start : start + BLOCK].astype(float))
    return last
