"""The analysis of a data file: from traces to calibrated amplitudes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import uproot
from threadpoolctl import ThreadpoolController

from detector.calibration import GAIN_RANGE, SIGMA_TO_FWHM, Gain, Line, calibrate, resolutions
from detector.noise import measured_psd
from detector.optimum_filter import (
    WINDOW,
    OptimumFilter,
    amplitudes_without_search,
    fit_pulses,
    make_filter,
    transforms_of,
)
from detector.pulses import DETECTORS, DetectorModel, FloatArray
from detector.template import BRIGHT, MOST, Template, baselines, make_template
from detector.traces import DataFileError, event_steps, opened, random_triggers

STEP = 1000  # events in memory at a time; the template is made from the first of these steps
FEWEST_NOISE = 8  # random triggers for a noise spectrum
MOST_NOISE = 1000  # random triggers that are used; more do not improve an amplitude
# The matrices are small: BLAS loses more time in waking its threads than they save, and on cores that have other work
# several times as much. Files, not matrices, are what is done in parallel.
BLAS = ThreadpoolController()
LOG_LINE = 356.013  # keV, the strongest line, whose resolution the log gives
# What results depend on, for whoever compares them: see where each is defined.
PARAMETERS = {
    'template_from_kev': BRIGHT,
    'template_pulses': MOST,
    'noise_triggers': MOST_NOISE,
    'delay_samples': WINDOW,
    'gain_range': GAIN_RANGE,
}


@dataclass(frozen=True)
class DetectorSummary:
    """What the analysis of a file found out about one detector."""

    gain: Gain
    template: Template
    theoretical_resolution: float  # keV, σ of an amplitude for this template and noise spectrum
    baseline_resolution: float  # keV, σ of the amplitudes of random triggers
    lines: Mapping[float, Line | None]  # by their energy in keV


@dataclass(frozen=True)
class Summary:
    """What the analysis of a file found out."""

    events: int
    detectors: Mapping[str, DetectorSummary]  # by name

    @property
    def log(self) -> str:
        """One line for people."""
        parts = [f'{name}: {_in_words(detector)}' for name, detector in self.detectors.items()]
        return '; '.join([f'{self.events} event{"s" * (self.events != 1)}', *parts])


@dataclass(frozen=True)
class Noise:
    """What the random triggers of a file tell of a detector."""

    psd: FloatArray  # ADU²/Hz, as `measured_psd` has it
    transforms: np.ndarray  # (n, SAMPLES // 2 + 1) complex, of the n triggers that it was made from


@dataclass(frozen=True)
class _Prepared:
    """A detector, ready for its pulses."""

    template: Template
    optimum_filter: OptimumFilter
    baseline_resolution: float  # ADU


def analyse(source: Path, target: Path) -> Summary:
    """Analyse the data file `source` and write the result to `target`, over a file that is there.

    Template and noise spectrum of each detector are made from the file itself, and so is the calibration. The
    target is a ROOT file with the tree `amplitudes`, one entry for each event of the source: event (int32) and
    for each detector, here a, amplitude_a and uncertainty_a (keV), chi2_a (per degree of freedom) and
    baseline_a (ADU); float64. The uncertainty is that of the noise, without that of the calibration.

    Raises DataFileError if the source cannot be analysed, and OSError if the target cannot be written.
    """
    with BLAS.limit(limits=1), opened(source) as file:
        steps = event_steps(file, STEP)
        first = next(steps)
        noise = random_triggers(file, MOST_NOISE)
        prepared = [_prepare(source, model, first[model.name], noise[model.name]) for model in DETECTORS]
        filters = [part.optimum_filter for part in prepared]
        numbers, fits, means = [], [], []
        for step in chain([first], steps):
            traces = [step[model.name] for model in DETECTORS]
            numbers.append(step['event'])
            fits.append(fit_pulses(filters, traces))
            means.append([baselines(part) for part in traces])
    columns = {'event': np.concatenate(numbers)}
    detectors = {}
    for index, (model, part) in enumerate(zip(DETECTORS, prepared, strict=True)):
        amplitudes = np.concatenate([fit.amplitude[index] for fit in fits])
        gain = calibrate(amplitudes, model.gain)
        energies = amplitudes / gain.value
        uncertainty = part.optimum_filter.resolution / gain.value
        letter = model.name.rpartition('_')[2]
        columns[f'amplitude_{letter}'] = energies
        columns[f'uncertainty_{letter}'] = np.full(energies.size, uncertainty)
        columns[f'chi2_{letter}'] = np.concatenate([fit.chi2[index] for fit in fits])
        columns[f'baseline_{letter}'] = np.concatenate([mean[index] for mean in means])
        detectors[model.name] = DetectorSummary(
            gain, part.template, uncertainty, part.baseline_resolution / gain.value, resolutions(energies)
        )
    # In memory: uproot writes more than a hundred small pieces, each after a seek, in 3.2 ms to a file and in 1.9 here.
    buffer = io.BytesIO()
    with uproot.recreate(buffer, compression=None) as result:
        result.mktree('amplitudes', {name: column.dtype for name, column in columns.items()})
        result['amplitudes'].extend(columns)
        content = buffer.getvalue()  # before uproot closes it
    target.write_bytes(content)
    return Summary(columns['event'].size, detectors)


def noise_of(source: Path, model: DetectorModel, triggers: np.ndarray) -> Noise:
    """The noise of a detector in the file `source`, from the traces (n, SAMPLES) of its random triggers.

    Raises DataFileError where these are fewer than FEWEST_NOISE, or have no noise.
    """
    if len(triggers) < FEWEST_NOISE:
        raise DataFileError(f'{source}: {len(triggers)} random triggers, at least {FEWEST_NOISE} are needed')
    transforms = transforms_of(triggers)
    psd, clean = measured_psd(transforms)
    if not psd[1:].all():
        raise DataFileError(f'{source}: {model.name} has no noise in its random triggers')
    return Noise(psd, transforms[clean])


def _prepare(source: Path, model: DetectorModel, events: np.ndarray, triggers: np.ndarray) -> _Prepared:
    """Noise spectrum, template and filter of a detector, from its traces (n, SAMPLES) of events and random triggers."""
    noise = noise_of(source, model, triggers)
    template = make_template(model, events, noise.psd)
    optimum_filter = make_filter(template.spectrum, noise.psd)
    baseline = amplitudes_without_search(optimum_filter, noise.transforms)
    return _Prepared(template, optimum_filter, float(np.sqrt(np.mean(np.square(baseline)))))


def _in_words(detector: DetectorSummary) -> str:
    line = detector.lines[LOG_LINE]
    baseline: FloatArray = SIGMA_TO_FWHM * detector.baseline_resolution
    parts = [f'{LOG_LINE:.1f} keV FWHM {line.fwhm:.2f} keV'] if line else []
    parts.append(f'baseline FWHM {baseline:.2f} keV')
    parts += ['nominal gain'] * detector.gain.nominal + ['nominal template'] * detector.template.nominal
    return ', '.join(parts)
