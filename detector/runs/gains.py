"""The calibration of a run: a gain for each of its files, found with what all of them tell of the lines.

The gain follows the temperature from file to file, by more than the width of a line, so that a run has no single gain.
What its files share is the shape of the spectrum: how many of the events are in each line, and how wide it is. Once
that is known from all files together, a few events in the lines are enough to find the gain of a file that has too few
for `calibrate`, which knows nothing but how many events are where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.calibration import (
    BARIUM_LINES,
    FEWEST_IN_FIT,
    GAIN_RANGE,
    GAIN_STEP,
    SINGLE_LINES,
    Gain,
    calibrate,
    fit_line,
)
from detector.pulses import FloatArray

REGION = 220.0, 450.0  # keV by the nominal gain; holds the single lines, whatever the gain within GAIN_RANGE
WIDTH = REGION[1] - REGION[0]  # keV
LINES = np.array(SINGLE_LINES)[:, np.newaxis]  # keV
START_SHARE = 0.5  # of the events in the region, in all lines, as long as nothing is known of the run
LARGEST_SHARE = 0.99  # so that an event far from all lines never rules out a gain by itself
SEARCHED = 2000  # events of a file, at most, in the search: where these show no lines, more would not
EVIDENCE = 7.0  # by which the log likelihood of a gain exceeds all others that are no neighbours, some 200 of them
NEIGHBOURS = 0.01  # relative difference of gains, below which they tell of the same lines
FEWEST_IN_LINES = 3.0  # events for a gain
ITERATIONS = 100  # at most
PRECISION = 1e-7  # relative, of a gain, at which the iteration ends
ROUNDS = 2  # of gains, and of the shape that follows from them


@dataclass(frozen=True)
class Shape:
    """What the files of a run share: Gaussian lines on a flat background, for the energies in the region."""

    sigmas: FloatArray  # (lines, 1) keV
    shares: FloatArray  # (lines, 1) of the events in the region

    def in_lines(self, energies: FloatArray) -> FloatArray:
        """Density (lines, n) of the events in each line, at energies (n,) in keV, relative to no lines at all."""
        away = (energies - LINES) / self.sigmas
        found: FloatArray = self.shares * WIDTH / (np.sqrt(2 * np.pi) * self.sigmas) * np.exp(-0.5 * np.square(away))
        return found

    @property
    def background(self) -> float:
        """The same of the events in no line, at all energies."""
        return float(1 - self.shares.sum())


def run_gains(files: Sequence[FloatArray], nominal: float, sigma: float) -> list[Gain]:
    """The gain of a detector in each file of a run, from the amplitudes (n,) in ADU of each.

    `nominal` in ADU per keV; `sigma` in keV, the least width of a line, by the noise. A file without enough events in
    the lines has the mean gain of the others, or, where there are none, the nominal one; such a gain is called nominal.
    """
    parts = [part[(part > REGION[0] * nominal) & (part < REGION[1] * nominal)] for part in files]
    own = [calibrate(part, nominal) for part in files]
    gains = [None if gain.nominal else gain.value for gain in own]
    for _ in range(ROUNDS):
        shape = _shape([part / gain for part, gain in zip(parts, gains, strict=True) if gain is not None], sigma)
        starts = [gain or _search(part, nominal, shape) for part, gain in zip(parts, gains, strict=True)]
        gains = [gain and _refined(part, gain, shape) for part, gain in zip(parts, starts, strict=True)]
    found = [gain for gain in gains if gain is not None]
    mean = float(np.mean(found)) if found else nominal
    return [Gain(mean, True) if gain is None else Gain(gain, False) for gain in gains]


def _shape(energies: Sequence[FloatArray], sigma: float) -> Shape:
    """The shape by the energies (n,) in keV of the files that have a gain, which are in the region."""
    together = np.concatenate([np.zeros(0), *energies])
    fits = [fit_line(together, line, FEWEST_IN_FIT) for line in SINGLE_LINES]
    if not any(fits):
        intensities = np.array([intensity for line, intensity in BARIUM_LINES if line in SINGLE_LINES])
        return Shape(np.full(LINES.shape, sigma), START_SHARE * (intensities / intensities.sum())[:, np.newaxis])
    # Nothing is narrower than the noise allows, though ten events may seem so.
    sigmas = [max(fit.sigma, sigma) if fit else sigma for fit in fits]
    shares = np.array([fit.events if fit else 0.0 for fit in fits]) / together.size
    shares *= min(1.0, LARGEST_SHARE / shares.sum())
    return Shape(np.array(sigmas)[:, np.newaxis], shares[:, np.newaxis])


def _search(amplitudes: FloatArray, nominal: float, shape: Shape) -> float | None:
    """The most likely gain (ADU per keV); None where others, or that there are no lines, are about as likely."""
    gains = nominal * np.arange(1 - GAIN_RANGE, 1 + GAIN_RANGE + GAIN_STEP / 2, GAIN_STEP)
    searched = amplitudes[:SEARCHED]
    likelihood = np.array(
        [np.log(shape.background + shape.in_lines(searched / gain).sum(axis=0)).sum() for gain in gains]
    )
    best = int(likelihood.argmax())
    others = likelihood[np.abs(gains / gains[best] - 1) > NEIGHBOURS]
    return float(gains[best]) if likelihood[best] - max(0.0, others.max()) > EVIDENCE else None


def _refined(amplitudes: FloatArray, gain: float, shape: Shape) -> float | None:
    """The most likely gain near one that is right within the width of a line; None with too few events in the lines.

    By expectation maximisation as in `fit_line`, with the positions known and the gain free: that of least squares,
    each event with the probability that it is in a line.
    """
    for _ in range(ITERATIONS):
        in_lines = shape.in_lines(amplitudes / gain)
        in_lines /= in_lines.sum(axis=0) + shape.background
        if in_lines.sum() < FEWEST_IN_LINES:
            return None
        weights = in_lines / shape.sigmas**2
        before, gain = gain, float(np.sum(weights * LINES * amplitudes) / np.sum(weights * LINES**2))
        if abs(gain / before - 1) < PRECISION:
            break
    return gain
