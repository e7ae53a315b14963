"""One listener's side of what it tells people: what it has told of its wait and its farm, and when there is news."""

from __future__ import annotations

import contextlib
import logging
import math
import time

from edw.database.client import Database
from edw.database.retry import Retry
from edw.errors import EdwError
from edw.model.chain import Place
from edw.telling import farms, waits
from edw.telling.farms import FarmStatus
from edw.telling.waits import Wait

FARM_INTERVAL = 60.0  # seconds after which people are told of a farm though nothing has changed there

log = logging.getLogger('listener')


class Teller:
    """Tells of a step's wait, once in the log and at each try in the database, and of the farm that it works on."""

    def __init__(self, database: Database, retry: Retry, listener: str, step: str, after: Place) -> None:
        """Requests are made by `retry`. Times of arguments and answers are monotonic."""
        self._database = database
        self._retry = retry
        self._listener = listener
        self._step = step
        self._after = after
        self._wait: Wait | None = None
        self._told_of_wait: tuple[str | None, float] = (None, -math.inf)  # reason, and when a document tries again
        self._farm: object = None  # its state as it was told last
        self._told_of_farm = -math.inf

    @property
    def waits_since(self) -> float | None:
        """Time (seconds since the epoch) since when the step waits, as was told; None where it does not."""
        return None if self._wait is None else self._wait.since

    def has_news_of_wait(self, reason: str | None, try_due: float) -> bool:
        """Whether what the step waits for (None: nothing), or when a document tries again, was not told yet."""
        return (reason, try_due) != self._told_of_wait

    def tell_of_wait(self, reason: str | None, try_due: float) -> None:
        """Say that the step waits for something, or goes on. Raises EdwError."""
        self._told_of_wait = reason, try_due
        now = time.time()
        if reason is not None:
            if self._wait is None:
                log.warning('%s waits, and one document at a time tries again: %s', self._step, reason)
            since = now if self._wait is None else self._wait.since
            self._wait = Wait(self._listener, self._step, self._after, reason, since)
            self._retry(waits.tell, self._database, self._wait, max(0.0, try_due - time.monotonic()))
        elif self._wait is not None:
            log.warning('%s goes on, after %.0f s', self._step, max(0.0, now - self._wait.since))
            self._wait = None
            self._retry(waits.withdraw, self._database, self._listener)

    def farm_due(self, state: object) -> float:
        """When to tell of a farm in a state, None: there is none; after a heartbeat where that is another one."""
        if state is None:
            return math.inf
        interval = FARM_INTERVAL if state == self._farm else self._database.settings.heartbeat
        return self._told_of_farm + interval

    def tell_of_farm(self, state: object, told: FarmStatus) -> None:
        """Say how it is there in a state, in words for people. Raises EdwError."""
        self._farm, self._told_of_farm = state, time.monotonic()
        self._retry(farms.tell, self._database, told, FARM_INTERVAL)

    def withdraw(self) -> None:
        """Have nothing more to say. Without an answer, what was said is taken for gone a minute after its time."""
        with contextlib.suppress(EdwError):
            if self._wait is not None:
                waits.withdraw(self._database, self._listener)
            if self._farm is not None:
                farms.withdraw(self._database, self._listener)
