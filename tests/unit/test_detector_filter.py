"""Optimum filter, template and calibration, each for itself."""

from __future__ import annotations

import numpy as np
import pytest

from detector.calibration import SINGLE_LINES, calibrate, fit_line
from detector.noise import generate_noise
from detector.optimum_filter import (
    FREQUENCIES,
    WINDOW,
    amplitudes_without_search,
    fit_pulses,
    make_filter,
    theoretical_resolution,
)
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, DetectorModel, pulse_shape
from detector.template import baselines, make_template, nominal_template
from tests.unit.test_detector_noise import best_resolution, by_detector, expected_psd


def traces_of(model: DetectorModel, amplitudes: np.ndarray, delays: np.ndarray, seed: int) -> np.ndarray:
    """Traces in ADU, amplitudes in ADU, delays in samples."""
    times = (np.arange(SAMPLES) - PRETRIGGER - delays[:, np.newaxis]) / SAMPLING
    traces = generate_noise(np.random.default_rng(seed), model, amplitudes.size) + model.baseline
    hit = amplitudes != 0  # the pulses take longer to make than the noise
    traces[hit] += amplitudes[hit, np.newaxis] * pulse_shape(model, times[hit])
    return traces


def filter_of(model: DetectorModel) -> tuple[np.ndarray, np.ndarray]:
    return nominal_template(model).spectrum, expected_psd(model)


@by_detector
def test_resolution_of_white_noise(model: DetectorModel) -> None:
    # White noise of variance v: σ² = v / Σ (s - mean(s))², the baseline being free.
    shape = pulse_shape(model, (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING)
    variance = 30.0**2
    psd = np.full(SAMPLES // 2 + 1, variance * 2 / SAMPLING)
    expected = 30.0 / np.sqrt(np.sum((shape - shape.mean()) ** 2))
    assert theoretical_resolution(np.fft.rfft(shape), psd) == pytest.approx(expected, rel=1e-9)


@by_detector
def test_resolution_is_close_to_the_best_of_all_estimators(model: DetectorModel) -> None:
    best = best_resolution(model)
    ours = theoretical_resolution(*filter_of(model))
    assert best <= ours < 1.02 * best
    assert 0.3 < ours / model.gain < 0.5


@pytest.mark.slow
@by_detector
def test_amplitudes_of_noise_have_the_theoretical_resolution(model: DetectorModel) -> None:
    noise = generate_noise(np.random.default_rng(21), model, 8000)
    optimum_filter = make_filter(*filter_of(model))
    amplitudes = amplitudes_without_search(optimum_filter, np.fft.rfft(noise))
    assert amplitudes.std() == pytest.approx(optimum_filter.resolution, rel=0.04)
    assert abs(amplitudes.mean()) < 4 * amplitudes.std() / np.sqrt(8000)


@by_detector
def test_amplitude_and_chi2_are_exact_at_the_delay(model: DetectorModel) -> None:
    template, psd = filter_of(model)
    delays = np.linspace(-3.9, 3.9, 40)
    traces = traces_of(model, np.geomspace(100, 20_000, 40), delays, 22)
    fit = fit_pulses([make_filter(template, psd)], [traces])
    variance = psd * SAMPLING * SAMPLES / 2
    weights = np.full(variance.size, 2.0) / variance
    weights[0], weights[-1] = 0, 1 / variance[-1]
    spectra = np.fft.rfft(traces)
    shifted = template * np.exp(-1j * np.outer(fit.delay, FREQUENCIES))
    sigma2 = 1 / np.sum(weights * np.abs(template) ** 2)
    amplitude = sigma2 * np.sum(weights * np.real(shifted.conj() * spectra), axis=1)
    chi2 = np.sum(weights * np.abs(spectra - amplitude[:, np.newaxis] * shifted) ** 2, axis=1) / (SAMPLES - 2)
    assert fit.amplitude[0] == pytest.approx(amplitude, abs=2e-5 * np.sqrt(sigma2))
    assert fit.chi2[0] == pytest.approx(chi2, rel=1e-4)
    # Above the noise, the delay is the true one.
    assert fit.delay[32:] == pytest.approx(delays[32:], abs=0.1)
    assert np.all(np.abs(fit.delay) <= WINDOW)


def test_the_delay_is_found_between_the_samples() -> None:
    model = DETECTORS[0]
    delays = np.random.default_rng(23).uniform(-0.5, 0.5, 500)
    traces = traces_of(model, np.full(500, 356 * model.gain), delays, 24)
    fit = fit_pulses([make_filter(*filter_of(model))], [traces])
    assert np.abs(fit.delay - delays).max() < 0.1 and (fit.delay - delays).std() < 0.02


@pytest.mark.slow
def test_a_detector_without_hit_takes_the_delay_of_the_other() -> None:
    hit, other = DETECTORS
    delays = np.random.default_rng(25).uniform(-0.5, 0.5, 4000)
    traces = [
        traces_of(hit, np.full(4000, 100 * hit.gain), delays, 26),
        traces_of(other, np.zeros(4000), delays, 27),
    ]
    filters = [make_filter(*filter_of(model)) for model in DETECTORS]
    fit = fit_pulses(filters, traces)
    assert fit.delay == pytest.approx(delays, abs=0.3)
    assert fit.amplitude[1].std() == pytest.approx(filters[1].resolution, rel=0.04)
    # With a search of its own, only the highest of the noise would be left.
    alone = fit_pulses(filters[1:], traces[1:])
    assert alone.amplitude[0].std() > 1.1 * filters[1].resolution


def test_a_wrong_shape_shows_in_chi2() -> None:
    model, other = DETECTORS
    traces = traces_of(model, np.full(100, 200 * model.gain), np.zeros(100), 28)
    right = fit_pulses([make_filter(*filter_of(model))], [traces])
    wrong = fit_pulses([make_filter(nominal_template(other).spectrum, expected_psd(model))], [traces])
    assert right.chi2.mean() == pytest.approx(1, abs=0.03) and wrong.chi2.min() > 2


@by_detector
def test_template_from_data_is_the_true_shape(model: DetectorModel) -> None:
    # Not the nominal one: the true pulse falls 10 % more slowly.
    true = DetectorModel(**{**vars(model), 'decay_time': 1.1 * model.decay_time})
    rng = np.random.default_rng(29)
    traces = traces_of(true, model.gain * rng.uniform(110, 380, 150), rng.uniform(-0.5, 0.5, 150), 30)
    template = make_template(model, traces, expected_psd(model))
    assert not template.nominal and template.pulses == 100
    expected = pulse_shape(true, (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING)
    shape = np.fft.irfft(template.spectrum)
    shape -= shape[:200].mean()
    scale = shape @ expected / (expected @ expected)
    assert shape / scale == pytest.approx(expected, abs=0.03)
    nominal = pulse_shape(model, (np.arange(SAMPLES) - PRETRIGGER) / SAMPLING)
    assert np.std(shape / scale - expected) < 0.25 * np.std(nominal - expected)


def test_template_of_few_bright_pulses_is_nominal() -> None:
    model = DETECTORS[0]
    energies = np.array([300.0] * 19 + [50.0] * 100)
    traces = traces_of(model, model.gain * energies, np.zeros(energies.size), 31)
    template = make_template(model, traces, expected_psd(model))
    assert template.nominal and np.array_equal(template.spectrum, nominal_template(model).spectrum)
    assert baselines(traces) == pytest.approx(model.baseline, abs=60)


@pytest.mark.parametrize('factor', [0.91, 0.97, 1.0, 1.03, 1.09])
def test_calibration_finds_the_gain(factor: float) -> None:
    rng = np.random.default_rng(32)
    energies = np.concatenate(
        [rng.choice(SINGLE_LINES, 60, p=(0.07, 0.19, 0.65, 0.09)), rng.uniform(2, 380, 50), np.zeros(60)]
    )
    gain = calibrate(60 * factor * (energies + rng.normal(0, 0.4, energies.size)), 60.0)
    assert not gain.nominal and gain.value == pytest.approx(60 * factor, rel=1e-3)


@pytest.mark.parametrize('seed', range(20))
def test_no_lines_no_calibration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for energies in (rng.uniform(2, 380, 200), rng.normal(0, 0.4, 50), np.full(3, 356.013)):
        assert calibrate(60 * energies, 60.0) == (calibrate(np.empty(0), 60.0))


def test_line_fit() -> None:
    rng = np.random.default_rng(33)
    peak, background = rng.normal(300.2, 0.4, 4000), rng.uniform(280, 320, 2000)
    line = fit_line(np.concatenate([peak, background]), 300.0, 30)
    assert line is not None
    assert line.position == pytest.approx(300.2, abs=0.03) and line.sigma == pytest.approx(0.4, rel=0.05)
    assert line.events == pytest.approx(4000, rel=0.03) and line.fwhm == pytest.approx(2.3548 * line.sigma, rel=1e-4)
    assert fit_line(peak[:20], 300.0, 30) is None and fit_line(peak[:20], 300.0, 15) is not None
    assert fit_line(np.full(50, 300.0), 300.0, 30) is None
    assert fit_line(np.full(64, 300.25), 300.0, 30) is None  # σ becomes 0 exactly
    assert fit_line(np.empty(0), 300.0, 30) is None
