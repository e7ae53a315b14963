"""Who is at work: the listeners that say that they are there, and the claims with those that hold them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edw.database import views
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.chain import Place
from edw.model.documents import number
from edw.model.listeners import heartbeat_id, hostname, is_name, pid
from edw.telling import presence
from edw.telling.farms import FARM
from edw.telling.presence import Presence

# What is read at most, so that a database full of odd documents cannot make a look slow.
CLAIMS = 20_000  # claims that are looked through for the oldest
LISTENERS = 1000  # listeners that are counted
HEARTBEATS = 100  # listeners whose heartbeat is read
PROJECT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class ListenerStatus:
    """A listener that holds claims, the time of its oldest claim, and that of its last heartbeat by its own clock.

    Times are seconds since the epoch; None where the claims hold no time, or no heartbeat with one was seen.
    It is there since the time `started`, and its step comes after step `after`; of one that does not say that it is
    there, as those of the original scripts and of older versions, both are None, and the rest is empty.
    """

    name: str
    step: str
    claims: int
    since: float | None
    heartbeat: float | None
    started: float | None = None
    after: Place | None = None
    hostname: str = ''
    pid: int | None = None
    engine: str = ''
    workers: int = 0
    version: str = ''
    software: str = ''

    @property
    def callbacks(self) -> str:
        """Where callbacks run, and how many at once; '' where it does not say."""
        if not self.engine:
            return ''
        where = 'on a farm' if self.engine == FARM else f'in {self.engine}'
        return f'{self.workers} {where}' if self.workers else where


def listeners(database: Database) -> list[ListenerStatus]:
    """The listeners that say that they are there or hold claims, by step and name."""
    there = {(one.step, one.listener): one for one in presence.read(database)[:LISTENERS]}
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
        holder = ListenerStatus(views.text(name), views.text(step), row['value'], since, heartbeat)
        seen.append(_described(holder, there.pop((holder.step, holder.name), None)))
    idle = [_described(ListenerStatus(name, step, 0, None, None), one) for (step, name), one in there.items()]
    return sorted(seen + idle, key=lambda listener: (listener.step, listener.name))


def _described(listener: ListenerStatus, found: Presence | None) -> ListenerStatus:
    """With what it says of itself."""
    where = replace(listener, hostname=hostname(listener.name), pid=pid(listener.name))
    if found is None:
        return where
    made_by = {name: value for name, value in found.software.items() if isinstance(value, str)}
    return replace(
        where,
        started=found.since,
        after=found.after,
        engine=found.engine,
        workers=found.workers,
        version=made_by.get('step', ''),
        software=' '.join(filter(None, (made_by.get('edw'), made_by.get('commit')))),
    )


def script_of(step: str) -> str:
    """The script in this folder that is the listener of a step, by what it calls itself; '' where none is found."""
    named = re.compile(rf"""\bname=(['"]){re.escape(step)}\1""")
    for file in sorted(PROJECT.glob('*.py')):
        text = file.read_text(encoding='utf-8', errors='replace')
        if 'listener.main(' in text and named.search(text):
            return file.name
    return ''


def _heartbeat(database: Database, name: Any) -> float | None:
    if not is_name(name):
        return None
    try:
        return number(database.get(heartbeat_id(name)).get('time'))
    except NotFound:
        return None
