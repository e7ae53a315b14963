"""Who is at work: the claims, and the workers that hold them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from edw.database import views
from edw.database.client import Database
from edw.errors import NotFound
from edw.model import listeners

# What is read at most, so that a database full of odd documents cannot make a look slow.
CLAIMS = 20_000  # claims that are looked through for the oldest
WORKERS = 1000  # workers that are counted
HEARTBEATS = 100  # workers whose heartbeat is read


@dataclass(frozen=True)
class WorkerStatus:
    """A worker that holds claims, the time of its oldest claim, and that of its last heartbeat by its own clock.

    Times are seconds since the epoch; None where the claims hold no time, or no heartbeat with one was seen.
    """

    worker: str
    step: str
    claims: int
    since: float | None
    heartbeat: float | None


def workers(database: Database) -> list[WorkerStatus]:
    """The workers that hold claims, by step and name. A worker that has nothing to do is not seen."""
    oldest: dict[str, float] = {}
    for row in views.rows(database, views.CLAIMS, reduce=False, limit=CLAIMS):
        if isinstance(row['value'], (int, float)):
            key = json.dumps(row['key'])
            oldest[key] = min(row['value'], oldest.get(key, math.inf))
    seen: list[WorkerStatus] = []
    for row in views.rows(database, views.CLAIMS, group=True, limit=WORKERS):
        step, worker = row['key']
        since = oldest.get(json.dumps(row['key']))
        heartbeat = _heartbeat(database, worker) if len(seen) < HEARTBEATS else None
        seen.append(WorkerStatus(views.text(worker), views.text(step), row['value'], since, heartbeat))
    return seen


def is_silent(worker: WorkerStatus, now: float, lease: float) -> bool:
    """Whether a worker holds claims and shows no sign of life for `lease` seconds, by its clock and by ours.

    For people only: listeners never compare clocks.
    """
    last = max((value for value in (worker.since, worker.heartbeat) if value is not None), default=None)
    return last is not None and now - last > lease


def _heartbeat(database: Database, worker: Any) -> float | None:
    if not listeners.is_name(worker):
        return None
    try:
        beat = database.get(listeners.heartbeat_id(worker)).get('time')
    except NotFound:
        return None
    return float(beat) if isinstance(beat, (int, float)) else None
