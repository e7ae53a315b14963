"""The tabulated lines, the energy calibration with those of 133Ba, and the resolution of lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.pulses import FloatArray

# keV, and photons per 100 decays: DDEP evaluation of 133Ba, Laboratoire National Henri Becquerel (LNHB).
BARIUM_LINES = (
    (53.162, 2.14),
    (79.614, 2.63),
    (80.998, 33.3),
    (160.612, 0.64),
    (223.237, 0.45),
    (276.399, 7.13),
    (302.851, 18.31),
    (356.013, 62.05),
    (383.849, 8.94),
)
GERMANIUM_LINE = 10.37  # keV, K shell of 71Ge: binding energy of Ga, where its electron capture ends (NNDC)
SINGLE_LINES = (276.399, 302.851, 356.013, 383.849)  # keV; of the source, those that stand alone
RESOLVED_LINES = (GERMANIUM_LINE, *SINGLE_LINES)

GAIN_RANGE = 0.10  # relative, either way of the nominal gain
GAIN_STEP = 0.0005  # relative; at 384 keV 0.2 keV, well below the width of a line
LINE_WINDOW = 1.5  # keV either side, in the search for the lines
FEWEST_IN_LINE = 5  # events for a line to be used
FEWEST_IN_LINES = 15  # events in all lines for a calibration
CONTRAST = 3.0  # times as many events in the lines, at least, as with a typical gain that is wrong

FIT_WINDOW = 5.0  # keV either side
FEWEST_IN_FIT = 10  # events in the peak for a resolution, which has a relative error of 22 % then
START_SIGMA = 0.5  # keV, where the fit begins
ITERATIONS = 200  # at most
PRECISION = 1e-5  # keV, of σ, at which the fit ends
LEAST_BACKGROUND = 0.5  # events near a line; less is none
SIGMA_TO_FWHM = 2 * np.sqrt(2 * np.log(2))  # of a normal distribution


@dataclass(frozen=True)
class Gain:
    """What an amplitude is divided by to have the energy."""

    value: float  # ADU per keV
    nominal: bool  # whether it is the nominal one, because there were too few events in the lines


@dataclass(frozen=True)
class Line:
    """A fitted line: a Gaussian peak on a flat background.

    The uncertainties are standard deviations; infinite where the fit does not tell them.
    """

    position: float  # keV
    sigma: float  # keV
    events: float  # in the peak
    background: float  # events per keV
    position_uncertainty: float  # keV
    sigma_uncertainty: float  # keV
    events_uncertainty: float

    @property
    def fwhm(self) -> float:
        """Full width at half maximum, in keV."""
        return float(SIGMA_TO_FWHM * self.sigma)

    @property
    def fwhm_uncertainty(self) -> float:
        """Its standard deviation, in keV."""
        return float(SIGMA_TO_FWHM * self.sigma_uncertainty)


def calibrate(amplitudes: FloatArray, nominal: float) -> Gain:
    """Gain of a detector, from all its amplitudes (n,) in ADU; `nominal` in ADU per keV.

    Among the gains within GAIN_RANGE of the nominal one, the one is looked for that has most events in the
    lines. The lines then are fitted, and the gain is that of least squares over them, Σ N·(position·gain - A)²
    with N events each. With too few events in the lines, the nominal gain.
    """
    factors = np.arange(1 - GAIN_RANGE, 1 + GAIN_RANGE + GAIN_STEP / 2, GAIN_STEP)
    ordered = np.sort(amplitudes)
    inside = np.sum([_counted(ordered, energy, nominal * factors) for energy in SINGLE_LINES], axis=0)
    most = inside.max()
    if most < FEWEST_IN_LINES or most < CONTRAST * np.median(inside):
        return Gain(nominal, True)
    # A line is wider than a step: the best gains are next to each other.
    gain = nominal * factors[inside == most].mean()
    energies = amplitudes / gain
    peaks = {line: _fit_peak(_near(energies, line), FEWEST_IN_LINE) for line in SINGLE_LINES}
    found = [(line, *peak) for line, peak in peaks.items() if peak]
    if not found:
        return Gain(nominal, True)
    lines, positions, _, events = np.array(found).T
    return Gain(float(gain * np.sum(events * lines * positions) / np.sum(events * lines**2)), False)


def resolutions(energies: FloatArray) -> Mapping[float, Line | None]:
    """The lines of RESOLVED_LINES in the energies (n,) in keV; None for those with too few events."""
    return {energy: fit_line(energies, energy, FEWEST_IN_FIT) for energy in RESOLVED_LINES}


def fit_line(energies: FloatArray, line: float, fewest: int) -> Line | None:
    """Fit a Gaussian peak on a flat background to the energies (n,) near `line`, all in keV.

    Unbinned maximum likelihood in a window of FIT_WINDOW either side, by expectation maximisation
    (A. P. Dempster, N. M. Laird & D. B. Rubin, J. R. Stat. Soc. B 39 (1977) 1). None with less than `fewest`
    events in the peak.
    """
    near = _near(energies, line)
    peak = _fit_peak(near, fewest)
    if peak is None:
        return None
    position, sigma, events = peak
    background = (near.size - events) / (2 * FIT_WINDOW)
    return Line(position, sigma, events, background, *_uncertainties(near, position, sigma, events / near.size))


def _near(energies: FloatArray, line: float) -> FloatArray:
    return energies[np.abs(energies - line) < FIT_WINDOW]


def _fit_peak(near: FloatArray, fewest: int) -> tuple[float, float, float] | None:
    """Position and σ (keV) of the peak that `fit_line` fits to the energies (n,) near a line, and the events in it."""
    if near.size < fewest:
        return None
    flat = 1 / (2 * FIT_WINDOW)
    sigma, part = START_SIGMA, 0.5
    squares = np.square(near - np.median(near))
    for _ in range(ITERATIONS):
        peak = part / (math.sqrt(2 * math.pi) * sigma) * np.exp(squares * (-0.5 / sigma**2))
        in_peak = peak / (peak + (1 - part) * flat)
        events = float(in_peak.sum())
        if events < fewest:
            return None  # the peak has vanished
        before = sigma
        position = float(in_peak @ near) / events
        squares = np.square(near - position)
        sigma = math.sqrt(in_peak @ squares / events)
        part = events / near.size
        if sigma < FIT_WINDOW / 1000:
            return None  # it sits on a single event
        if abs(sigma - before) < PRECISION:
            break
    return position, sigma, events


def _uncertainties(near: FloatArray, position: float, sigma: float, part: float) -> tuple[float, float, float]:
    """Standard deviations of position and σ (keV) and of the number of events, fitted to the energies (n,) near a line.

    From the inverse of the observed information, which T. A. Louis (J. R. Stat. Soc. B 44 (1982) 226) gives for fits
    by expectation maximisation; written so that a peak without background (`part` 1) divides nothing by zero.
    """
    flat = 1 / (2 * FIT_WINDOW)
    away = near - position
    peak = np.exp(-0.5 * np.square(away / sigma)) / (np.sqrt(2 * np.pi) * sigma)
    density = part * peak + (1 - part) * flat
    in_peak = part * peak / density
    # Derivatives of the peak's log likelihood, by position and σ.
    score = np.array([away / sigma**2, np.square(away) / sigma**3 - 1 / sigma])
    information = np.empty((3, 3))
    information[:2, :2] = -(in_peak * (1 - in_peak) * score) @ score.T
    information[0, 0] += in_peak.sum() / sigma**2
    information[[0, 1], [1, 0]] += 2 * (in_peak @ away) / sigma**3
    information[1, 1] += 3 * (in_peak @ np.square(away)) / sigma**4 - in_peak.sum() / sigma**2
    information[2, :2] = information[:2, 2] = -score @ (peak * flat / np.square(density))
    information[2, 2] = np.sum(np.square((peak - flat) / density))
    # With no background the likelihood still rises where `part` ends: its curvature there says nothing about `part`.
    free = 3 if near.size * (1 - part) > LEAST_BACKGROUND else 2
    information = information[:free, :free]
    if np.linalg.eigvalsh(information)[0] <= 0:
        return np.inf, np.inf, np.inf  # the fit ended short of a maximum
    variances = np.zeros(3)
    variances[:free] = np.diag(np.linalg.inv(information))
    # The number of events near the line has a Poisson distribution of its own.
    of_events = part**2 * near.size + near.size**2 * variances[2]
    return float(np.sqrt(variances[0])), float(np.sqrt(variances[1])), float(np.sqrt(of_events))


def _counted(ordered: FloatArray, energy: float, gains: FloatArray) -> np.ndarray:
    """How many of the ordered amplitudes (ADU) are in the window of a line (keV), for each of the gains."""
    low, high = ((energy + side) * gains for side in (-LINE_WINDOW, LINE_WINDOW))
    return np.searchsorted(ordered, high) - np.searchsorted(ordered, low)
