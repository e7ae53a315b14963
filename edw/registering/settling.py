"""Which files nobody writes to any more: those that are the same at two looks, a time apart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

Clock = Callable[[], float]


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

    def __init__(self, settle: float, monotonic: Clock = time.monotonic) -> None:
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
