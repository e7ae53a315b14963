"""Whether a step waits, for what, and when one document tries again. Pure: no I/O, and no clock of its own.

Of what fails in a callback, some is no document's fault. A place is away, as the callback says (`TryLater`); or
everything fails in the same way, which nobody foresaw: a broken release of the step, a library gone. Either would fail
a night's documents within seconds. So the step waits: one document at a time tries, with growing pauses, until one of
them is done.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

FIRST_PAUSE = 1.0  # seconds until a document tries again, doubled each time
LONGEST_PAUSE = 300.0  # seconds
ALIKE = 5  # different documents that fail alike, one after the other, after which the step waits

# What differs from document to document in one and the same error: quoted text, and words with a digit or a slash.
_OWN = re.compile(r"""'[^']*'|"[^"]*"|\S*[\d/]\S*""")


class StepWait:
    """What one listener knows of it. Times are in seconds by the `clock` that is handed in."""

    def __init__(self, clock: Callable[[], float], may_wait: bool = True) -> None:
        """`may_wait`: whether it may wait at all, or has each document try once."""
        self.reason: str | None = None  # what it waits for; None where it does not
        self.try_due = -math.inf  # when a document may try
        self._clock = clock
        self._may_wait = may_wait
        self._pause = FIRST_PAUSE
        self._error = ''  # of the last failures, without what is a document's own
        self._failed: set[str] = set()  # ids of the documents that failed with it, one after the other

    def place_away(self, reason: str) -> None:
        """A callback said that a place is away."""
        self._wait_for(reason)

    def failed(self, doc_id: str, error: str) -> None:
        """An attempt at a document failed."""
        alike = _OWN.sub('…', error.replace(doc_id, '…'))
        if alike != self._error:
            self._error, self._failed = alike, set()
        self._failed.add(doc_id)
        if len(self._failed) >= ALIKE:
            self._wait_for(f'{ALIKE} documents and more have failed alike, one after the other: {error}')

    def done(self) -> None:
        """A document was done: nothing is away."""
        self._error, self._failed = '', set()
        self.reason, self.try_due, self._pause = None, -math.inf, FIRST_PAUSE

    def _wait_for(self, reason: str) -> None:
        now = self._clock()
        if not self._may_wait or now < self.try_due:
            return  # the outcome of one that had begun before the wait
        if self.reason is not None:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self.reason, self.try_due = reason, now + self._pause
