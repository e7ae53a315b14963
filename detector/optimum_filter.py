"""The optimum filter: the amplitude of a pulse of known shape in noise of known spectrum, and when it came.

For Fourier coefficients V of a trace, S of the template and noise power P, the amplitude at delay t is

    A(t) = sigma² sum_k m_k Re(V_k S_k* exp(i w_k t)) / P_k,    sigma^-2 = sum_k m_k |S_k|² / P_k,

where m_k counts how often a coefficient stands in the full transform (2, but 1 at the highest frequency). The
mean (k = 0) is left out, so that the baseline is free. Source: E. Gatti and P. F. Manfredi, Riv. Nuovo Cimento
9 (1986) 1; S. R. Golwala, PhD thesis, Berkeley (2000), appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from detector.pulses import SAMPLES

WINDOW = 4  # samples to either side of the trigger, where the pulse is looked for
DELAYS = np.arange(-WINDOW, WINDOW + 1)  # samples
DEGREES_OF_FREEDOM = SAMPLES - 3  # the mean, the amplitude and the delay are fitted

Spectra = NDArray[np.complex64]


@dataclass(frozen=True)
class Filter:
    """A template and a noise power made ready: `sigma` in ADU, the rest in the layout of a product of matrices."""

    sigma: float
    weights: NDArray[np.float32]  # (2 * coefficients, delays): amplitude at each delay
    inverse_power: NDArray[np.float32]  # (2 * coefficients,): chi² of a trace without a pulse


@dataclass(frozen=True)
class Fit:
    """Pulses fitted in the traces of one detector, each of shape (events,): ADU, and chi² per degree of freedom."""

    amplitude: NDArray[np.float64]
    chi2: NDArray[np.float64]


def spectra(traces: NDArray[np.int16]) -> Spectra:
    """Fourier coefficients of traces of shape (events, SAMPLES); shape (events, SAMPLES // 2 + 1)."""
    return scipy.fft.rfft(traces.astype(np.float32), overwrite_x=True)


def make_filter(template: NDArray[np.float64], power: NDArray[np.float64]) -> Filter:
    """The filter for a template of shape (SAMPLES,) and height 1, and a noise power of (SAMPLES // 2 + 1,) in ADU²."""
    inverse = _inverse(power)
    shape = np.fft.rfft(template)
    sigma = resolution(template, power)
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(SAMPLES)[:, np.newaxis] * DELAYS)
    kernel = sigma**2 * (shape.conj() * inverse)[:, np.newaxis] * phase
    # Real and imaginary parts in turn, as they lie in memory: Re(V K) is one product of real matrices then.
    weights = np.stack([kernel.real, -kernel.imag], axis=1).reshape(-1, len(DELAYS))
    return Filter(sigma, weights.astype(np.float32), np.repeat(inverse, 2).astype(np.float32))


def resolution(template: NDArray[np.float64], power: NDArray[np.float64]) -> float:
    """Standard deviation of the amplitude, in ADU for a template of height 1: sigma of the formula above."""
    return float((np.abs(np.fft.rfft(template)) ** 2 @ _inverse(power)) ** -0.5)


def fit(spectra_of: dict[str, Spectra], filters: dict[str, Filter]) -> tuple[dict[str, Fit], NDArray[np.float64]]:
    """Fit pulses, by detector, with one delay for an event: the trigger is common to all detectors.

    Also returns that delay in samples, shape (events,). It is the one with the highest likelihood of all
    detectors together, so that the amplitude of a detector that was not hit is not biased by a search for its
    highest noise.
    """
    amplitudes = {name: _as_real(values) @ filters[name].weights for name, values in spectra_of.items()}
    likelihood = sum((values / filters[name].sigma) ** 2 for name, values in amplitudes.items())
    best = np.clip(likelihood.argmax(axis=1), 1, len(DELAYS) - 2)
    events = np.arange(len(best))
    before, at, after = (likelihood[events, best + step] for step in (-1, 0, 1))
    shift = _vertex(before, at, after)
    fits = {}
    for name, values in amplitudes.items():
        # A(t) is band-limited far below the sampling frequency: a parabola through three samples follows it.
        before, at, after = (values[events, best + step].astype(np.float64) for step in (-1, 0, 1))
        amplitude = at + shift * (after - before) / 2 + shift**2 * (before - 2 * at + after) / 2
        total = np.square(_as_real(spectra_of[name])) @ filters[name].inverse_power
        chi2 = (total - (amplitude / filters[name].sigma) ** 2) / DEGREES_OF_FREEDOM
        fits[name] = Fit(amplitude, chi2)
    return fits, DELAYS[best] + shift


def _inverse(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """m_k / P_k, and 0 for the mean."""
    inverse = np.zeros_like(power)
    inverse[1:-1] = 2 / power[1:-1]
    inverse[-1] = 1 / power[-1]
    return inverse


def _as_real(values: Spectra) -> NDArray[np.float32]:
    return values.view(np.float32)


def _vertex(before: NDArray, at: NDArray, after: NDArray) -> NDArray[np.float64]:
    """Place of the highest point of parabolas through three points, in steps from the middle one, within one step."""
    curvature = (before - 2 * at + after).astype(np.float64)
    slope = (after - before) / 2
    # At the edge of the window the middle one need not be the highest.
    return np.clip(-np.divide(slope, curvature, out=np.zeros_like(curvature), where=curvature < 0), -1, 1)
