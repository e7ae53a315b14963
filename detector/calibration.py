"""From ADU to keV by the lines of 133Ba, and the resolution of a line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

LINES = (276.40, 302.85, 356.01, 383.85)  # keV; the 133Ba lines that stand alone
RESOLUTION_LINE = 356.01  # keV, the brightest
SCALES = np.arange(0.90, 1.1001, 0.0005)  # of the gain, to be tried
CATCH = 2.0  # keV to either side of a line, in which an event supports a scale
LEAST_EVENTS = 15  # in all lines for a calibration, and in one for its resolution
FIT_WIDTH = 8.0  # times the baseline's sigma, to either side of a line, that are fitted
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in sigma


@dataclass(frozen=True)
class Calibration:
    """The gain in ADU per keV, and the number of events in lines that it rests on; 0: it is the nominal one."""

    gain: float
    events: int


def calibrate(amplitudes: NDArray[np.float64], nominal_gain: float) -> Calibration:
    """The gain from amplitudes in ADU, shape (events,), starting from a gain that is right within 10 %."""
    energies = amplitudes / nominal_gain
    near = energies[energies > LINES[0] * SCALES[0] - CATCH]
    lines = np.array(LINES)
    counts = [(np.abs(scale * near[:, np.newaxis] - lines) < CATCH).sum() for scale in SCALES]
    best = int(np.max(counts, initial=0))
    if best < LEAST_EVENTS:
        return Calibration(nominal_gain, 0)
    # The middle of a plateau of equally good ones.
    scale = float(SCALES[np.flatnonzero(np.array(counts) == best)].mean())
    for width in (CATCH, CATCH / 2):
        distance = scale * near[:, np.newaxis] - lines
        event, line = np.nonzero(np.abs(distance) < width)
        # Least squares of E = scale * near, where medians keep the continuum under a line from pulling.
        middles = np.array([np.median(near[event[line == index]]) for index in np.unique(line)])
        weights = np.array([(line == index).sum() for index in np.unique(line)])
        present = lines[np.unique(line)]
        scale = float((weights * present * middles).sum() / (weights * middles**2).sum())
    return Calibration(nominal_gain / scale, len(event))


def line_fwhm(energies: NDArray[np.float64], line: float, sigma: float) -> float | None:
    """FWHM in keV of a line at `line` keV in calibrated energies, None where it has too few events.

    Unbinned maximum likelihood of a Gaussian on a flat background; `sigma` in keV is where the fit starts.
    """
    half = FIT_WIDTH * sigma
    near = energies[np.abs(energies - line) < half] - line
    if len(near) < LEAST_EVENTS:
        return None

    def loss(parameters: NDArray[np.float64]) -> float:
        mean, log_width, logit = parameters
        peak = scipy.stats.norm(mean, np.exp(log_width))
        inside = peak.cdf(half) - peak.cdf(-half)
        part = 1 / (1 + np.exp(-logit))
        density = part * peak.pdf(near) / max(inside, 1e-9) + (1 - part) / (2 * half)
        return -float(np.log(density).sum())

    found = scipy.optimize.minimize(loss, [0.0, np.log(sigma), 2.0], method='Nelder-Mead')
    return float(FWHM * np.exp(found.x[1])) if found.success else None
