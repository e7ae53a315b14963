from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from detector.acquisition import draw_energies, read_header, write_file
from detector.calibration import BARIUM_LINES, GERMANIUM_LINE
from detector.optimum_filter import fit_pulses, make_filter
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING
from detector.template import nominal_template
from tests.unit.test_detector_noise import expected_psd

CONDITIONS = {'volts': {'detector_a': [8, -8]}, 'temperature': 0.0155}


def content(path: Path) -> dict[str, np.ndarray]:
    with uproot.open(path) as file:
        return {
            f'{tree}.{branch}': array
            for tree in ('events', 'noise', 'truth', 'header')
            for branch, array in file[tree].arrays(library='np').items()
        }


def test_layout_of_a_data_file(tmp_path: Path) -> None:
    write_file(tmp_path / 'x.root', 12, 1, CONDITIONS)
    arrays = content(tmp_path / 'x.root')
    for model in DETECTORS:
        for tree, entries in (('events', 12), ('noise', 32)):
            traces = arrays[f'{tree}.{model.name}']
            assert traces.shape == (entries, SAMPLES) and traces.dtype == np.int16
            assert np.median(traces[:, :PRETRIGGER]) == pytest.approx(model.baseline, abs=100)
    assert arrays['events.event'].tolist() == arrays['truth.event'].tolist() == list(range(12))
    assert arrays['events.time'].dtype == np.float64 and np.all(np.diff(arrays['events.time']) > SAMPLES / SAMPLING)
    assert arrays['header.sampling_hz'].tolist() == [SAMPLING] and arrays['header.pretrigger'].tolist() == [PRETRIGGER]
    assert arrays['header.samples'].tolist() == [SAMPLES] and arrays['header.simulated'].tolist() == [1]


@pytest.mark.slow
@pytest.mark.parametrize(('events', 'triggers'), [(1, 32), (200, 40), (1501, 300)])
def test_number_of_entries(tmp_path: Path, events: int, triggers: int) -> None:
    write_file(tmp_path / 'x.root', events, 1)
    with uproot.open(tmp_path / 'x.root') as file:
        assert [file[tree].num_entries for tree in ('events', 'truth', 'noise', 'header')] == [
            events,
            events,
            triggers,
            1,
        ]


def test_no_event_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='not 0'):
        write_file(tmp_path / 'x.root', 0, 1)
    assert not list(tmp_path.iterdir())


def test_a_seed_decides_the_content(tmp_path: Path) -> None:
    for name, seed in (('one', 5), ('same', np.random.default_rng(5)), ('other', 6)):
        write_file(tmp_path / name, 20, seed)
    one, same, other = (content(tmp_path / name) for name in ('one', 'same', 'other'))
    assert all(np.array_equal(one[key], same[key]) for key in one)
    for key in ('events.detector_a', 'events.detector_b', 'noise.detector_a', 'truth.energy_a'):
        assert not np.array_equal(one[key], other[key])


def test_without_a_seed_every_file_differs(tmp_path: Path) -> None:
    for name in ('one', 'other'):
        write_file(tmp_path / name, 2, None)
    assert not np.array_equal(*(content(tmp_path / name)['events.detector_a'] for name in ('one', 'other')))


def test_conditions_are_read_back(tmp_path: Path) -> None:
    # A path that looks like a URL or an object in a file.
    path = tmp_path / 'a:b c.root'
    write_file(path, 1, 1, CONDITIONS)
    assert read_header(path) == (CONDITIONS, None)
    write_file(path, 1, 1, CONDITIONS, 'neutron')
    assert read_header(path) == (CONDITIONS, 'neutron')


def test_files_without_conditions(tmp_path: Path) -> None:
    (tmp_path / 'text.root').write_text('not ROOT\n' * 100)
    (tmp_path / 'empty.root').touch()
    with uproot.recreate(tmp_path / 'none.root') as file:
        file['other'] = 'text'
    with uproot.recreate(tmp_path / 'broken.root') as file:
        file['conditions'] = '{'
    for name in ('text', 'empty', 'none', 'broken', 'missing'):
        assert read_header(tmp_path / f'{name}.root').conditions is None


def test_highest_energy_does_not_saturate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('detector.acquisition.draw_energies', lambda rng, events: np.full((events, 2), 400.0))
    write_file(tmp_path / 'x.root', 50, 1)
    arrays = content(tmp_path / 'x.root')
    for model in DETECTORS:
        highest = arrays[f'events.{model.name}'].max(axis=1)
        assert np.all(highest < np.iinfo(np.int16).max)
        assert np.median(highest - model.baseline) == pytest.approx(400 * model.gain, rel=0.06)


@pytest.mark.slow
def test_gains_vary_from_file_to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('detector.acquisition.draw_energies', lambda rng, events: np.full((events, 2), 300.0))
    heights = []
    for seed in range(12):
        write_file(tmp_path / 'x.root', 10, seed)
        traces = content(tmp_path / 'x.root')['events.detector_a']
        heights.append(np.median(traces.max(axis=1) - traces[:, :200].mean(axis=1)))
    assert 0.003 < np.std(heights) / np.mean(heights) < 0.02


def test_triggers_jitter_by_half_a_sample_and_alike_in_both_detectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('detector.acquisition.draw_energies', lambda rng, events: np.full((events, 2), 300.0))
    write_file(tmp_path / 'x.root', 400, 1)
    arrays = content(tmp_path / 'x.root')
    delays = [
        fit_pulses(
            [make_filter(nominal_template(model).spectrum, expected_psd(model))], [arrays[f'events.{model.name}']]
        ).delay
        for model in DETECTORS
    ]
    for found in delays:
        assert np.abs(found).max() < 0.6
        assert np.histogram(found, 5, (-0.5, 0.5))[0].min() > 40
    assert np.std(delays[0] - delays[1]) < 0.05


def test_energies() -> None:
    energies = draw_energies(np.random.default_rng(1), 20_000)
    hits = np.count_nonzero(energies, axis=1)
    assert hits.min() == 1 and np.mean(hits == 2) == pytest.approx(0.15, abs=0.01)
    assert np.mean(energies[:, 0] > 0) == pytest.approx(np.mean(energies[:, 1] > 0), abs=0.035)
    total = energies.sum(axis=1)
    assert total.min() >= 2 and total.max() < 400
    single = total[hits == 1]
    lines = dict(BARIUM_LINES)
    assert np.mean(single == GERMANIUM_LINE) == pytest.approx(0.10, abs=0.01)
    expected = 0.60 * lines[356.013] / sum(lines.values())
    assert np.mean(single == 356.013) == pytest.approx(expected, abs=0.015)
    continuum = single[~np.isin(single, [*lines, GERMANIUM_LINE])]
    assert continuum.size / single.size == pytest.approx(0.30, abs=0.015)
    assert np.median(continuum) < 190 < continuum.max()
