"""What the simulated detectors see: a 133Ba calibration, the cosmogenic line of germanium, and a continuum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# keV and photons per 100 decays of 133Ba. Source: Laboratoire National Henri Becquerel, Table of Radionuclides vol. 1.
BARIUM_LINES = (
    (53.16, 2.14),
    (79.61, 2.63),
    (81.00, 33.31),
    (160.61, 0.64),
    (223.24, 0.45),
    (276.40, 7.13),
    (302.85, 18.31),
    (356.01, 62.05),
    (383.85, 8.94),
)
COSMOGENIC = 10.37  # keV, K capture of 68Ge and 71Ge
CONTINUUM = (2.0, 380.0)  # keV, lowest and highest
SCALE = 120.0  # keV, over which the continuum falls to 1/e
FRACTIONS = {'barium': 0.50, 'cosmogenic': 0.10, 'continuum': 0.40}
COINCIDENCE = 0.15  # part of the events in which a Compton electron leaves energy in both detectors


def energies(events: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """True energies in keV, shape (2, events): of detector_a and detector_b, 0 where a detector was not hit."""
    kind = rng.choice(len(FRACTIONS), size=events, p=list(FRACTIONS.values()))
    lines, weights = np.array(BARIUM_LINES).T
    barium = rng.choice(lines, size=events, p=weights / weights.sum())
    total = np.choose(kind, [barium, COSMOGENIC, _continuum(events, rng)])
    shared = (rng.random(events) < COINCIDENCE) & (kind == 2)
    first = np.where(shared, rng.uniform(0.1, 0.9, events), 1.0)
    hit = np.stack([first, 1 - first]) * total
    swap = rng.random(events) < 0.5
    hit[:, swap] = hit[::-1, swap]
    return hit


def _continuum(events: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Exponentially falling between the ends of CONTINUUM, by the inverse of its distribution."""
    low, high = (np.exp(-edge / SCALE) for edge in CONTINUUM)
    return -SCALE * np.log(low + rng.random(events) * (high - low))
