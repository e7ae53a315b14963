"""The pulse template of a detector, made from its bright pulses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from detector.optimum_filter import aligned_sum, fit_pulses, make_filter, transforms_of
from detector.pulses import PRETRIGGER, SAMPLES, SAMPLING, DetectorModel, FloatArray, pulse_shape

BRIGHT = 100.0  # keV with the nominal gain
FEWEST = 20  # bright pulses for a template
MOST = 100  # bright pulses that are averaged; more do not improve an amplitude
PEAK = slice(PRETRIGGER, PRETRIGGER + 64)  # samples, where the pulse is highest
BEFORE = slice(0, PRETRIGGER - 16)  # samples, where it has not begun


@dataclass(frozen=True)
class Template:
    """A template, for a pulse without delay; a filter with the nominal template gives it the amplitude 1."""

    spectrum: np.ndarray  # (SAMPLES // 2 + 1,) complex; 0 at frequency 0, as the baseline is free
    pulses: int  # averaged

    @property
    def nominal(self) -> bool:
        """Whether it is the nominal pulse shape, because there were too few bright pulses."""
        return self.pulses == 0


def baselines(traces: np.ndarray) -> FloatArray:
    """Mean (n,) in ADU of each trace (n, SAMPLES) before the pulse."""
    # Sums of whole numbers: those of NumPy's mean, in float, take four times as long.
    return traces[:, BEFORE].sum(axis=1) / (BEFORE.stop - BEFORE.start)


@lru_cache
def nominal_template(model: DetectorModel) -> Template:
    """The template of a detector as it is known beforehand."""
    spectrum = np.fft.rfft(pulse_shape(model, (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING))
    spectrum[0] = 0
    spectrum.flags.writeable = False
    return Template(spectrum, 0)


@dataclass(frozen=True)
class PulseSum:
    """What a template is made of: sums over bright pulses, which may be of several files."""

    pulses: int = 0
    weight: float = 0.0  # Σ A², ADU²
    weighted: np.ndarray | float = 0.0  # Σ A·V, (SAMPLES // 2 + 1,) complex, of pulses moved back by their delays

    def __add__(self, other: PulseSum) -> PulseSum:
        """Those of both."""
        return PulseSum(self.pulses + other.pulses, self.weight + other.weight, self.weighted + other.weighted)


def make_template(model: DetectorModel, traces: np.ndarray, psd: FloatArray) -> Template:
    """Average of the bright pulses among the traces (n, SAMPLES) in ADU, given the noise spectrum (ADU²/Hz).

    With fewer than FEWEST bright pulses, the nominal template.
    """
    return template_of(model, sum_pulses(model, traces, psd))


def sum_pulses(model: DetectorModel, traces: np.ndarray, psd: FloatArray) -> PulseSum:
    """The sums over the first MOST bright pulses among the traces (n, SAMPLES) in ADU, given the noise spectrum.

    Delay and amplitude of each pulse are those of a filter with the nominal template.
    """
    heights = traces[:, PEAK].max(axis=1) - baselines(traces)
    bright = np.flatnonzero(heights > BRIGHT * model.gain)[:MOST]
    pulses = traces[bright]
    fit = fit_pulses([make_filter(nominal_template(model).spectrum, psd)], [pulses])
    amplitudes = fit.amplitude[0]
    summed = aligned_sum(transforms_of(pulses), amplitudes, fit.delay)
    return PulseSum(bright.size, float(amplitudes @ amplitudes), summed)


def template_of(model: DetectorModel, summed: PulseSum) -> Template:
    """The template for which Σ|V - A·S|² is smallest, S = Σ A·V / Σ A²; the nominal one with fewer than FEWEST."""
    if summed.pulses < FEWEST:
        return nominal_template(model)
    spectrum = summed.weighted / summed.weight
    spectrum[0] = 0
    return Template(spectrum, summed.pulses)
