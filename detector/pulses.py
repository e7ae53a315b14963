"""The heat pulse of a bolometer: its shape, and the properties of the two detectors that are simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLING = 1000.0  # Hz
SAMPLES = 1024  # of one trace
PRETRIGGER = 256  # samples before the trigger


@dataclass(frozen=True)
class Detector:
    """A bolometer and its read-out.

    `gain` is in ADU per keV, the times are in seconds, `slow_fraction` is the part of the amplitude that
    decays with `slow_decay`, `baseline` is in ADU. Noise: `white` in ADU/sqrt(Hz), `knee` in Hz, `lines` as
    (frequency in Hz, rms in ADU).
    """

    name: str
    gain: float
    rise: float
    decay: float
    slow_decay: float
    slow_fraction: float
    baseline: float
    white: float
    knee: float
    lines: tuple[tuple[float, float], ...]


# Shaped after EDELWEISS heat channels: rise of about 10 ms, decay of some 100 ms, baseline of about 1 keV FWHM.
DETECTORS = (
    Detector('detector_a', 20.0, 0.008, 0.060, 0.250, 0.20, 420.0, 1.00, 12.0, ((50.0, 6.0), (150.0, 3.0))),
    Detector('detector_b', 16.0, 0.011, 0.075, 0.300, 0.25, -310.0, 0.90, 15.0, ((50.0, 8.0), (97.0, 4.0))),
)


def pulse_shape(detector: Detector, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """A pulse of height 1 at `times`, in seconds since the interaction; the same shape as `times`.

    One rise and two decays, as of an NTD thermometer on a crystal that is coupled to it athermally and
    thermally. Source: F. Pröbst et al., J. Low Temp. Phys. 100 (1995) 69.
    """
    return _unnormalised(detector, times) / _height(detector)


def trace_times() -> NDArray[np.float64]:
    """Times of the samples of a trace, in seconds since the trigger."""
    return (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING


def _unnormalised(detector: Detector, times: NDArray[np.float64]) -> NDArray[np.float64]:
    since = np.maximum(times, 0.0)
    fast = (1 - detector.slow_fraction) * np.exp(-since / detector.decay)
    slow = detector.slow_fraction * np.exp(-since / detector.slow_decay)
    return (1 - np.exp(-since / detector.rise)) * (fast + slow)


def _height(detector: Detector) -> float:
    return float(_unnormalised(detector, np.linspace(0, 10 * detector.rise, 10_001)).max())
