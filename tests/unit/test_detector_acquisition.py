from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from detector import acquisition, noise, source
from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING, pulse_shape, trace_times

CONDITIONS = {'temperature': 0.0158, 'volts': {'detector_a': [8, -8, 2, -2]}}


def contents(path: Path) -> dict[str, dict[str, np.ndarray]]:
    with uproot.open(path) as file:
        return {name: file[name].arrays(library='np') for name in ('events', 'noise', 'truth', 'header')}


def written(folder: Path, events: int, seed: int) -> Path:
    path = folder / f'{events}-{seed}.root'
    acquisition.write_file(path, events, np.random.default_rng(seed), CONDITIONS)
    return path


def test_layout(tmp_path: Path) -> None:
    path = written(tmp_path, 700, 1)  # more than a chunk
    trees = contents(path)
    events = trees['events']
    assert list(events['event']) == list(range(700)) == list(trees['truth']['event'])
    assert (np.diff(events['time']) > 0).all()
    for detector in DETECTORS:
        assert events[detector.name].shape == (700, SAMPLES) and events[detector.name].dtype == np.dtype('int16')
        assert trees['noise'][detector.name].shape == (140, SAMPLES)
    assert [trees['header'][name][0] for name in ('sampling', 'pretrigger', 'samples')] == [
        SAMPLING,
        PRETRIGGER,
        SAMPLES,
    ]
    assert acquisition.read_conditions(path) == CONDITIONS


def test_the_same_seed_gives_the_same_events_and_another_others(tmp_path: Path) -> None:
    first = contents(written(tmp_path, 20, 5))
    again = tmp_path / 'again.root'
    acquisition.write_file(again, 20, np.random.default_rng(5), CONDITIONS)
    other = contents(written(tmp_path, 20, 6))
    for tree, columns in contents(again).items():
        for name, values in columns.items():
            np.testing.assert_array_equal(values, first[tree][name])
    assert not np.array_equal(first['events']['detector_a'], other['events']['detector_a'])


def test_traces_hold_pulses_of_the_true_energy_and_do_not_saturate(tmp_path: Path) -> None:
    trees = contents(written(tmp_path, 500, 2))
    for detector, energy in zip(DETECTORS, ('energy_a', 'energy_b'), strict=True):
        traces, true = trees['events'][detector.name].astype(float), trees['truth'][energy]
        bright = true > 100
        height = traces[bright].max(axis=1) - traces[bright, :PRETRIGGER].mean(axis=1)
        assert np.abs(height / (detector.gain * true[bright]) - 1).max() < 0.1
        assert np.abs(trees['events'][detector.name].astype(int)).max() < np.iinfo(np.int16).max


@pytest.mark.parametrize('content', [b'', b'text' * 100])
def test_no_conditions_in_other_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'x.root'
    file.write_bytes(content)
    assert acquisition.read_conditions(file) == {}
    with pytest.raises(OSError, match='nowhere'):
        acquisition.read_conditions(tmp_path / 'nowhere')


def test_energies_hold_the_lines_over_a_continuum() -> None:
    energies = source.energies(20_000, np.random.default_rng(3))
    total = energies.sum(axis=0)
    for line in (source.COSMOGENIC, 81.00, 302.85, 356.01):
        assert (np.abs(total - line) < 0.005).sum() > 200
    assert total.min() >= source.CONTINUUM[0] and total.max() <= 384
    hit = energies > 0
    assert 0.03 < hit.all(axis=0).mean() < 0.09 and hit.any(axis=0).all()
    assert 0.45 < hit[0].mean() < 0.60


@pytest.mark.parametrize('detector', DETECTORS, ids=lambda detector: detector.name)
def test_pulse_shape(detector) -> None:
    times = trace_times()
    pulse = pulse_shape(detector, times)
    assert abs(pulse.max() - 1) < 1e-3
    assert (pulse[times <= 0] == 0).all() and 0 < pulse[-1] < 0.1


@pytest.mark.parametrize('detector', DETECTORS, ids=lambda detector: detector.name)
def test_noise_is_that_of_the_model_and_not_white(detector) -> None:
    traces = noise.simulate(detector, 2000, np.random.default_rng(4))
    assert abs(traces.mean()) < 1
    window = np.hanning(SAMPLES)  # against leakage, which the model's density knows nothing of
    power = (np.abs(np.fft.rfft(traces * window)) ** 2).mean(axis=0)
    density = power * 2 / (SAMPLING * (window**2).sum())
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / SAMPLING)
    model = noise.power_density(detector, frequencies)
    far_from_lines = np.all([np.abs(frequencies - line) > 5 for line, _ in detector.lines], axis=0)
    smooth = far_from_lines & (frequencies > 3) & (frequencies < 490)
    np.testing.assert_allclose(density[smooth], model[smooth], rtol=0.2)
    assert abs((density[smooth] / model[smooth]).mean() - 1) < 0.02
    assert density[4] > 2 * density[400]
    for line, _ in detector.lines:
        bin_of_line = round(line * SAMPLES / SAMPLING)
        assert density[bin_of_line] > 3 * density[bin_of_line + 8]


def test_random_triggers_with_a_pulse_do_not_count_as_noise() -> None:
    rng = np.random.default_rng(7)
    quiet = noise.simulate(DETECTORS[0], 200, rng)
    disturbed = quiet.copy()
    disturbed[::40] += 2000 * pulse_shape(DETECTORS[0], trace_times())
    powers = [noise.noise_power(np.rint(traces).astype(np.int16))[1:] for traces in (disturbed, quiet)]
    assert abs((powers[0] / powers[1]).mean() - 1) < 0.05
