from __future__ import annotations

import numpy as np
import pytest

from detector.noise import STRETCH, generate_noise, measured_psd, noise_psd
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, DetectorModel, pulse_shape

FREQUENCIES = np.fft.rfftfreq(SAMPLES, 1 / SAMPLING)
by_detector = pytest.mark.parametrize('model', DETECTORS, ids=lambda model: model.name)


def covariance(model: DetectorModel) -> np.ndarray:
    """True covariance (SAMPLES, SAMPLES) in ADU² of the noise of a trace, by Wiener-Khinchin."""
    stretch = STRETCH * SAMPLES
    psd = noise_psd(model, np.fft.rfftfreq(stretch, 1 / SAMPLING))
    samples = np.arange(SAMPLES)
    return np.fft.irfft(psd * SAMPLING / 2)[np.abs(samples - samples[:, np.newaxis])]


def expected_psd(model: DetectorModel) -> np.ndarray:
    """What the periodogram of a cut trace is on average: the true spectrum, and what leaks from its neighbours."""
    lagged = covariance(model)[0] * (SAMPLES - np.arange(SAMPLES))
    spectrum = 2 * np.real(np.fft.rfft(lagged)) - lagged[0]
    return spectrum * 2 / (SAMPLING * SAMPLES)


def best_resolution(model: DetectorModel) -> float:
    """Standard deviation (ADU) of an amplitude that no linear unbiased estimator falls below.

    Generalised least squares with the true pulse shape, the full covariance and a free baseline (Gauss-Markov
    theorem). The formula of the filter, with `expected_psd`, is 1 % above it: to the filter, what leaks from
    one frequency to the next is noise of its own.
    """
    shape = pulse_shape(model, (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING)
    design = np.column_stack([shape, np.ones(SAMPLES)])
    return float(np.linalg.inv(design.T @ np.linalg.solve(covariance(model), design))[0, 0] ** 0.5)


@by_detector
def test_noise_has_the_spectrum_of_the_model(model: DetectorModel) -> None:
    traces = generate_noise(np.random.default_rng(11), model, 4000)
    assert traces.shape == (4000, SAMPLES)
    assert traces.var() == pytest.approx(covariance(model)[0, 0], rel=0.03)
    measured, clean = measured_psd(np.fft.rfft(traces))
    assert clean.mean() > 0.99
    ratio = measured[1:-1] / expected_psd(model)[1:-1]
    # Periodograms are exponentially distributed: a relative error of 1/sqrt(4000) for each frequency.
    assert ratio.mean() == pytest.approx(1, abs=0.005)
    assert ratio.std() == pytest.approx(4000**-0.5, rel=0.2)
    assert np.abs(ratio - 1).max() < 5.5 * 4000**-0.5


@by_detector
def test_noise_is_not_white(model: DetectorModel) -> None:
    measured, _ = measured_psd(np.fft.rfft(generate_noise(np.random.default_rng(12), model, 400)))
    white = np.median(measured[(FREQUENCIES > 300) & (FREQUENCIES < 480)])
    assert white == pytest.approx(model.white_noise, rel=0.05)
    assert measured[1:4].mean() > 3 * white
    for line in model.noise_lines:
        at = np.abs(FREQUENCIES - line.frequency).argmin()
        assert measured[at - 1 : at + 2].max() > 2 * np.median(measured[at - 10 : at + 11])


def test_a_trace_does_not_join_up_at_its_ends() -> None:
    model = DETECTORS[0]
    traces = generate_noise(np.random.default_rng(13), model, 1000)
    jump = np.mean((traces[:, 0] - traces[:, -1]) ** 2)
    neighbours = np.mean((traces[:, 1] - traces[:, 0]) ** 2)
    expected = covariance(model)[0]
    assert jump == pytest.approx(2 * (expected[0] - expected[-1]), rel=0.13)
    assert jump > 1.2 * neighbours


def test_traces_with_a_pulse_do_not_reach_the_spectrum() -> None:
    model = DETECTORS[0]
    traces = generate_noise(np.random.default_rng(14), model, 200)
    quiet, _ = measured_psd(np.fft.rfft(traces))
    dirty = traces.copy()
    times = np.arange(SAMPLES) / SAMPLING
    for index, start in ((3, 0.1), (50, 0.5), (120, 0.8)):
        dirty[index] += 50 * model.gain * pulse_shape(model, times - start)
    measured, clean = measured_psd(np.fft.rfft(dirty))
    assert not clean[[3, 50, 120]].any() and clean.sum() >= 195
    assert measured[1:] == pytest.approx(quiet[1:], rel=0.15)


def test_constant_traces_have_no_noise() -> None:
    psd, clean = measured_psd(np.fft.rfft(np.full((10, SAMPLES), 7, dtype=np.int16)))
    assert not psd.any() and clean.all()
