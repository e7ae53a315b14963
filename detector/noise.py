"""Noise of a read-out channel: its model, its simulation, its measurement.

Spectra are in two forms. A power spectral density J is one-sided, in ADU²/Hz. The noise power P of a trace is
the expected |V|² of each of its Fourier coefficients V (numpy's rfft, not normalised), in ADU².
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from detector.pulses import SAMPLES, SAMPLING, Detector

LOWEST = 0.5  # Hz; below it the 1/f noise is flat, as behind a read-out that is coupled by a capacitor
LINE_WIDTH = 0.3  # Hz, half width at half maximum of a microphonic line
STRETCH = 4  # traces are cut from stretches so many times as long
OUTLIER = 3.0  # times the median rms, above which a random trigger is taken to hold a pulse


def power_density(detector: Detector, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """One-sided J in ADU²/Hz at `frequencies` in Hz: white, 1/f below the knee, Lorentzian lines; same shape."""
    density = detector.white**2 * (1 + detector.knee / np.maximum(frequencies, LOWEST))
    for line, rms in detector.lines:
        density = density + rms**2 * LINE_WIDTH / np.pi / ((frequencies - line) ** 2 + LINE_WIDTH**2)
    return density


def simulate(detector: Detector, traces: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Simulated noise, shape (traces, SAMPLES), in ADU.

    Each trace is cut from a longer stretch: noise that is periodic in the trace would hide the leakage between
    frequencies that real traces have.
    """
    length = STRETCH * SAMPLES
    coefficients = length // 2 + 1
    scale = np.sqrt(stretch_power(detector) / 2)
    spectrum = rng.standard_normal((traces, coefficients)) + 1j * rng.standard_normal((traces, coefficients))
    return scipy.fft.irfft(spectrum * scale, length)[:, :SAMPLES]


def stretch_power(detector: Detector) -> NDArray[np.float64]:
    """Noise power of a whole stretch, shape (STRETCH * SAMPLES // 2 + 1,), in ADU²; without a mean."""
    length = STRETCH * SAMPLES
    power = power_density(detector, np.fft.rfftfreq(length, 1 / SAMPLING)) * SAMPLING * length / 2
    power[0] = 0.0  # the mean is the baseline, which is simulated apart
    return power


def noise_power(traces: NDArray[np.int16]) -> NDArray[np.float64]:
    """Noise power measured on random triggers of shape (traces, SAMPLES); shape (SAMPLES // 2 + 1,), in ADU²."""
    values = traces - traces.mean(axis=1, keepdims=True)
    rms = values.std(axis=1)
    quiet = values[rms <= OUTLIER * np.median(rms)]
    return (np.abs(scipy.fft.rfft(quiet)) ** 2).mean(axis=0)
