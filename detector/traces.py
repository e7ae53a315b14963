"""Reading data files."""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot

from detector.pulses import DETECTORS, PRETRIGGER, SAMPLES, SAMPLING

MAGIC = b'root'  # the first bytes of a ROOT file
# It, fVersion, fBEGIN, fEND and fSeekFree; from fVersion BIG on, places have 8 bytes (io/doc/TFile/header.md of ROOT).
START, BIG_START = struct.Struct('>4siiii'), struct.Struct('>4siiqq')
BIG = 1_000_000
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
    """Raises StorageError for a file that is not there, DataFileError for one that cannot be whole.

    That is one that begins as no ROOT file does, is shorter than it says, or was not closed: ROOT writes the place of
    the free segments when it closes a file, and takes a file without it for unclosed, as in TFile::Init. Until then the
    file has no list of its objects, or, after TTree::AutoSave, an older one, with only a part of the events.
    """
    try:
        with open(path, 'rb') as stream:
            start, length = stream.read(BIG_START.size), path.stat().st_size
    except OSError as error:
        raise StorageError(f'{path}: {error.strerror}') from error
    except ValueError as error:
        raise DataFileError(f'{str(path)!r}: {error}') from error  # a null character, which no name can have
    if not start.startswith(MAGIC):
        raise DataFileError(f'{path}: {"not a ROOT file" if start else "an empty file"}')
    if len(start) < BIG_START.size:
        raise DataFileError(f'{path}: cut short, {length} bytes')
    _, version, begin, end, seek_free = START.unpack_from(start)
    if version >= BIG:
        _, _, begin, end, seek_free = BIG_START.unpack(start)
    if length < end:
        raise DataFileError(f'{path}: cut short, {length} of {end} bytes')
    if seek_free <= begin:
        raise DataFileError(f'{path}: was not closed properly: whoever wrote it was killed, or still writes to it')


@contextlib.contextmanager
def opened_root(path: Path) -> Iterator[uproot.ReadOnlyDirectory]:
    """A ROOT file, open within the block. Raises what uproot raises."""
    # A path would be parsed: with `::` in it, fsspec takes it for a chain, and reads another file. What has been read
    # is not needed again: without a cache, memory is bounded by the steps.
    with open(path, 'rb') as stream, uproot.open(stream, array_cache=None) as root:
        yield root


def tree_of(path: Path, root: uproot.ReadOnlyDirectory, name: str, what: str) -> uproot.TTree:
    """A tree of an open file, which is `what`; the newest of its cycles. Raises DataFileError where there is none."""
    if not root.keys():
        raise DataFileError(f'{path}: was not closed properly: there is nothing in it')
    found = root.get(name)
    if not isinstance(found, uproot.TTree):
        there = '' if found is None else f', but a {root.classname_of(name)} of this name'
        raise DataFileError(f'{path}: not {what}, it has no tree {name!r}{there}')
    return found


def type_of(tree: uproot.TTree, branch: str) -> np.dtype | None:
    """The type of what a branch has for each entry; None where it is not there, or differs from entry to entry."""
    return getattr(tree[branch].interpretation, 'to_dtype', None) if branch in tree else None


def no_branch(path: Path, tree: uproot.TTree, branch: str, wanted: str) -> DataFileError:
    """The error of a tree without a branch of what is wanted."""
    there = f', but one of {tree[branch].typename}' if branch in tree else ''
    return DataFileError(f'{path}: tree {tree.name!r} has no branch {branch!r} of {wanted}{there}')


@contextlib.contextmanager
def opened(path: Path) -> Iterator[DataFile]:
    """A data file, open within the block.

    Raises StorageError if it is not there or cannot be read now; DataFileError if it is empty, cut short, not closed,
    not a ROOT file, without the trees of a data file or without events, several data files in one, or if it was sampled
    in another way than SAMPLING, SAMPLES and PRETRIGGER say.
    """
    check_start(path)
    with contextlib.ExitStack() as stack:
        with reading(path):
            root = stack.enter_context(opened_root(path))
            _check_header(path, root)
            for tree in ('events', 'noise'):
                _check_traces(path, root, tree)
            events = root['events'].num_entries
            number = type_of(root['events'], 'event')
            if number is None or number.kind not in 'iu':
                raise no_branch(path, root['events'], 'event', 'whole numbers')
        if not events:
            raise DataFileError(f'{path}: no events')
        yield DataFile(path, root, events)


def event_steps(file: DataFile, size: int) -> Iterator[dict[str, np.ndarray]]:
    """The events, `size` at a time: event (n,), int32, and of each detector the traces (n, SAMPLES) in ADU.

    Raises DataFileError.
    """
    branches = ['event', *(model.name for model in DETECTORS)]
    for start in range(0, file.events, size):
        with reading(file.path):
            step = file.root['events'].arrays(branches, entry_start=start, entry_stop=start + size, library='np')
            step['event'] = _as_int32(file.path, step['event'])
        yield step


def random_triggers(file: DataFile, most: int) -> dict[str, np.ndarray]:
    """The first random triggers, `most` at most: traces (n, SAMPLES) in ADU of each detector. Raises DataFileError."""
    with reading(file.path):
        return file.root['noise'].arrays([model.name for model in DETECTORS], entry_stop=most, library='np')


def _as_int32(path: Path, numbers: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int32)
    if numbers.min() < limits.min or numbers.max() > limits.max:
        raise DataFileError(f'{path}: numbers of events from {numbers.min()} to {numbers.max()} are no int32')
    return numbers.astype(np.int32)


def _check_header(path: Path, root: uproot.ReadOnlyDirectory) -> None:
    header = tree_of(path, root, 'header', 'a data file')
    if not header.num_entries:
        # It is the last thing that the acquisition writes.
        raise DataFileError(f'{path}: was not closed properly: its header is empty')
    if header.num_entries > 1:
        # Each file has a gain of its own, by which it is calibrated.
        raise DataFileError(f'{path}: {header.num_entries} data files in one: analyse them before they are merged')
    for branch, expected in (('sampling_hz', SAMPLING), ('samples', SAMPLES), ('pretrigger', PRETRIGGER)):
        number = type_of(header, branch)
        if number is None or number.shape or header[branch].array(library='np').tolist() != [expected]:
            raise DataFileError(f'{path}: {branch} in its header is not {expected:g}')


def _check_traces(path: Path, root: uproot.ReadOnlyDirectory, name: str) -> None:
    tree = tree_of(path, root, name, 'a data file')
    for model in DETECTORS:
        if type_of(tree, model.name) != TRACE:
            raise no_branch(path, tree, model.name, f'{SAMPLES} int16')
