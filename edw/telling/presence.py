"""Which listeners are there, at work or idle, for people to see: each says so about once a minute.

Its heartbeat process says it, which no callback keeps from it, and which outlives a listener that is killed: the notice
is withdrawn then. Where both are gone with their machine, it has had its time after GRACE.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from edw.database.client import Database
from edw.database.retry import JITTER
from edw.errors import DatabaseError, LoginRefused
from edw.model import documents
from edw.model.chain import Place
from edw.telling import notices

LISTENERS_ID = '_local/listeners'
PACE = 60.0  # seconds after which a listener says it again, at the latest
EARLIEST = 50.0  # seconds; not all at the same moment, where CouchDB 3 keeps one of two
LOGIN_PAUSE = 60.0  # seconds after a refused login: CouchDB locks an address out after five

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Presence:
    """A listener of `step`, which comes after step `after`, is there since the time `since` (seconds since the epoch).

    Callbacks run in `engine`, so many `workers` at once; with 0 as many as a farm has room for. `software` is as in
    entries (`edw.software`), with the version of the step as `step`.
    """

    listener: str
    step: str
    after: Place = 0
    engine: str = ''
    workers: int = 0
    software: dict[str, Any] = field(default_factory=dict)
    since: float | None = None


class Teller:
    """Says in the database that a listener is there."""

    def __init__(self, database: Database, presence: Presence) -> None:
        self._database = database
        self._listener = presence.listener
        self._said = {'process': presence.step, **asdict(presence)}
        del self._said['step'], self._said['listener']
        self._due = -math.inf  # monotonic time
        self._is_said = False

    def tell(self) -> None:
        """Say it, where that is due; what fails is said the next time."""
        if time.monotonic() < self._due:
            return
        try:
            # Until it was found as it was said: another listener may have written in the same moment.
            was_there = notices.put(self._database, LISTENERS_ID, self._listener, self._said, PACE)
            self._is_said = True
        except LoginRefused:
            self._due = time.monotonic() + LOGIN_PAUSE
        except DatabaseError as error:
            log.debug('cannot say that %s is there: %s', self._listener, error)
        else:
            self._due = time.monotonic() + JITTER.uniform(EARLIEST, PACE) if was_there else -math.inf

    def withdraw(self) -> None:
        """Say it no more. Raises DatabaseError."""
        if self._is_said:
            notices.withdraw(self._database, LISTENERS_ID, self._listener)


def read(database: Database) -> list[Presence]:
    """The listeners that are there, by step and name."""
    found = [
        Presence(
            name,
            str(said.get('process')),
            after if isinstance(after := said.get('after'), str) else 0,
            engine if isinstance(engine := said.get('engine'), str) else '',
            int(documents.number(said.get('workers')) or 0),
            software if isinstance(software := said.get('software'), dict) else {},
            documents.number(said.get('since')),
        )
        for name, said in notices.read(database, LISTENERS_ID).items()
    ]
    return sorted(found, key=lambda presence: (presence.step, presence.listener))
