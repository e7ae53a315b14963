"""The analysis against the true energies, and against the best that any filter could reach in this noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import uproot

from detector import acquisition, noise, template
from detector.analysis import Summary, analyse
from detector.optimum_filter import DELAYS, fit, make_filter, resolution, spectra
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, Detector, pulse_shape, trace_times
from detector.traces import DataFileError, open_data_file

EVENTS = 2000
SEED = 20131004


@dataclass
class Analysed:
    path: Path
    summary: Summary
    truth: dict[str, np.ndarray]
    result: dict[str, np.ndarray]


def analysed(folder: Path, events: int, seed: int) -> Analysed:
    path, target = folder / 'x.root', folder / 'x.amp.root'
    acquisition.write_file(path, events, np.random.default_rng(seed), {})
    summary = analyse(path, target)
    with uproot.open(path) as raw, uproot.open(target) as amplitudes:
        return Analysed(path, summary, raw['truth'].arrays(library='np'), amplitudes['amplitudes'].arrays(library='np'))


@pytest.fixture(scope='module')
def large(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    return analysed(tmp_path_factory.mktemp('large'), EVENTS, SEED)


def true_noise_power(detector: Detector) -> np.ndarray:
    """Expected |V|² of traces that are cut from the model's stretches, and digitised.

    The noise of a cut is not periodic: its power is the transform of the autocovariance under the triangle of
    overlaps (the Wiener-Khinchin theorem for a finite stretch), which holds the leakage.
    """
    length = noise.STRETCH * SAMPLES
    covariance = np.fft.irfft(noise.stretch_power(detector)) / length
    overlap = covariance[:SAMPLES] * (SAMPLES - np.arange(SAMPLES))
    circular = np.concatenate([overlap, [0.0], overlap[:0:-1]])
    rounding = SAMPLES / 12  # variance of rounding to whole ADU
    return np.fft.rfft(circular).real[::2] + rounding


@pytest.mark.parametrize('detector', DETECTORS, ids=lambda detector: detector.name)
def test_amplitudes_are_unbiased_and_as_good_as_theory_allows(large: Analysed, detector: Detector) -> None:
    letter = detector.name[-1]
    true, found = large.truth[f'energy_{letter}'], large.result[f'amplitude_{letter}']
    hit = true > 0
    slope = (found[hit] * true[hit]).sum() / (true[hit] ** 2).sum()
    assert abs(slope - 1) < 0.01
    for low, high in ((2, 50), (50, 250), (250, 400)):
        part = (true > low) & (true < high)
        assert abs((found[part] / true[part]).mean() - 1) < 0.01
    theory = resolution(pulse_shape(detector, trace_times()), true_noise_power(detector)) / detector.gain
    residual = found - true
    assert abs(residual.std() / theory - 1) < 0.05
    # A detector that was not hit has no amplitude, but for the noise.
    assert abs(residual[~hit].mean()) < 4 * theory / np.sqrt((~hit).sum())
    assert abs(large.result[f'uncertainty_{letter}'][0] / theory - 1) < 0.05


def test_the_result_has_an_entry_for_each_event(large: Analysed) -> None:
    names = [f'{name}_{letter}' for letter in 'ab' for name in ('amplitude', 'uncertainty', 'chi2', 'baseline')]
    assert sorted(large.result) == sorted(['event', *names])
    assert list(large.result['event']) == list(range(EVENTS))
    for detector in DETECTORS:
        letter = detector.name[-1]
        assert 0.97 < np.median(large.result[f'chi2_{letter}']) < 1.05
        assert abs(large.result[f'baseline_{letter}'].mean() - detector.baseline) < 1


def test_the_log_line_says_what_was_reached(large: Analysed) -> None:
    text = str(large.summary)
    assert text.startswith('2000 events; detector_a: 356 keV line ') and 'nominal' not in text
    for channel, detector in zip(large.summary.channels, DETECTORS, strict=True):
        assert channel.template_pulses > 100 and channel.calibration.events > 100
        assert channel.line_fwhm == pytest.approx(channel.baseline_fwhm, rel=0.2)
        assert channel.calibration.gain == pytest.approx(detector.gain, rel=0.05)


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_files_of_the_usual_size(tmp_path: Path, seed: int) -> None:
    small = analysed(tmp_path, 200, seed)
    for letter in 'ab':
        true, found = small.truth[f'energy_{letter}'], small.result[f'amplitude_{letter}']
        hit = true > 0
        assert abs((found[hit] * true[hit]).sum() / (true[hit] ** 2).sum() - 1) < 0.01


@pytest.mark.parametrize('events', [1, 5])
def test_small_files_use_what_is_known_of_the_detectors(tmp_path: Path, events: int) -> None:
    small = analysed(tmp_path, events, 1)
    assert len(small.result['event']) == events
    assert all(channel.template_pulses == 0 and channel.calibration.events == 0 for channel in small.summary.channels)
    assert str(small.summary).count('(nominal gain and template)') == 2
    for letter in 'ab':
        true, found = small.truth[f'energy_{letter}'], small.result[f'amplitude_{letter}']
        assert (np.abs(found - true) < 3 + 0.05 * true).all()


def test_files_of_more_than_one_step_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analysed(tmp_path, 300, 4)
    monkeypatch.setattr('detector.traces.STEP', 128)
    monkeypatch.setattr('detector.analysis.TEMPLATE_EVENTS', 128)
    target = tmp_path / 'steps.amp.root'
    assert analyse(whole.path, target).events == 300
    with uproot.open(target) as file:
        steps = file['amplitudes'].arrays(library='np')
    assert list(steps['event']) == list(range(300))
    np.testing.assert_allclose(steps['amplitude_a'], whole.result['amplitude_a'], atol=3, rtol=0.03)


@pytest.mark.parametrize('detector', DETECTORS, ids=lambda detector: detector.name)
def test_template_from_the_data_is_the_true_shape(large: Analysed, detector: Detector) -> None:
    with open_data_file(large.path) as file:
        _, traces = next(iter(file.read()))
        powers = {name: noise.noise_power(values) for name, values in file.noise.items()}
    made = template.build({name: spectra(values) for name, values in traces.items()}, powers)[detector.name]
    true = pulse_shape(detector, trace_times())
    assert made.pulses > 100
    assert np.abs(made.shape[20:-20] - true[20:-20]).max() < 0.02


def test_delays_and_amplitudes_of_known_pulses() -> None:
    """Pulses without noise at known places between the samples, in one detector or both."""
    delays = np.linspace(-2.5, 2.5, 21)
    times = trace_times() - delays[:, np.newaxis] / 1000.0
    spectra_of, filters = {}, {}
    for detector, height in zip(DETECTORS, (1000.0, 0.0), strict=True):
        pulses = height * pulse_shape(detector, times)
        spectra_of[detector.name] = np.fft.rfft(pulses).astype(np.complex64)
        filters[detector.name] = make_filter(pulse_shape(detector, trace_times()), true_noise_power(detector))
    fits, found = fit(spectra_of, filters)
    np.testing.assert_allclose(found, delays, atol=0.1)
    np.testing.assert_allclose(fits['detector_a'].amplitude, 1000, rtol=0.002)
    np.testing.assert_allclose(fits['detector_b'].amplitude, 0, atol=1e-3)
    assert np.abs(found).max() < DELAYS[-1]


def test_theory_agrees_with_a_textbook_case() -> None:
    """White noise of variance v: sigma² = v / sum (s - mean s)², the least squares of a line with a free offset."""
    shape = pulse_shape(DETECTORS[0], trace_times())
    variance = 9.0
    expected = np.sqrt(variance / ((shape - shape.mean()) ** 2).sum())
    assert resolution(shape, np.full(SAMPLES // 2 + 1, variance * SAMPLES)) == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope='module')
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp('good') / 'x.root'
    acquisition.write_file(path, 30, np.random.default_rng(1), {})
    return path.read_bytes()


@pytest.mark.parametrize('part', [0.0, 0.001, 0.01, 0.3, 0.7, 0.95, 0.999])
def test_files_cut_short(tmp_path: Path, good: bytes, part: float) -> None:
    file = tmp_path / 'cut.root'
    file.write_bytes(good[: int(part * len(good))])
    with pytest.raises(DataFileError, match=r'cut\.root') as error:
        analyse(file, tmp_path / 'cut.amp.root')
    assert len(str(error.value).splitlines()) == 1


def test_files_with_a_damaged_middle(tmp_path: Path, good: bytes) -> None:
    file = tmp_path / 'damaged.root'
    middle = len(good) // 2
    file.write_bytes(good[:middle] + bytes(2000) + good[middle + 2000 :])
    with pytest.raises(DataFileError, match=r'damaged\.root'):
        analyse(file, tmp_path / 'x.amp.root')


def test_what_is_no_data_file(tmp_path: Path) -> None:
    text = tmp_path / 'text.root'
    text.write_text('not ROOT\n' * 100)
    other = tmp_path / 'other.root'
    with uproot.recreate(other) as file:
        file['tree'] = {'x': np.arange(3)}
    empty = tmp_path / 'empty.root'
    acquisition.write_file(empty, 0, np.random.default_rng(1), {})
    for path in (text, other, empty, tmp_path / 'none.root'):
        with pytest.raises(DataFileError, match=path.name):
            analyse(path, tmp_path / 'x.amp.root')


def test_pretrigger_of_another_acquisition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquisition, 'PRETRIGGER', PRETRIGGER + 1)
    acquisition.write_file(tmp_path / 'x.root', 3, np.random.default_rng(1), {})
    with pytest.raises(DataFileError, match='traces of another kind'):
        analyse(tmp_path / 'x.root', tmp_path / 'x.amp.root')
