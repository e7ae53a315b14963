"""The analysis of a data file: template, noise, optimum filter, calibration; amplitudes in keV into a new file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot
from numpy.typing import NDArray

from detector import calibration, template
from detector.calibration import FWHM, RESOLUTION_LINE, Calibration
from detector.noise import noise_power
from detector.optimum_filter import Fit, fit, make_filter, spectra
from detector.pulses import DETECTORS, PRETRIGGER
from detector.traces import DataFileError, Traces, open_data_file

LEAST_RANDOM_TRIGGERS = 16  # for a noise spectrum
TEMPLATE_EVENTS = 2000  # of a file, at most, that its template is built from


@dataclass(frozen=True)
class Channel:
    """What the analysis of one detector reached: resolutions are FWHM in keV, None where there is too little data."""

    name: str
    calibration: Calibration
    template_pulses: int
    baseline_fwhm: float
    line_fwhm: float | None

    def __str__(self) -> str:
        line = 'too few events' if self.line_fwhm is None else f'{self.line_fwhm:.2f} keV FWHM'
        text = f'{self.name}: {RESOLUTION_LINE:.0f} keV line {line}, baseline {self.baseline_fwhm:.2f} keV FWHM'
        nominal = [
            what
            for what, number in (('gain', self.calibration.events), ('template', self.template_pulses))
            if not number
        ]
        return f'{text} (nominal {" and ".join(nominal)})' if nominal else text


@dataclass(frozen=True)
class Summary:
    """What the analysis of a file reached."""

    events: int
    channels: tuple[Channel, ...]

    def __str__(self) -> str:
        return '; '.join([f'{self.events} events', *map(str, self.channels)])


def analyse(source: Path, target: Path) -> Summary:
    """Fit the pulses of `source`, and write them to `target`.

    `target` has one tree, `amplitudes`, with an entry per event: event, and for each detector amplitude and
    uncertainty in keV, chi² per degree of freedom, and baseline in ADU. Raises DataFileError.
    """
    with open_data_file(source) as file:
        if len(file.noise[DETECTORS[0].name]) < LEAST_RANDOM_TRIGGERS:
            raise DataFileError(
                f'{source}: has fewer than {LEAST_RANDOM_TRIGGERS} random triggers for a noise spectrum'
            )
        powers = {name: noise_power(traces) for name, traces in file.noise.items()}
        templates, filters = template.nominal(), {}
        numbers, fits, baselines = [], [], []
        for events, traces in file.read():
            spectra_of = {name: spectra(values) for name, values in traces.items()}
            if not filters:
                first = {name: values[:TEMPLATE_EVENTS] for name, values in spectra_of.items()}
                templates = template.build(first, powers)
                filters = {name: make_filter(made.shape, powers[name]) for name, made in templates.items()}
            numbers.append(events)
            fits.append(fit(spectra_of, filters)[0])
            baselines.append(_baselines(traces))
    if not numbers:
        raise DataFileError(f'{source}: holds no events')
    columns: dict[str, NDArray] = {'event': np.concatenate(numbers)}
    channels = []
    for detector in DETECTORS:
        name, letter = detector.name, detector.name[-1]
        found = Fit(*(np.concatenate([getattr(part[name], field) for part in fits]) for field in ('amplitude', 'chi2')))
        scale = calibration.calibrate(found.amplitude, detector.gain)
        energies = found.amplitude / scale.gain
        sigma = filters[name].sigma / scale.gain
        columns[f'amplitude_{letter}'] = energies
        columns[f'uncertainty_{letter}'] = np.full(len(energies), sigma)
        columns[f'chi2_{letter}'] = found.chi2
        columns[f'baseline_{letter}'] = np.concatenate([part[name] for part in baselines])
        line = calibration.line_fwhm(energies, RESOLUTION_LINE, sigma)
        channels.append(Channel(name, scale, templates[name].pulses, float(FWHM * sigma), line))
    with uproot.recreate(target) as file:
        file.mktree('amplitudes', {name: values.dtype for name, values in columns.items()})
        file['amplitudes'].extend(columns)
    return Summary(len(columns['event']), tuple(channels))


def _baselines(traces: Traces) -> dict[str, NDArray[np.float64]]:
    """Mean in ADU of the samples before the trigger, by detector."""
    return {name: values[:, : PRETRIGGER - 1].mean(axis=1) for name, values in traces.items()}
