from __future__ import annotations

import numpy as np
import pytest

from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, SMOOTHING, DetectorModel, pulse_shape

TIMES = (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING
by_detector = pytest.mark.parametrize('model', DETECTORS, ids=lambda model: model.name)


@by_detector
def test_pulse_has_unit_height_and_nothing_before_it(model: DetectorModel) -> None:
    fine = np.linspace(-1, 1, 200_001)
    shape = pulse_shape(model, fine)
    assert shape.max() == pytest.approx(1, abs=1e-7)
    assert np.all(shape[fine < -0.01] < 1e-12) and shape.min() > -1e-12
    # It is over before the trace is.
    assert pulse_shape(model, TIMES)[-1] < 1e-3
    assert pulse_shape(model, np.array([-1e3, 1e3])).tolist() == [0, 0]


@by_detector
def test_pulse_is_a_smoothed_difference_of_exponentials(model: DetectorModel) -> None:
    step = 2e-5
    times = np.arange(-0.05, 0.4, step)
    after = times.clip(0)
    plain = (np.exp(-after / model.decay_time) - np.exp(-after / model.rise_time)) * (times >= 0)
    kernel_times = np.arange(-6 * SMOOTHING, 6 * SMOOTHING + step / 2, step)
    kernel = np.exp(-0.5 * (kernel_times / SMOOTHING) ** 2)
    smooth = np.convolve(plain, kernel / kernel.sum(), mode='same')
    inner = slice(500, -500)
    assert pulse_shape(model, times)[inner] == pytest.approx((smooth / smooth.max())[inner], abs=1e-4)


def test_detectors_differ() -> None:
    one, other = DETECTORS
    assert (one.name, other.name) == ('detector_a', 'detector_b')
    assert one.gain != other.gain and one.noise_lines != other.noise_lines
    assert np.abs(pulse_shape(one, TIMES) - pulse_shape(other, TIMES)).max() > 0.1


@by_detector
def test_sampling_loses_nothing_of_a_pulse(model: DetectorModel) -> None:
    # So a phase factor moves the sampled pulse as if it had come later.
    spectrum = np.fft.rfft(pulse_shape(model, TIMES))
    phases = np.exp(-2j * np.pi * 0.37 * np.arange(spectrum.size) / SAMPLES)
    moved = np.fft.irfft(spectrum * phases)
    assert moved == pytest.approx(pulse_shape(model, TIMES - 0.37 / SAMPLING), abs=1e-4)
