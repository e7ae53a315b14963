"""The two simulated detectors, and the shape of their heat pulses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

SAMPLING = 1000.0  # Hz
SAMPLES = 1024  # of one trace
PRETRIGGER = 256  # samples before the trigger
SMOOTHING = 1.0e-3  # s, rms width of the Gaussian response of the anti-aliasing filter


@dataclass(frozen=True)
class NoiseLine:
    """A peak of the noise spectrum, of Lorentzian form: mains or microphonics."""

    frequency: float  # Hz
    half_width: float  # Hz, at half maximum
    variance: float  # ADU², the area under the peak


@dataclass(frozen=True)
class DetectorModel:
    """What is known of a detector beforehand: nominal values, from which a file's real gain differs a little."""

    name: str
    gain: float  # ADU per keV
    rise_time: float  # s
    decay_time: float  # s
    baseline: float  # ADU
    white_noise: float  # ADU²/Hz, one-sided
    corner: float  # Hz, where low-frequency and white noise are equal
    slope: float  # exponent α of the low-frequency noise 1/f^α
    noise_lines: tuple[NoiseLine, ...]


DETECTORS = (
    DetectorModel(
        name='detector_a',
        gain=60.0,
        rise_time=5.0e-3,
        decay_time=60.0e-3,
        baseline=-2000.0,
        white_noise=7.0,
        corner=12.0,
        slope=1.2,
        noise_lines=(NoiseLine(50.0, 0.3, 500.0), NoiseLine(150.0, 0.3, 250.0), NoiseLine(23.0, 1.0, 200.0)),
    ),
    DetectorModel(
        name='detector_b',
        gain=45.0,
        rise_time=8.0e-3,
        decay_time=90.0e-3,
        baseline=1500.0,
        white_noise=9.0,
        corner=9.0,
        slope=1.0,
        noise_lines=(NoiseLine(50.0, 0.3, 300.0), NoiseLine(150.0, 0.3, 100.0), NoiseLine(87.0, 1.5, 150.0)),
    ),
)


def pulse_shape(model: DetectorModel, times: FloatArray) -> FloatArray:
    """Heat pulse of unit height at any times (s, any shape) after the arrival of the energy; same shape.

    The difference of two exponentials, exp(-t/τ_decay) - exp(-t/τ_rise), of a thermal detector (S. H. Moseley,
    J. C. Mather & D. McCammon, J. Appl. Phys. 56 (1984) 1257), as an anti-aliasing filter of Gaussian response
    leaves it. Each term is then an exponentially modified Gaussian (E. Grushka, Anal. Chem. 44 (1972) 1733).
    The maximum is 1.
    """
    return _smoothed_pulse(model, np.asarray(times, dtype=float)) / _height(model)


def _smoothed_pulse(model: DetectorModel, times: FloatArray) -> FloatArray:
    return _smoothed_decay(times, model.decay_time) - _smoothed_decay(times, model.rise_time)


def _smoothed_decay(times: FloatArray, tau: float) -> FloatArray:
    # Imported here: SciPy takes a third of the start of scripts that only read files, or have none to analyse.
    from scipy.special import log_ndtr

    # Logarithms, because long before the arrival one factor overflows where the other vanishes.
    return np.exp(SMOOTHING**2 / (2 * tau**2) - times / tau + log_ndtr(times / SMOOTHING - SMOOTHING / tau))


@lru_cache
def _height(model: DetectorModel) -> float:
    # Only without smoothing the maximum has a closed form; with it, it is close by. Steps of 0.1 us miss it by 1e-9.
    rise, decay = model.rise_time, model.decay_time
    peak_time = np.log(decay / rise) * rise * decay / (decay - rise)
    times = np.linspace(peak_time - 5 * SMOOTHING, peak_time + 5 * SMOOTHING, 100_001)
    return float(_smoothed_pulse(model, times).max())
