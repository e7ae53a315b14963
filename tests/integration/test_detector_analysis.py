"""The whole analysis, against the true energies of simulated files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from detector import analysis
from detector.acquisition import write_file
from detector.analysis import Summary, analyse
from detector.pulses import DETECTORS, DetectorModel
from tests.unit.test_detector_noise import best_resolution, by_detector

EVENTS = 2000
SEEDS = 101, 102, 103, 104  # the standard deviation of a single file has a statistical error of 2 to 3 %


def columns(path: Path, tree: str) -> dict[str, np.ndarray]:
    with uproot.open(path) as file:
        return file[tree].arrays(library='np')


@pytest.fixture(scope='module')
def analysed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict, dict, Summary]]:
    """Of each file: truth, result, summary."""
    folder = tmp_path_factory.mktemp('files')
    found = []
    for seed in SEEDS:
        source, target = folder / f'{seed}.root', folder / f'{seed}.amp.root'
        write_file(source, EVENTS, seed)
        summary = analyse(source, target)
        found.append((columns(source, 'truth'), columns(target, 'amplitudes'), summary))
    return found


def together(analysed: list[tuple[dict, dict, Summary]], model: DetectorModel) -> tuple[np.ndarray, ...]:
    """True energy, amplitude, uncertainty and chi2 of a detector, over all files."""
    letter = model.name[-1]
    truth = np.concatenate([truth[f'energy_{letter}'] for truth, _, _ in analysed])
    names = (f'{name}_{letter}' for name in ('amplitude', 'uncertainty', 'chi2'))
    return truth, *(np.concatenate([result[name] for _, result, _ in analysed]) for name in names)


def true_resolution(model: DetectorModel) -> float:
    """The best there is, in keV, for the true pulse shape and noise."""
    return best_resolution(model) / model.gain


def test_layout_of_the_result(analysed: list[tuple[dict, dict, Summary]]) -> None:
    for truth, result, summary in analysed:
        assert summary.events == EVENTS and np.array_equal(result['event'], truth['event'])
        per_detector = ('amplitude', 'uncertainty', 'chi2', 'baseline')
        assert list(result) == ['event', *(f'{name}_{letter}' for letter in 'ab' for name in per_detector)]
        assert all(np.isfinite(column).all() for column in result.values())
        for model in DETECTORS:
            assert result[f'baseline_{model.name[-1]}'].mean() == pytest.approx(model.baseline, abs=10)


@by_detector
def test_amplitudes_are_unbiased(analysed: list[tuple[dict, dict, Summary]], model: DetectorModel) -> None:
    truth, amplitude, _, _ = together(analysed, model)
    hit = truth > 0
    slope, offset = np.polyfit(truth[hit], amplitude[hit], 1)
    assert slope == pytest.approx(1, abs=1e-3) and abs(offset) < 0.05
    sigma = true_resolution(model)
    for part in (hit & (truth < 20), ~hit):
        residual = (amplitude - truth)[part]
        assert residual.size > 200 and abs(residual.mean()) < 4 * sigma / np.sqrt(residual.size)


@by_detector
def test_resolution_is_the_theoretical_one(analysed: list[tuple[dict, dict, Summary]], model: DetectorModel) -> None:
    truth, amplitude, uncertainty, _ = together(analysed, model)
    residual, hit = amplitude - truth, truth > 0
    sigma = true_resolution(model)
    assert residual[hit].std() == pytest.approx(sigma, rel=0.05)
    assert residual[~hit].std() == pytest.approx(sigma, rel=0.05)
    assert uncertainty == pytest.approx(sigma, rel=0.05)
    assert np.std(residual / uncertainty) == pytest.approx(1, rel=0.05)


@by_detector
def test_chi2_is_near_1_at_all_energies(analysed: list[tuple[dict, dict, Summary]], model: DetectorModel) -> None:
    truth, _, _, chi2 = together(analysed, model)
    for part in (truth == 0, (truth > 0) & (truth < 100), truth > 300):
        assert chi2[part].mean() == pytest.approx(1, abs=0.03)
        # Of a χ² distribution: sqrt(2 / degrees of freedom).
        assert chi2[part].std() == pytest.approx(np.sqrt(2 / 1022), rel=0.15)


@by_detector
def test_summary(analysed: list[tuple[dict, dict, Summary]], model: DetectorModel) -> None:
    sigma = true_resolution(model)
    for _, _, summary in analysed:
        found = summary.detectors[model.name]
        assert not found.gain.nominal and not found.template.nominal
        assert found.theoretical_resolution == pytest.approx(sigma, rel=0.06)
        # From 400 random triggers.
        assert found.baseline_resolution == pytest.approx(sigma, rel=0.2)
        line = found.lines[356.013]
        assert line is not None and line.position == pytest.approx(356.013, abs=0.1)
        assert line.sigma == pytest.approx(sigma, rel=0.2)
        assert found.lines[10.37] is not None
        assert summary.log.startswith('2000 events; detector_a: 356.0 keV FWHM ')
        assert '; detector_b: 356.0 keV FWHM ' in summary.log and '\n' not in summary.log


@pytest.mark.parametrize('events', [1, 5])
def test_few_events(tmp_path: Path, events: int) -> None:
    for seed in range(5):
        write_file(tmp_path / 'x.root', events, seed)
        summary = analyse(tmp_path / 'x.root', tmp_path / 'y')
        truth, result = columns(tmp_path / 'x.root', 'truth'), columns(tmp_path / 'y', 'amplitudes')
        assert result['event'].tolist() == list(range(events))
        for model in DETECTORS:
            letter, found = model.name[-1], summary.detectors[model.name]
            assert found.gain.nominal and found.gain.value == model.gain and found.template.nominal
            assert set(found.lines.values()) == {None}
            # The real gain is within 5 % of the nominal one.
            difference = np.abs(result[f'amplitude_{letter}'] - truth[f'energy_{letter}'])
            assert np.all(difference < 2.5 + 0.055 * truth[f'energy_{letter}'])
        assert summary.log.startswith('1 event; ' if events == 1 else '5 events; ')
        assert 'nominal gain, nominal template' in summary.log


def test_default_number_of_events_calibrates(tmp_path: Path) -> None:
    for seed in range(3):
        write_file(tmp_path / 'x.root', 200, seed)
        summary = analyse(tmp_path / 'x.root', tmp_path / 'y')
        truth, result = columns(tmp_path / 'x.root', 'truth'), columns(tmp_path / 'y', 'amplitudes')
        for model in DETECTORS:
            letter, found = model.name[-1], summary.detectors[model.name]
            assert not found.gain.nominal and not found.template.nominal
            assert f'{model.name}: 356.0 keV FWHM ' in summary.log
            energies, amplitudes = truth[f'energy_{letter}'], result[f'amplitude_{letter}']
            assert energies @ amplitudes / (energies @ energies) == pytest.approx(1, abs=1e-3)
            assert np.std(amplitudes - energies) == pytest.approx(true_resolution(model), rel=0.25)


def test_steps_do_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / 'x.root', 700, 1)
    analyse(tmp_path / 'x.root', tmp_path / 'whole')
    monkeypatch.setattr(analysis, 'STEP', 499)
    analyse(tmp_path / 'x.root', tmp_path / 'steps')
    whole, steps = columns(tmp_path / 'whole', 'amplitudes'), columns(tmp_path / 'steps', 'amplitudes')
    for name in whole:
        assert steps[name] == pytest.approx(whole[name], rel=1e-9, abs=1e-9)
