"""What a run's summary is better at than its files alone, on simulated runs, of which the truth is known.

Beside them what one gain for all files of a run would make of it, and theory: the true pulse shape, noise and gain.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import uproot

from detector import acquisition
from detector.acquisition import draw_gains
from detector.analysis import LOG_LINE, analyse
from detector.calibration import FEWEST_IN_FIT, SIGMA_TO_FWHM, Gain, fit_line
from detector.noise import STRETCH, noise_psd
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, DetectorModel, FloatArray, pulse_shape
from detector.runs.summary import summarise

ALONE, TOGETHER, ONE_GAIN, THEORY = 'single files', 'summary of the run', 'one gain for the run', 'theory'
WITHOUT = 'files without a gain of their own, %'
GAIN_ERROR = f'error of the others, keV at {LOG_LINE:.0f} keV'
HITS, BASELINE = 'FWHM of hits above 100 keV, keV', 'FWHM of no hits, keV'
LINE, LINE_ERROR = f'FWHM at {LOG_LINE:.0f} keV, keV', 'its uncertainty, keV'
BRIGHT = 100.0  # keV

Found = dict[str, dict[str, float]]  # figures by who found them


@dataclass(frozen=True)
class _Seen:
    """What one of them found of a run: energies (n,) in keV, and the gain (ADU per keV) of each file."""

    energies: FloatArray
    gains: Sequence[Gain]


def measure(runs: int, sizes: tuple[int, ...]) -> dict[str, Found]:
    """Of each detector the mean figures over some runs, whose files have these numbers of events.

    Figures in the square are averaged as squares: the error of the gain, and the widths of what is compared with truth.
    """
    collected: dict[str, dict[str, dict[str, list[float]]]] = {
        model.name: defaultdict(lambda: defaultdict(list)) for model in DETECTORS
    }
    for seed in range(runs):
        with tempfile.TemporaryDirectory(prefix='edw-bench-') as folder:
            for model, who, figures in _one_run(Path(folder), seed, sizes):
                for figure, value in figures.items():
                    collected[model.name][who][figure].append(value)
    return {
        detector: {
            who: {figure: _mean(figure, values) for figure, values in found.items()} for who, found in of_it.items()
        }
        for detector, of_it in collected.items()
    }


def _one_run(folder: Path, seed: int, sizes: tuple[int, ...]) -> Iterator[tuple[DetectorModel, str, dict[str, float]]]:
    files = {}
    alone, gains = [], []
    for number, size in enumerate(sizes):
        path = folder / f'{number}.root'
        acquisition.write_file(path, size, np.random.default_rng([seed, number]))
        gains.append(draw_gains(np.random.default_rng([seed, number])))
        alone.append(analyse(path, folder / f'{number}.amp.root'))
        files[f'{number}'] = partial(contextlib.nullcontext, path)
    together = summarise(files, folder / 'run.amp.root')
    for index, model in enumerate(DETECTORS):
        truth = _column(folder, files, '.root', 'truth', f'energy_{model.name[-1]}')
        column = f'amplitude_{model.name[-1]}'
        found = together.detectors[model.name]
        energies = _column(folder, ['run'], '.amp.root', 'amplitudes', column)
        own = np.array([gain.value for gain in found.gains])
        true = np.array(gains)[:, index]
        seen = {
            ALONE: _Seen(
                _column(folder, files, '.amp.root', 'amplitudes', column),
                [summary.detectors[model.name].gain for summary in alone],
            ),
            TOGETHER: _Seen(energies, found.gains),
            ONE_GAIN: _Seen(energies * np.repeat(own / found.gain, sizes), [Gain(found.gain, False)] * own.size),
        }
        for who, what in seen.items():
            yield model, who, _figures(what, truth, true)
        theory = SIGMA_TO_FWHM * _best_resolution(model) * float(np.mean(1 / true))
        yield model, THEORY, {HITS: theory, BASELINE: theory, LINE: theory}


def _figures(seen: _Seen, truth: FloatArray, gains: FloatArray) -> dict[str, float]:
    away = seen.energies - truth
    line = fit_line(seen.energies, LOG_LINE, FEWEST_IN_FIT)
    has_gain = np.array([not gain.nominal for gain in seen.gains])
    wrong = np.array([gain.value for gain in seen.gains]) / gains - 1
    figures = {WITHOUT: 100 * float(np.mean(~has_gain))}
    if has_gain.any():
        figures[GAIN_ERROR] = LOG_LINE * _rms(wrong[has_gain])
    figures |= {
        HITS: SIGMA_TO_FWHM * _rms(away[truth > BRIGHT]),
        BASELINE: SIGMA_TO_FWHM * _rms(away[truth == 0]),
    }
    return figures | ({LINE: line.fwhm, LINE_ERROR: line.fwhm_uncertainty} if line else {})


@lru_cache
def _best_resolution(model: DetectorModel) -> float:
    """σ in ADU that no linear unbiased estimator falls below: generalised least squares with a free baseline."""
    samples = STRETCH * SAMPLES
    power = noise_psd(model, np.fft.rfftfreq(samples, 1 / SAMPLING)) * SAMPLING / 2
    covariance = np.fft.irfft(power)[np.abs(np.subtract.outer(np.arange(SAMPLES), np.arange(SAMPLES)))]
    shape = pulse_shape(model, (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING)
    design = np.column_stack([shape, np.ones(SAMPLES)])
    return float(np.linalg.inv(design.T @ np.linalg.solve(covariance, design))[0, 0] ** 0.5)


def _column(folder: Path, names: object, ending: str, tree: str, column: str) -> FloatArray:
    return np.concatenate([uproot.open(folder / f'{name}{ending}')[tree][column].array(library='np') for name in names])


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _mean(figure: str, values: list[float]) -> float:
    return _rms(np.array(values)) if figure in (GAIN_ERROR, HITS, BASELINE) else float(np.mean(values))
