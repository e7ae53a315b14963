"""The simulated energies: a 133Ba calibration source, cosmogenic 71Ge in the crystals, and a continuum."""

from __future__ import annotations

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

BARIUM_PART = 0.60  # of the events
GERMANIUM_PART = 0.10  # of the events; the rest is continuum
SHARED_PART = 0.15  # of the events: a gamma that is scattered in one detector and absorbed in the other
FLAT_PART = 0.6  # of the continuum; the rest falls exponentially
FALL = 60.0  # keV, its decay constant
LOWEST, HIGHEST = 2.0, 380.0  # keV, ends of the continuum
SHARE = 0.05, 0.95  # of a shared gamma's energy in one of the detectors


def draw_energies(rng: np.random.Generator, events: int) -> FloatArray:
    """Simulated true energies in keV, of shape (events, 2): detector_a, detector_b; 0 where it was not hit."""
    lines, intensities = np.array(BARIUM_LINES).T
    gammas = rng.choice(lines, events, p=intensities / intensities.sum())
    flat = rng.uniform(LOWEST, HIGHEST, events)
    # Inverse of the cumulative distribution of an exponential that ends at HIGHEST.
    falling = LOWEST - FALL * np.log1p(rng.random(events) * np.expm1((LOWEST - HIGHEST) / FALL))
    continuum = np.where(rng.random(events) < FLAT_PART, flat, falling)
    kind = rng.random(events)
    energies = np.where(kind < BARIUM_PART, gammas, continuum)
    energies[(kind >= BARIUM_PART) & (kind < BARIUM_PART + GERMANIUM_PART)] = GERMANIUM_LINE
    part_in_a = np.where(rng.random(events) < 0.5, 1.0, 0.0)
    shared = rng.random(events) < SHARED_PART
    energies[shared] = gammas[shared]
    part_in_a[shared] = rng.uniform(*SHARE, np.count_nonzero(shared))
    return np.column_stack([energies * part_in_a, energies * (1 - part_in_a)])
