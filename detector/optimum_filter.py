"""The optimum filter: amplitude and delay of pulses of known shape in noise of known spectrum.

For a pulse A·s(t - t0), the filter minimises, in the frequency domain (V, S: transforms of trace and template),

    χ²(A, t0) = Σ_k |V_k - A·S_k·exp(-iω_k·t0)|² / <|N_k|²>

which gives A(t0) = σ²·Re Σ_k conj(S_k)·V_k·exp(iω_k·t0) / <|N_k|²>, σ² = 1 / Σ_k |S_k|² / <|N_k|²> and
χ² = χ²(0) - A²/σ², so that the best t0 is where A² is largest. See E. Gatti & P. F. Manfredi, Riv. Nuovo Cimento
9 (1986) 1; S. R. Golwala, PhD thesis, University of California at Berkeley (2000), appendix B. Sums are over all
frequencies but 0, positive and negative: without frequency 0 the baseline is free.

The trigger is common to the detectors, and so is t0: the maximum of the sum of A²/σ² over them. Without a
search of its own, the amplitude of a detector that was not hit is unbiased. That of a hit is a little too high,
by about σ²/2A, as the search prefers noise that adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from detector.pulses import SAMPLES, SAMPLING, FloatArray

WINDOW = 4.0  # samples, largest delay either way
STEP = 0.5  # samples, of the search for the maximum
ORDERS = 16  # of the expansion of A(t0) in the window; its error is below 1e-5 σ
POINTS = 32  # of the sum for its coefficients: enough for all digits, as J_j(πW) is below 1e-19 from j = 48 on
BLOCK = 64  # traces at a time: their transforms, 0.5 MB, stay in a core's cache between the passes

FREQUENCIES = 2 * np.pi * np.arange(SAMPLES // 2 + 1) / SAMPLES  # radians per sample
# Of each frequency among the positive and negative ones, 0 excluded.
MULTIPLICITY = np.array([0.0, *[2.0] * (SAMPLES // 2 - 1), 1.0])
DEGREES_OF_FREEDOM = SAMPLES - 2  # without baseline and amplitude
GRID = np.arange(-WINDOW, WINDOW + STEP / 2, STEP)  # samples
ON_GRID = chebvander(GRID / WINDOW, ORDERS - 1).T  # (ORDERS, GRID): from the expansion of A(t0) to its values


@dataclass(frozen=True)
class OptimumFilter:
    """An optimum filter, in the form in which it is applied; made by `make_filter`."""

    resolution: float  # ADU, σ of an amplitude
    expansion: FloatArray  # (2 * frequencies, ORDERS): from real and imaginary parts of V to A(t0), see `make_filter`
    weights: FloatArray  # (2 * frequencies,): from their squares to χ²(0)


@dataclass(frozen=True)
class Fit:
    """What the filters find in n events; the first axis of the others is that of the filters."""

    delay: FloatArray  # (n,) samples
    amplitude: FloatArray  # (detectors, n) ADU
    chi2: FloatArray  # (detectors, n) per degree of freedom


def theoretical_resolution(template: np.ndarray, psd: FloatArray) -> float:
    """Standard deviation (ADU) of an optimum filter's amplitudes, σ = (Σ_k |S_k|² / <|N_k|²>)^(-1/2).

    `template`: transform of the template (SAMPLES // 2 + 1, complex). `psd`: noise spectrum (the same shape, ADU²/Hz,
    above 0 but at frequency 0). Golwala (2000), appendix B.
    """
    return float((np.square(np.abs(template)) @ _inverse_variance(psd)) ** -0.5)


def make_filter(template: np.ndarray, psd: FloatArray) -> OptimumFilter:
    """The filter for a template and a noise spectrum, both as in `theoretical_resolution`.

    Within the window |t0| <= W, A(t0) is expanded in Chebyshev polynomials T_j(t0/W): by the Jacobi-Anger
    expansion (M. Abramowitz & I. A. Stegun, Handbook of Mathematical Functions, 9.1.44-45; J_j: Bessel functions)

        exp(iωt0) = J_0(ωW) + 2 Σ_j i^j·J_j(ωW)·T_j(t0/W)

    and as J_j falls off steeply above j = ωW, few orders are enough. All of them for
    all events are one small matrix product, far cheaper than a transform back or a phase factor for each event.
    """
    inverse_variance = _inverse_variance(psd)
    resolution = theoretical_resolution(template, psd)
    kernel = resolution**2 * np.conj(template) * inverse_variance
    factors = kernel[:, np.newaxis] * _phase_factors()
    expansion = np.stack([factors.real, -factors.imag], axis=1).reshape(-1, ORDERS)
    return OptimumFilter(resolution, expansion, np.repeat(inverse_variance, 2))


def fit_pulses(filters: Sequence[OptimumFilter], traces: Sequence[np.ndarray]) -> Fit:
    """Find the pulses in the traces of one or more detectors, (n, SAMPLES) each, in ADU.

    The delay is found on a grid of STEP, and between its points by the parabola through the highest three.
    """
    expanded = [_expand(*pair) for pair in zip(filters, traces, strict=True)]
    merit = sum(np.square(item[0] @ ON_GRID) / part.resolution**2 for item, part in zip(expanded, filters, strict=True))
    delay = _highest(merit)
    at_delay = chebvander(delay / WINDOW, ORDERS - 1)
    amplitude = np.array([np.vecdot(coefficients, at_delay) for coefficients, _ in expanded])
    without_pulse = np.array([chi2 for _, chi2 in expanded])
    resolution = np.array([[part.resolution] for part in filters])
    return Fit(delay, amplitude, (without_pulse - np.square(amplitude / resolution)) / DEGREES_OF_FREEDOM)


def transforms_of(traces: np.ndarray) -> np.ndarray:
    """Real Fourier transforms (n, SAMPLES // 2 + 1) of traces (n, SAMPLES), block by block."""
    transforms = np.empty((len(traces), FREQUENCIES.size), complex)
    for start in range(0, len(traces), BLOCK):
        block = slice(start, start + BLOCK)
        np.fft.rfft(traces[block], out=transforms[block])
    return transforms


def amplitudes_without_search(optimum_filter: OptimumFilter, transforms: np.ndarray) -> FloatArray:
    """Amplitudes (n,) in ADU at delay 0, given the transforms (n, SAMPLES // 2 + 1): what the filter makes of noise."""
    at_zero = optimum_filter.expansion @ chebvander(np.zeros(1), ORDERS - 1)[0]
    return transforms.view(float) @ at_zero


def aligned_sum(transforms: np.ndarray, weights: FloatArray, delay: FloatArray) -> np.ndarray:
    """Σ_n weight_n·V_n·exp(iω·delay_n), (frequencies,): the sum of pulses that are moved back by their delays.

    `transforms`: V, (n, frequencies). `delay`: (n,) samples, within WINDOW. By the same expansion as in `make_filter`,
    without a phase factor for each pulse.
    """
    at_delay = chebvander(delay / WINDOW, ORDERS - 1) * weights[:, np.newaxis]
    sums = (at_delay.T @ transforms.view(float)).view(complex)
    return np.einsum('kj,jk->k', _phase_factors(), sums)


@lru_cache(maxsize=1)
def _phase_factors() -> np.ndarray:
    """Chebyshev coefficients (frequencies, ORDERS) of exp(iω·t0) in t0 / WINDOW.

    They are 2·i^j·J_j(ωW), half of that for j = 0, and a sum over the zeros of T_POINTS is exact up to J_(2·POINTS - j)
    (J. C. Mason & D. C. Handscomb, Chebyshev Polynomials, 2003, 6.3). It does without SciPy, which takes a quarter of
    the start of every script that analyses.
    """
    angles = np.pi * (np.arange(POINTS) + 0.5) / POINTS
    orders = np.arange(ORDERS)
    waves = np.exp(1j * WINDOW * FREQUENCIES[:, np.newaxis] * np.cos(angles))
    return waves @ np.cos(angles[:, np.newaxis] * orders) * np.where(orders, 2, 1) / POINTS


def _inverse_variance(psd: FloatArray) -> FloatArray:
    """1 / <|N_k|²> of each frequency, times its multiplicity."""
    variance = psd * (SAMPLING * SAMPLES / 2)
    return MULTIPLICITY / np.where(MULTIPLICITY > 0, variance, 1)


def _expand(optimum_filter: OptimumFilter, traces: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Chebyshev coefficients of A(t0), (n, ORDERS), and χ²(0), (n,)."""
    coefficients, without_pulse = np.empty((len(traces), ORDERS)), np.empty(len(traces))
    # In place: fresh memory for each block takes as long as its transforms.
    transforms = np.empty((BLOCK, FREQUENCIES.size), complex)
    for start in range(0, len(traces), BLOCK):
        block = slice(start, min(start + BLOCK, len(traces)))
        parts = np.fft.rfft(traces[block], out=transforms[: block.stop - start]).view(float)
        np.matmul(parts, optimum_filter.expansion, out=coefficients[block])
        np.matmul(np.square(parts, out=parts), optimum_filter.weights, out=without_pulse[block])
    return coefficients, without_pulse


def _highest(merit: FloatArray) -> FloatArray:
    """Delay (n,) of the maximum of each row of `merit` (n, GRID), inside the grid by a parabola."""
    middle = merit.argmax(axis=1).clip(1, GRID.size - 2)
    rows = np.arange(len(merit))
    left, centre, right = (merit[rows, middle + offset] for offset in (-1, 0, 1))
    curvature = left - 2 * centre + right
    # Where the maximum is at an end, the parabola may have none.
    shift = np.where(curvature < 0, (left - right) / (2 * np.where(curvature < 0, curvature, 1)), np.sign(right - left))
    return (GRID[middle] + STEP * shift.clip(-1, 1)).clip(-WINDOW, WINDOW)
