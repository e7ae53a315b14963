"""What steps wait for, for people to see: their listeners say so when a wait begins, at each try and at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edw.database.client import Database
from edw.model import documents
from edw.model.chain import Place
from edw.telling import notices

WAITING_ID = '_local/waiting'


@dataclass(frozen=True)
class Wait:
    """A listener waits for `reason`, since the time `since` (seconds since the epoch, by its own clock).

    Its step is `step`, which comes after step `after` (0: none).
    """

    listener: str
    step: str
    after: Place
    reason: str
    since: float


def tell(database: Database, wait: Wait, seconds: float) -> None:
    """Say that a listener waits, and tries again in so many seconds."""
    said = {'process': wait.step, 'after': wait.after, 'reason': wait.reason, 'since': wait.since}
    notices.put(database, WAITING_ID, wait.listener, said, seconds)


def withdraw(database: Database, listener: str) -> None:
    """Say that a listener waits no more."""
    notices.withdraw(database, WAITING_ID, listener)


def read(database: Database) -> list[Wait]:
    """Those that wait, the longest first."""
    now = time.time()
    waits = [
        Wait(
            listener,
            str(said.get('process')),
            after if isinstance(after := said.get('after'), str) else 0,
            str(said.get('reason')),
            documents.number(said.get('since')) or now,
        )
        for listener, said in notices.read(database, WAITING_ID).items()
    ]
    return sorted(waits, key=lambda wait: wait.since)
