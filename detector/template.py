"""The template of a detector's pulses, averaged from the bright pulses of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.optimum_filter import Filter, Spectra, fit, make_filter
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, pulse_shape, trace_times

BRIGHT = (250.0, 420.0)  # keV by the nominal gain
LEAST_PULSES = 20  # with fewer, the nominal shape is better than the average
GOOD_CHI2 = 0.1  # by which chi² may exceed 1 for each (amplitude / 100 sigma)²: the nominal shape is not exact


@dataclass(frozen=True)
class Template:
    """A pulse of height 1, shape (SAMPLES,), and how many pulses it is the average of; 0: the nominal shape."""

    shape: NDArray[np.float64]
    pulses: int


def nominal() -> dict[str, Template]:
    """The shapes that the detectors are known to have, by detector."""
    return {detector.name: Template(pulse_shape(detector, trace_times()), 0) for detector in DETECTORS}


def build(spectra_of: dict[str, Spectra], powers: dict[str, NDArray[np.float64]]) -> dict[str, Template]:
    """Templates from the pulses of a file, by detector: the nominal one where there are too few bright pulses.

    Each pulse is shifted by its own delay before the average, which is weighted with the amplitudes: the least
    squares solution for a common shape in equal noise.
    """
    templates = nominal()
    filters: dict[str, Filter] = {
        name: make_filter(template.shape, powers[name]) for name, template in templates.items()
    }
    fits, delays = fit(spectra_of, filters)
    frequencies = np.fft.rfftfreq(SAMPLES)
    for detector in DETECTORS:
        found = fits[detector.name]
        energy = found.amplitude / detector.gain
        excess = GOOD_CHI2 * (found.amplitude / (100 * filters[detector.name].sigma)) ** 2
        bright = (energy > BRIGHT[0]) & (energy < BRIGHT[1]) & (found.chi2 < 2 + excess)
        if bright.sum() < LEAST_PULSES:
            continue
        aligned = spectra_of[detector.name][bright] * np.exp(2j * np.pi * delays[bright, np.newaxis] * frequencies)
        average = np.fft.irfft(found.amplitude[bright] @ aligned, SAMPLES)
        average -= average[: PRETRIGGER - 10].mean()  # the last samples before the trigger belong to early pulses
        templates[detector.name] = Template(average / average.max(), int(bright.sum()))
    return templates
