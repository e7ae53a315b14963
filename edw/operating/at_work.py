"""Who is at work: the claims, and the listeners that hold them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from edw.database import views
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.documents import number
from edw.model.listeners import heartbeat_id, is_name

# What is read at most, so that a database full of odd documents cannot make a look slow.
CLAIMS = 20_000  # claims that are looked through for the oldest
LISTENERS = 1000  # listeners that are counted
HEARTBEATS = 100  # listeners whose heartbeat is read


@dataclass(frozen=True)
class ListenerStatus:
    """A listener that holds claims, the time of its oldest claim, and that of its last heartbeat by its own clock.

    Times are seconds since the epoch; None where the claims hold no time, or no heartbeat with one was seen.
    """

    name: str
    step: str
    claims: int
    since: float | None
    heartbeat: float | None


def listeners(database: Database) -> list[ListenerStatus]:
    """The listeners that hold claims, by step and name. A listener that has nothing to do is not seen."""
    oldest: dict[str, float] = {}
    for row in views.rows(database, views.CLAIMS, reduce=False, limit=CLAIMS):
        since = number(row['value'])
        if since is not None:
            key = json.dumps(row['key'])
            oldest[key] = min(since, oldest.get(key, math.inf))
    seen: list[ListenerStatus] = []
    for row in views.rows(database, views.CLAIMS, group=True, limit=LISTENERS):
        step, name = row['key']
        since = oldest.get(json.dumps(row['key']))
        heartbeat = _heartbeat(database, name) if len(seen) < HEARTBEATS else None
        seen.append(ListenerStatus(views.text(name), views.text(step), row['value'], since, heartbeat))
    return seen


def _heartbeat(database: Database, name: Any) -> float | None:
    if not is_name(name):
        return None
    try:
        return number(database.get(heartbeat_id(name)).get('time'))
    except NotFound:
        return None
