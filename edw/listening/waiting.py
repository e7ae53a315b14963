"""Whether a step waits, for what, and when one document tries again. Pure: no I/O, and no clock of its own.

Of what fails in a callback, some is no document's fault. A place is away, as the callback says (`TryLater`); or
everything fails in the same way, which nobody foresaw: a broken release of the step, a library gone. Either would fail
a night's documents within seconds. So the step waits: one document at a time tries, with growing pauses, until one of
them is done. A try at a place that is away costs nobody anything, so that the pauses grow slowly: that it is back is
seen after a quarter of the time that it was away, or five minutes. A try at what fails in the same way costs a document
an attempt, so that those pauses double.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

FIRST_PAUSE = 1.0  # seconds until a document tries again
LONGEST_PAUSE = 300.0  # seconds
AWAY_GROWTH = 1.25  # of the pauses while a place is away: each is then a quarter of all those before it
ALIKE_GROWTH = 2.0  # of the pauses while documents fail alike
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

    @property
    def waits(self) -> bool:
        """Whether the step waits."""
        return self.reason is not None

    def place_away(self, reason: str) -> None:
        """A callback said that a place is away."""
        self._wait_for(reason, AWAY_GROWTH)

    def failed(self, doc_id: str, error: str) -> None:
        """An attempt at a document failed."""
        alike = _OWN.sub('…', error.replace(doc_id, '…'))
        if alike != self._error:
            self._error, self._failed = alike, set()
        self._failed.add(doc_id)
        if len(self._failed) >= ALIKE:
            self._wait_for(f'{ALIKE} documents and more have failed alike, one after the other: {error}', ALIKE_GROWTH)

    def done(self) -> None:
        """A document was done: nothing is away."""
        self._error, self._failed = '', set()
        self.reason, self.try_due, self._pause = None, -math.inf, FIRST_PAUSE

    def _wait_for(self, reason: str, growth: float) -> None:
        now = self._clock()
        if not self._may_wait or now < self.try_due:
            return  # the outcome of one that had begun before the wait
        if self.reason is not None:
            self._pause = min(growth * self._pause, LONGEST_PAUSE)
        self.reason, self.try_due = reason, now + self._pause
