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


def make_template(model: DetectorModel, traces: np.ndarray, psd: FloatArray) -> Template:
    """Average of the bright pulses among the traces (n, SAMPLES) in ADU, given the noise spectrum (ADU²/Hz).

    Delay and amplitude of each pulse are those of a filter with the nominal template. The pulses are moved
    back by their delay, and averaged so that Σ|V - A·S|² is smallest: S = Σ A·V / Σ A².
    With fewer than FEWEST bright pulses, the nominal template.
    """
    nominal = nominal_template(model)
    heights = traces[:, PEAK].max(axis=1) - baselines(traces)
    bright = np.flatnonzero(heights > BRIGHT * model.gain)[:MOST]
    if bright.size < FEWEST:
        return nominal
    pulses = traces[bright]
    fit = fit_pulses([make_filter(nominal.spectrum, psd)], [pulses])
    amplitudes = fit.amplitude[0]
    spectrum = aligned_sum(transforms_of(pulses), amplitudes, fit.delay) / (amplitudes @ amplitudes)
    spectrum[0] = 0
    return Template(spectrum, bright.size)
