"""What is in a data file, whether somebody still writes to it, and whether it is what its document was made of."""

from __future__ import annotations

import enum
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edw import files
from edw.errors import EdwError
from edw.model.documents import Document, number
from edw.registering.names import ROOT_ENDING

MAGIC = b'root'  # how each ROOT file begins


class StillWritten(EdwError):
    """A file changed while it was read."""


class NoData(EdwError):
    """A file is no data file, and will be none until somebody changes it."""


class State(NamedTuple):
    """What tells whether a file has changed between two looks."""

    size: int  # bytes
    mtime_ns: int
    inode: int  # another file may have been renamed to this name, with the size and the date of the first

    @classmethod
    def of(cls, there: os.stat_result) -> State:
        """The state that the system tells of."""
        return cls(there.st_size, there.st_mtime_ns, there.st_ino)


class Settling:
    """Looks at files again and again. A file has settled when it was the same for `settle` seconds.

    Dates are compared with each other, never with a clock: the one of a file may be that of another machine, hours
    ahead or behind, or of the file that it is a copy of.
    """

    def __init__(self, settle: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settle = settle
        self._monotonic = monotonic
        self._seen: dict[Path, tuple[State, float]] = {}  # with the time since when it is like that

    def settled(self, files: Mapping[Path, State]) -> list[Path]:
        """Those of the files that have. Files that are not among these are forgotten."""
        now = self._monotonic()
        seen = {}
        for file, state in files.items():
            before = self._seen.get(file)
            seen[file] = before if before is not None and before[0] == state else (state, now)
        self._seen = seen
        return [file for file, (_, since) in seen.items() if now - since >= self._settle]


class Content(NamedTuple):
    """A file as it was read, from its first to its last byte."""

    state: State
    mtime: float  # seconds since the epoch
    md5sum: str


def check(file: Path) -> None:
    """See whether a file can be one of data by its first bytes. Raises OSError and NoData."""
    with _opened(file) as stream:
        if file.name.endswith(ROOT_ENDING) and stream.read(len(MAGIC)) != MAGIC:
            raise NoData(f'{file}: is no ROOT file, although it has the name of one')


def read(file: Path) -> Content:
    """Read a file to its end. Raises OSError, NoData, and StillWritten where it changed meanwhile."""
    with _opened(file) as stream:
        before = os.fstat(stream.fileno())
        md5sum = files.md5_of_stream(stream)
        after = os.stat(file)  # by its name, which may be that of another file by now
    if State.of(before) != State.of(after):
        raise StillWritten(f'{file}: changed while it was read')
    return Content(State.of(before), before.st_mtime, md5sum)


def _opened(file: Path) -> BinaryIO:
    # A FIFO that took the file's name since the last look would block until somebody writes to it.
    stream = os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb')
    there = os.fstat(stream.fileno())
    if stat.S_ISREG(there.st_mode) and there.st_size > 0:
        return stream
    stream.close()
    raise NoData(f'{file}: {"is empty" if stat.S_ISREG(there.st_mode) else "is no regular file"}')


class Verdict(enum.Enum):
    """What a file is to the document of its name."""

    SAME = 'what the document was made of'
    TOUCHED = 'the same bytes with another date'
    CHANGED = 'at its path, but other bytes'
    OTHER = 'another file'


def compare(doc: Document, path: Path, state: State, mtime: float, md5: Callable[[], str]) -> Verdict:
    """What a file at `path` is to a document. `md5` is asked only where path, size and date do not tell.

    Documents of before `modified` was kept are taken at their word where path and size agree.
    """
    is_its_own = doc.get('original_file') == str(path)
    different = Verdict.CHANGED if is_its_own else Verdict.OTHER
    size, modified = number(doc.get('size')), number(doc.get('modified'))
    if size is not None and size != state.size:
        return different
    # Only at its own path: elsewhere, files of one size and of the same second are common.
    if is_its_own and modified in (mtime, None):
        return Verdict.SAME
    if doc.get('md5sum') != md5():
        return different
    return Verdict.TOUCHED if is_its_own else Verdict.SAME
