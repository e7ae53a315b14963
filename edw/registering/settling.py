"""Which files have not changed for a time, whatever happens to the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

STEADY = 1.0  # seconds by which the time of day may gain on the monotonic clock between two looks

Clock = Callable[[], float]
State = tuple[int, int]  # time of the last change, and size


class Settling:
    """Looks at files again and again.

    A file has settled when its date is `settle` seconds ago, so that what lies there at the start need not be waited
    for. Where a clock is wrong, a date says nothing: one in the future would not be past for as long as that, and a
    clock that was set forward makes a file old that is being written to. Then it has settled when it was the same for
    that long by the monotonic clock.
    """

    def __init__(self, settle: float, clock: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self._settle = settle
        self._clock, self._monotonic = clock, monotonic
        self._offset = clock() - monotonic()
        self._trusted_at = monotonic()  # from when on dates tell again
        self._seen: dict[Path, tuple[State, float]] = {}  # with the monotonic time since when it is like that

    def settled(self, files: Iterable[Path]) -> list[Path]:
        """Those of the files that have. Files that are not among these are forgotten."""
        now, today = self._monotonic(), self._clock()
        if abs(today - now - self._offset) > STEADY:
            # What was written since then has a right date; all else has settled when this time is over.
            self._offset, self._trusted_at = today - now, now + self._settle
        seen, found = {}, []
        for file in files:
            try:
                there = file.stat()
            except FileNotFoundError:
                continue
            state = there.st_mtime_ns, there.st_size
            before = self._seen.get(file)
            seen[file] = before if before is not None and before[0] == state else (state, now)
            is_old = now >= self._trusted_at and today - there.st_mtime >= self._settle
            if is_old or now - seen[file][1] >= self._settle:
                found.append(file)
        self._seen = seen
        return found
