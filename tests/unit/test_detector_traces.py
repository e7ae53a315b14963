from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import uproot

from detector.acquisition import write_file
from detector.analysis import analyse
from detector.pulses import SAMPLES
from detector.traces import DataFileError, StorageError, event_steps, opened, random_triggers, reading

TRACE = np.dtype((np.int16, (SAMPLES,)))
HEADER = {'sampling_hz': [1000.0], 'samples': [1024], 'pretrigger': [256]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / 'run_000.root'
    write_file(file, 30, 3)
    return file


def fails(path: Path, reason: str, kind: type[DataFileError] = DataFileError) -> None:
    target = path.with_name('target')
    with pytest.raises(DataFileError, match=reason) as caught:
        analyse(path, target)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith(f'{path}: ') and '\n' not in message and len(message) < 400
    assert not target.exists()


def write(path: Path, header: dict[str, list[float]], entries: int, noise: np.ndarray, dtype: np.dtype = TRACE) -> None:
    with uproot.recreate(path) as file:
        file.mktree('header', {name: np.float64 for name in header})
        file['header'].extend({name: np.array(values, dtype=float) for name, values in header.items()})
        for tree, count in (('events', entries), ('noise', len(noise))):
            file.mktree(tree, {'event': np.int32, 'detector_a': dtype, 'detector_b': dtype})
            if count:
                traces = noise if tree == 'noise' else np.zeros((count, *dtype.shape), dtype.base)
                columns = {'event': np.arange(count, dtype=np.int32), 'detector_a': traces, 'detector_b': traces}
                file[tree].extend(columns)


def some_noise(traces: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 50, (traces, SAMPLES)).astype(np.int16)


def test_reading_in_steps(path: Path) -> None:
    with uproot.open(path) as root:
        whole = root['events'].arrays(library='np')
    with opened(path) as file:
        steps = list(event_steps(file, 7))
        noise, few = random_triggers(file, 1000), random_triggers(file, 9)
    assert file.events == 30 and [len(step['event']) for step in steps] == [7, 7, 7, 7, 2]
    for branch in ('event', 'detector_a', 'detector_b'):
        assert np.array_equal(np.concatenate([step[branch] for step in steps]), whole[branch])
    assert noise['detector_b'].shape == (32, SAMPLES)
    assert np.array_equal(few['detector_b'], noise['detector_b'][:9])


@pytest.mark.parametrize('part', [0.0001, 0.01, 0.3, 0.5, 0.9, 0.9999])
def test_cut_short(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    fails(path, 'cut short|cannot be read as a ROOT file')


def test_cut_at_every_length_of_its_beginning(path: Path) -> None:
    content = path.read_bytes()
    for length in range(1, 400, 13):
        path.write_bytes(content[:length])
        with pytest.raises(DataFileError):
            analyse(path, path.with_name('target'))


@pytest.mark.slow
def test_overwritten_inside(path: Path) -> None:
    content, part = path.read_bytes(), 5000
    refused = 0
    for start in range(4, len(content) - part, part):
        path.write_bytes(content[:start] + bytes(part) + content[start + part :])
        try:
            analyse(path, path.with_name('target'))
        except DataFileError as error:
            assert str(error).startswith(f'{path}: ') and '\n' not in str(error)
            refused += 1
    # Zeros in the traces are for a checksum to find; those elsewhere are not.
    assert 3 <= refused < 10


def test_empty(path: Path) -> None:
    path.write_bytes(b'')
    fails(path, 'empty')


def test_text(path: Path) -> None:
    path.write_text('not ROOT\n' * 100)
    fails(path, 'not a ROOT file')


def test_missing(path: Path) -> None:
    path.unlink()
    fails(path, 'No such file', StorageError)


def test_folder(tmp_path: Path) -> None:
    fails(tmp_path, 'directory', StorageError)


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (OSError(errno.EIO, 'Input/output error'), StorageError),
        (OSError(errno.ESTALE, 'Stale file handle'), StorageError),
        (PermissionError(errno.EACCES, 'Permission denied'), StorageError),
        (FileNotFoundError(errno.ENOENT, 'No such file or directory'), StorageError),
        (MemoryError(), StorageError),
        # A place that no file has, and uproot's own word for a file that ends too early.
        (OSError(errno.EINVAL, 'Invalid argument'), DataFileError),
        (OSError('expected Chunk of length 562, received 0 bytes'), DataFileError),
        (ValueError('read length must be non-negative or -1'), DataFileError),
        (IndexError(), DataFileError),
    ],
)
def test_what_waiting_may_mend_is_told_apart(path: Path, error: Exception, kind: type[DataFileError]) -> None:
    with pytest.raises(DataFileError) as caught, reading(path):
        raise error
    assert type(caught.value) is kind and str(caught.value).startswith(f'{path}: ')


@pytest.mark.parametrize('missing', ['events', 'noise', 'header'])
def test_without_a_tree(tmp_path: Path, missing: str) -> None:
    path = tmp_path / 'x.root'
    with uproot.recreate(path) as file:
        for tree in {'header', 'events', 'noise'} - {missing}:
            branches = dict.fromkeys(HEADER, np.float64) if tree == 'header' else {'event': np.int32}
            file.mktree(
                tree, {**branches, **({} if tree == 'header' else dict.fromkeys(('detector_a', 'detector_b'), TRACE))}
            )
        if missing != 'header':
            file['header'].extend({name: np.array(values, dtype=float) for name, values in HEADER.items()})
    fails(path, f"no tree '{missing}'")


def test_another_sampling(tmp_path: Path) -> None:
    path = tmp_path / 'x.root'
    write(path, {**HEADER, 'sampling_hz': [2000.0]}, 3, some_noise(32))
    fails(path, 'sampling_hz')


def test_traces_of_another_length(tmp_path: Path) -> None:
    path = tmp_path / 'x.root'
    write(path, HEADER, 3, some_noise(32)[:, :512], np.dtype((np.int16, (512,))))
    fails(path, "no branch 'detector_a' of 1024 int16")


def test_no_events(tmp_path: Path) -> None:
    path = tmp_path / 'x.root'
    write(path, HEADER, 0, some_noise(32))
    fails(path, 'no events')


def test_too_few_random_triggers(tmp_path: Path) -> None:
    path = tmp_path / 'x.root'
    write(path, HEADER, 3, some_noise(7))
    fails(path, '7 random triggers')


def test_a_dead_detector(tmp_path: Path) -> None:
    path = tmp_path / 'x.root'
    write(path, HEADER, 3, np.full((32, SAMPLES), 5, np.int16))
    fails(path, 'detector_a has no noise')


def test_the_error_is_about_the_file_alone(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), opened(path):
        raise ZeroDivisionError
    with pytest.raises(OSError):
        analyse(path, path / 'target')
