"""Waiting out a server that cannot be reached."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import requests

from edw.errors import DatabaseError, Unavailable

FIRST_PAUSE = 0.1  # seconds, doubled with every further try
LONGEST_PAUSE = 30.0  # seconds
LONGEST_RETRY_AFTER = 60.0  # seconds; the maintenance page that asked for an hour may be gone after five seconds
DOUBT_PAUSE = 5.0  # seconds until a permanent error is asked about once more
JITTER = random.Random()  # not the module's own, whose sequence belongs to a callback that seeded it

log = logging.getLogger(__name__)
P = ParamSpec('P')
T = TypeVar('T')


def pauses() -> Iterator[float]:
    """Pauses in seconds, for ever: full jitter over a ceiling that doubles up to LONGEST_PAUSE.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    ceiling = FIRST_PAUSE
    while True:
        yield JITTER.uniform(0, ceiling)
        ceiling = min(2 * ceiling, LONGEST_PAUSE)


def retry_after(response: requests.Response) -> float | None:
    """Seconds of the Retry-After header, within bounds; None where there is none, or where it is a date."""
    value = response.headers.get('Retry-After', '')
    return min(float(value), LONGEST_RETRY_AFTER) if value.isdecimal() else None


def _nobody() -> None:
    """Whom a hook tells when nobody wants to know."""


class Outage:
    """Says once that the server is gone, and once, with the time it took, that it is back.

    One for all threads of a script: they meet the same outage.
    """

    def __init__(self, on_begin: Callable[[], None] = _nobody, on_answer: Callable[[], None] = _nobody) -> None:
        """`on_begin` is called when the server stops answering, `on_answer` at each of its answers."""
        self._on_begin = on_begin
        self._on_answer = on_answer
        self._since: float | None = None
        self._lock = threading.Lock()

    def begin(self, error: Unavailable) -> None:
        """A request failed."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
            way_out = f'\n{error.way_out}' if error.way_out else ''
            log.warning('%s; trying again until it answers%s', error, way_out)
        self._on_begin()

    def end(self) -> None:
        """A request was answered."""
        with self._lock:
            if self._since is not None:
                log.warning('the server answers again, after %.1f s', time.monotonic() - self._since)
                self._since = None
        self._on_answer()


class Retry:
    """Makes requests until they are answered, however long that takes, or until there is no use in them any more."""

    def __init__(
        self,
        wait: Callable[[float], bool],
        outage: Outage | None = None,
        patience: float = math.inf,
        believes_at_once: bool = True,
    ) -> None:
        """`wait(seconds)` waits, and returns True to give up.

        `patience` is the longest time for one request, in seconds. Without an `outage` nobody is told that the server
        is gone. One that does not believe at once asks a second time where a server that has answered before says that
        something will never be: a node that has just started may not know its databases yet, and a listener that ends
        breaks off what may have run for hours.
        """
        self.wait = wait
        self._outage = outage
        self._patience = patience
        self._believes_at_once = believes_at_once
        self._was_answered = False

    def __call__(self, request: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Answer of `request`. Raises Unavailable when it is not waited for any more, and permanent errors."""
        began = time.monotonic()
        doubted: DatabaseError | None = None
        for seconds in pauses():
            try:
                answer = request(*arguments, **options)
            except Unavailable as error:
                if self._outage is not None:
                    self._outage.begin(error)
                pause = max(seconds, error.retry_after or 0.0)
                if time.monotonic() + pause - began > self._patience or self.wait(pause):
                    raise
            except DatabaseError as error:
                if self._believes_at_once or not self._was_answered or type(doubted) is type(error):
                    raise
                log.warning('%s; asking once more in %g s', error, DOUBT_PAUSE)
                doubted = error
                if self.wait(DOUBT_PAUSE):
                    raise
            else:
                self._was_answered = True
                if self._outage is not None:
                    self._outage.end()
                return answer
        raise AssertionError('pauses never end')
