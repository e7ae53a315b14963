"""Which farms callbacks run on, for people to see: the listeners that work on one say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edw.database.client import Database
from edw.model import documents
from edw.telling import notices

FARMS_ID = '_local/farms'
FARM = 'farm'  # where callbacks run, beside the names of engines (edw.config)


@dataclass(frozen=True)
class FarmStatus:
    """The farm of a listener of `step`.

    So many callbacks can run at once there (`room`), so many are there (`running`), on so many `nodes`. `away` is why
    there is no farm now, '' where there is one. Either has been so since the time `since` (seconds since the epoch, by
    the listener's clock).
    """

    listener: str
    step: str
    room: int
    running: int
    nodes: int
    away: str
    since: float | None


def tell(database: Database, farm: FarmStatus, seconds: float) -> None:
    """Say how it is there, and that the listener says so again within so many seconds."""
    said = {
        'process': farm.step,
        'room': farm.room,
        'running': farm.running,
        'nodes': farm.nodes,
        'away': farm.away,
        'since': farm.since,
    }
    notices.put(database, FARMS_ID, farm.listener, said, seconds)


def withdraw(database: Database, listener: str) -> None:
    """Say that a listener works on no farm any more."""
    notices.withdraw(database, FARMS_ID, listener)


def read(database: Database) -> list[FarmStatus]:
    """The farms that are worked on, by step and listener."""
    farms = [
        FarmStatus(
            listener,
            str(said.get('process')),
            _count(said.get('room')),
            _count(said.get('running')),
            _count(said.get('nodes')),
            away if isinstance(away := said.get('away'), str) else '',
            documents.number(said.get('since')),
        )
        for listener, said in notices.read(database, FARMS_ID).items()
    ]
    return sorted(farms, key=lambda farm: (farm.step, farm.listener))


def _count(value: Any) -> int:
    return int(documents.number(value) or 0)
