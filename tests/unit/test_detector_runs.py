"""The calibration and analysis of a run, from all of its files."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import uproot

from detector import analysis
from detector.acquisition import draw_energies, write_file
from detector.calibration import Gain, calibrate
from detector.pulses import DETECTORS
from detector.runs import summary
from detector.runs.gains import run_gains
from detector.runs.summary import RunSummary, Source, summarise
from detector.traces import DataFileError

NOMINAL, SIGMA = 60.0, 0.35  # ADU per keV; keV
GAINS = np.array([59.1, 60.4, 60.9, 59.7, 61.2, 60.0])


def amplitudes(events: int, gains: np.ndarray = GAINS, seed: int = 1) -> list[np.ndarray]:
    """Of simulated files with some gains, in ADU."""
    rng = np.random.default_rng(seed)
    return [gain * (draw_energies(rng, events)[:, 0] + rng.normal(0, SIGMA, events)) for gain in gains]


def errors(found: list[Gain], gains: np.ndarray = GAINS) -> np.ndarray:
    return np.array([gain.value for gain in found]) / gains - 1


@pytest.mark.parametrize('seed', range(5))
def test_each_file_of_a_run_has_its_own_gain(seed: int) -> None:
    found = run_gains(amplitudes(400, seed=seed), NOMINAL, SIGMA)
    assert not any(gain.nominal for gain in found)
    assert np.abs(errors(found)).max() < 5e-4


@pytest.mark.slow
def test_files_that_are_too_small_for_a_calibration_by_themselves_have_a_gain_in_a_run() -> None:
    small = [file for seed in range(5) for file in amplitudes(60, seed=seed)]
    alone = [calibrate(file, NOMINAL) for file in small]
    found = [gain for start in range(0, len(small), 6) for gain in run_gains(small[start : start + 6], NOMINAL, SIGMA)]
    wrong = errors(found, np.tile(GAINS, 5))
    has_gain = ~np.array([gain.nominal for gain in found])
    assert has_gain.mean() > 0.8 > 0.5 > 1 - np.mean([gain.nominal for gain in alone])
    assert np.abs(wrong[has_gain]).max() < 3e-3  # none has taken one line for another, which would be 8 % or more


def test_a_file_without_lines_has_the_mean_gain_of_the_others() -> None:
    rng = np.random.default_rng(3)
    background = 60.9 * rng.uniform(2, 380, 300)
    *found, last = run_gains([*amplitudes(400), background], NOMINAL, SIGMA)
    assert last.nominal and last.value == pytest.approx(np.mean([gain.value for gain in found]))


@pytest.mark.parametrize('files', [[], [np.zeros(0)], [np.full(3, 2000.0)], [np.zeros(50), np.zeros(0)]])
def test_without_lines_the_gain_is_the_nominal_one(files: list[np.ndarray]) -> None:
    assert run_gains(files, NOMINAL, SIGMA) == [Gain(NOMINAL, True)] * len(files)


@pytest.mark.parametrize('seed', range(8))
def test_no_lines_are_found_in_a_continuum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = [60 * rng.uniform(2, 380, size) for size in (10, 100, 3000)]
    assert all(gain.nominal for gain in run_gains(files, NOMINAL, SIGMA))


Written = Callable[..., dict[str, Source]]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes the files of a run, by their number of events; returns them as sources."""

    def write(*events: int, seed: int = 0) -> dict[str, Source]:
        files = {}
        for number, size in enumerate(events):
            path = tmp_path / f'run_{number:03d}.root'
            write_file(path, size, 100 * seed + number)
            files[path.stem] = partial(contextlib.nullcontext, path)
        return files

    return write


def read(path: Path, tree: str) -> dict[str, np.ndarray]:
    with uproot.open(path) as file:
        return file[tree].arrays(library='np')


def truth(tmp_path: Path, files: dict[str, Source], letter: str) -> np.ndarray:
    return np.concatenate([read(tmp_path / f'{name}.root', 'truth')[f'energy_{letter}'] for name in files])


def test_all_events_of_all_files_are_in_the_result(tmp_path: Path, written: Written) -> None:
    files = written(100, 30, 250)
    found = summarise(files, tmp_path / 'x')
    result = read(tmp_path / 'x', 'amplitudes')
    assert (found.files, found.events) == (3, 380)
    assert list(result) == ['file', 'event', *(f'{c}_{letter}' for letter in 'ab' for c in summary.COLUMNS)]
    assert result['file'].tolist() == [0] * 100 + [1] * 30 + [2] * 250
    assert result['event'].tolist() == [*range(100), *range(30), *range(250)]
    with uproot.open(tmp_path / 'x') as file:
        assert json.loads(str(file['files'])) == list(files)
    for model in DETECTORS:
        letter = model.name[-1]
        residual = result[f'amplitude_{letter}'] - truth(tmp_path, files, letter)
        assert np.std(residual / result[f'uncertainty_{letter}']) == pytest.approx(1, rel=0.2)
        assert result[f'chi2_{letter}'].mean() == pytest.approx(1, abs=0.03)
        assert result[f'baseline_{letter}'].mean() == pytest.approx(model.baseline, abs=20)
        detector = found.detectors[model.name]
        assert not detector.template.nominal and detector.without_gain == 0
        assert detector.baseline_resolution == pytest.approx(detector.theoretical_resolution, rel=0.15)
        assert detector.spectrum.lines[356.013] is not None
    assert found.log.startswith('380 events of 3 files; detector_a: 356.0 keV FWHM ') and '\n' not in found.log


def test_a_run_of_one_file_is_analysed_as_the_file_is(tmp_path: Path, written: Written) -> None:
    files = written(300)
    summarise(files, tmp_path / 'run')
    analysis.analyse(tmp_path / 'run_000.root', tmp_path / 'alone')
    run, alone = read(tmp_path / 'run', 'amplitudes'), read(tmp_path / 'alone', 'amplitudes')
    for letter in 'ab':
        # But for the gain, to which the known positions of the lines lead along another way.
        ratio = run[f'amplitude_{letter}'] / alone[f'amplitude_{letter}']
        assert ratio == pytest.approx(ratio[0], rel=1e-9) and ratio[0] == pytest.approx(1, abs=2e-4)
        assert np.array_equal(run[f'chi2_{letter}'], alone[f'chi2_{letter}'])


def test_steps_do_not_change_the_result(tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(150, 60)
    monkeypatch.setattr(summary, 'STEP', 150)
    summarise(files, tmp_path / 'x')
    whole = read(tmp_path / 'x', 'amplitudes')
    monkeypatch.setattr(summary, 'STEP', 149)
    summarise(files, tmp_path / 'y')
    stepwise = read(tmp_path / 'y', 'amplitudes')
    assert np.array_equal(whole['event'], stepwise['event'])
    assert stepwise['amplitude_a'] == pytest.approx(whole['amplitude_a'], abs=0.01)


def test_findings_are_json_with_a_resolution_and_counts_for_each_line(tmp_path: Path, written: Written) -> None:
    findings = summarise(written(200, 200), tmp_path / 'x').detectors['detector_a'].findings
    assert json.loads(json.dumps(findings, allow_nan=False)) == findings
    assert findings['template_pulses'] > 100 and findings['files_without_gain'] == 0
    assert 0.5 < findings['theoretical_fwhm'] < 1.2 and 0.5 < findings['baseline_fwhm'] < 1.2
    (line,) = (line for line in findings['lines'] if line['energy'] == 356.013)
    assert 0.5 < line['fwhm'] < 1.2 and line['counts'] > 20 and line['counts_uncertainty'] > 1


def test_what_cannot_be_analysed_is_named_and_leaves_nothing_beside_the_result(
    tmp_path: Path, written: Written
) -> None:
    folder = tmp_path / 'results'
    folder.mkdir()
    with pytest.raises(DataFileError, match='no data files'):
        summarise({}, folder / 'x')
    files = written(50, 50)
    (tmp_path / 'run_001.root').write_bytes(b'rubbish')
    with pytest.raises(DataFileError, match=r'run_001\.root: not a ROOT file'):
        summarise(files, folder / 'x')
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, written: Written) -> None:
    source = written(300)['run_000']
    peaks = []
    for files in (8, 16):  # before that, what the collector of garbage leaves for a while
        tracemalloc.start()
        summarise({f'{number}': source for number in range(files)}, tmp_path / 'x')
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    traces = 300 * 2 * 1024 * 2  # bytes of a file
    assert peaks[1] < peaks[0] + traces


def test_summary_of_no_detectors_says_how_many() -> None:
    assert RunSummary(1, 1, {}).log == '1 event of 1 file'
