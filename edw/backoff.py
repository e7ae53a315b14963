"""Waiting out a server that cannot be reached."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from edw.errors import Unavailable
from edw.metrics import UNHEARD, Metrics

FIRST_PAUSE = 0.1  # seconds, doubled with every further try
LONGEST_PAUSE = 30.0  # seconds
JITTER = random.Random()  # not the module's own, whose sequence belongs to a callback that seeded it

log = logging.getLogger(__name__)
T = TypeVar('T')


def pauses() -> Iterator[float]:
    """Pauses in seconds, for ever: full jitter over a ceiling that doubles up to LONGEST_PAUSE.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    ceiling = FIRST_PAUSE
    while True:
        yield JITTER.uniform(0, ceiling)
        ceiling = min(2 * ceiling, LONGEST_PAUSE)


class Outage:
    """Says once that the server is gone, and once, with the time it took, that it is back."""

    def __init__(self, metrics: Metrics = UNHEARD) -> None:
        self._metrics = metrics
        self._since: float | None = None
        self._lock = threading.Lock()  # the feed's thread meets the same outage as the loop

    def begins(self, error: Unavailable) -> None:
        """A request failed."""
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
                self._metrics.outage()
                log.warning('%s; trying again until it answers', error)

    def ends(self) -> None:
        """A request was answered."""
        self._metrics.reached()
        with self._lock:
            if self._since is not None:
                log.warning('the server answers again, after %.1f s', time.monotonic() - self._since)
                self._since = None


def insist(request: Callable[[], T], outage: Outage, pause: Callable[[float], bool]) -> T:
    """Answer of `request`, tried until the server gives one.

    `pause(seconds)` waits, and returns True to give up: then the last Unavailable is raised.
    """
    for seconds in pauses():
        try:
            answer = request()
        except Unavailable as error:
            outage.begins(error)
            if pause(max(seconds, error.retry_after or 0.0)):
                raise
        else:
            outage.ends()
            return answer
    raise AssertionError('pauses never end')
