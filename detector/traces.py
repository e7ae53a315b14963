"""Reading data files."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot

from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING

MAGIC = b'root'  # the first bytes of a ROOT file
TRACE = np.dtype((np.int16, (SAMPLES,)))
LONGEST_REASON = 200  # characters


class DataFileError(Exception):
    """A file that is no data file of ours, or is damaged or cut short: a permanent error.

    The text names the file and the reason, in one line.
    """


class StorageError(DataFileError):
    """A data file that cannot be read now, because it is not there, or its storage or the memory fails."""


@dataclass(frozen=True)
class DataFile:
    """An open data file whose trees are known to be there."""

    path: Path
    root: uproot.ReadOnlyDirectory
    events: int  # at least 1


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises DataFileError for whatever goes wrong in the block, in which a ROOT file is read.

    Depending on where a file is damaged, uproot raises about any kind of exception. It is a StorageError if the system
    says so, or if there is no memory.
    """
    try:
        yield
    except DataFileError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())[:LONGEST_REASON]
        kind = StorageError if _is_of_the_system(error) else DataFileError
        raise kind(f'{path}: cannot be read as a ROOT file: {reason or type(error).__name__}') from error


def _is_of_the_system(error: Exception) -> bool:
    """Whether an error is no word about the content.

    uproot's own about a file that ends too early are OSErrors without a number, and a damaged file sends it to places
    that no file has, which the system calls an invalid argument.
    """
    if isinstance(error, OSError):
        return error.errno not in (None, errno.EINVAL)
    return isinstance(error, MemoryError)


def check_start(path: Path) -> None:
    """Raises StorageError for a file that is not there, DataFileError for one that begins as no ROOT file does."""
    try:
        with open(path, 'rb') as stream:
            start = stream.read(len(MAGIC))
    except OSError as error:
        raise StorageError(f'{path}: {error.strerror}') from error
    except ValueError as error:
        raise DataFileError(f'{str(path)!r}: {error}') from error  # a null character, which no name can have
    if start != MAGIC:
        raise DataFileError(f'{path}: {"not a ROOT file" if start else "an empty file"}')


def check_length(path: Path, root: uproot.ReadOnlyDirectory) -> None:
    """Raises DataFileError for an open file that is shorter than its header says."""
    length, expected = path.stat().st_size, root.file.fEND
    if length < expected:
        raise DataFileError(f'{path}: cut short, {length} of {expected} bytes')


@contextlib.contextmanager
def opened(path: Path) -> Iterator[DataFile]:
    """A data file, open within the block.

    Raises StorageError if it is not there or cannot be read now; DataFileError if it is empty, cut short, not a ROOT
    file, without the trees of a data file or without events, or if it was sampled in another way than SAMPLING,
    SAMPLES and PRETRIGGER say.
    """
    check_start(path)
    with contextlib.ExitStack() as stack:
        with reading(path):
            # What has been analysed is not needed again: without a cache, memory is bounded by the steps.
            root = stack.enter_context(uproot.open(path, array_cache=None))
            check_length(path, root)
            _check_header(path, root)
            for tree in ('events', 'noise'):
                _check_traces(path, root, tree)
            events = root['events'].num_entries
            if 'event' not in root['events']:
                raise DataFileError(f"{path}: tree 'events' has no branch 'event'")
        if not events:
            raise DataFileError(f'{path}: no events')
        yield DataFile(path, root, events)


def event_steps(file: DataFile, size: int) -> Iterator[dict[str, np.ndarray]]:
    """The events, `size` at a time: event (n,), and of each detector the traces (n, SAMPLES) in ADU.

    Raises DataFileError.
    """
    branches = ['event', *(model.name for model in DETECTORS)]
    for start in range(0, file.events, size):
        with reading(file.path):
            step = file.root['events'].arrays(branches, entry_start=start, entry_stop=start + size, library='np')
        yield step


def random_triggers(file: DataFile, most: int) -> dict[str, np.ndarray]:
    """The first random triggers, `most` at most: traces (n, SAMPLES) in ADU of each detector. Raises DataFileError."""
    with reading(file.path):
        return file.root['noise'].arrays([model.name for model in DETECTORS], entry_stop=most, library='np')


def _tree(path: Path, root: uproot.ReadOnlyDirectory, name: str) -> uproot.TTree:
    if not isinstance(root.get(name), uproot.TTree):
        raise DataFileError(f'{path}: not a data file, it has no tree {name!r}')
    return root[name]


def _check_header(path: Path, root: uproot.ReadOnlyDirectory) -> None:
    header = _tree(path, root, 'header').arrays(library='np')
    for branch, expected in (('sampling_hz', SAMPLING), ('samples', SAMPLES), ('pretrigger', PRETRIGGER)):
        if branch not in header or header[branch].tolist() != [expected]:
            raise DataFileError(f'{path}: {branch} in its header is not {expected:g}')


def _check_traces(path: Path, root: uproot.ReadOnlyDirectory, name: str) -> None:
    tree = _tree(path, root, name)
    for model in DETECTORS:
        if model.name not in tree or tree[model.name].interpretation.to_dtype != TRACE:
            raise DataFileError(f'{path}: tree {name!r} has no branch {model.name!r} of {SAMPLES} int16')
