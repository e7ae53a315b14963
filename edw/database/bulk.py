"""How many documents go into one `_bulk_docs`: as many as get through.

A proxy may reset a large body, or answer 429 or 504 for it, while it lets all other requests pass. Repeated unchanged
such a write never succeeds, and everything that is in it waits with it. So after a second failure the server is asked
for something else; if that is answered, the size is what is wrong, and it is halved. Pure: no I/O, no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

GROWTH_PAUSE = 5.0  # seconds until twice as many are tried, doubled with each failure
LONGEST_GROWTH_PAUSE = 3600.0  # seconds
LARGEST = 10_000  # documents; more are never sent at once
UNANSWERED = 'unanswered'  # error of the row of a document that gets through in no size, beside CouchDB's own


class BulkSize:
    """The largest number of documents to send at once, `math.inf` until one did not get through."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.limit: float = math.inf
        self._clock = clock
        self._failures = 0  # of writes, one after the other
        self._pause = GROWTH_PAUSE
        self._grow_at = math.inf

    def failed(self) -> bool:
        """A write failed; returns whether it is time to ask if the server answers anything else."""
        self._failures += 1
        # Where the size was found wrong before, it is asked at once: to be told of a failure has all of it sent again.
        return self._failures > 1 or self.limit < math.inf

    def too_large(self, number: int) -> None:
        """A write of so many documents failed, and the server answers other requests."""
        self.limit = max(1, number // 2)
        self._grow_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_GROWTH_PAUSE)

    def unanswered(self) -> None:
        """It is not the size: the server answers nothing."""
        self._failures = 1

    def went_through(self) -> None:
        """A write was answered: after a while, a larger one may be, too."""
        self._failures = 0
        if self._clock() < self._grow_at:
            return
        self.limit *= 2
        self._grow_at = self._clock() + self._pause
        if self.limit > LARGEST:
            self.limit, self._grow_at, self._pause = math.inf, math.inf, GROWTH_PAUSE
