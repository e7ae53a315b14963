"""The views of the design document: their names, and reading them.

The view of what waits for a step, `lastproc`, has its name from the settings, as in the original.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from edw.database.client import Database
from edw.errors import NoSuchRun

CLAIMS, CLOSED, CONFLICTS, DONE, ENTRIES, FAILED = 'claims', 'closed', 'conflicts', 'done', 'entries', 'failed'
NEWEST, PAST, QUEUE, RUNS, STATUS, UNPLACED = 'newest', 'past', 'queue', 'runs', 'status', 'unplaced'

# In a key, the first comes before all numbers and strings, but after null, and the second after everything.
FIRST: Any = True
LAST: dict[str, Any] = {}


@dataclass(frozen=True)
class Waiting:
    """How many documents wait, and since when the oldest does, in seconds since the epoch (None: none has a time)."""

    documents: int = 0
    since: float | None = None


@dataclass(frozen=True)
class Order:
    """In which order a listener takes what waits: that of a view, `lastproc` where none is named, or the reverse."""

    view: str | None = None
    descending: bool = False


OLDEST = 'oldest'
ORDERS = {OLDEST: Order(), 'newest': Order(descending=True), 'priority': Order(QUEUE)}  # by id, the first two

TIMELESS = 1e12  # as the view `queue` has it, after all times


def rows(database: Database, view: str, **query: Any) -> list[dict[str, Any]]:
    """Rows of a view of the project's design document; query values are given as Python objects."""
    found: list[dict[str, Any]] = database.view(f'{database.settings.design}/_view/{view}', **query)['rows']
    return found


def total(database: Database, view: str, **query: Any) -> int:
    """The count that a view's reduce function makes of the rows between the ends of the query."""
    counted = rows(database, view, **query)
    return counted[0]['value'] if counted else 0


def counts(database: Database, view: str, level: int = 1, **query: Any) -> Counter[Any]:
    """How many rows there are by the first `level` parts of their keys; by the first alone where that is 1.

    CouchDB's order has keys that only look the same in one place (ICU collation), and their groups may alternate.
    A list or an object, which no name is, counts as its JSON in a tuple.
    """
    counted: Counter[Any] = Counter()
    for row in rows(database, view, group_level=level, **query):
        parts = tuple((json.dumps(part),) if isinstance(part, (list, dict)) else part for part in row['key'])
        counted[parts[0] if level == 1 else parts] += row['value']
    return counted


def ids_of_run(database: Database, run: str) -> list[str]:
    """Ids of the documents of a run's files, in order; none where there is no such run."""
    found = rows(database, RUNS, reduce=False, startkey=[run], endkey=[run, LAST])
    return sorted(row['id'] for row in found if row['key'][0] == run)


def ids_of_known_run(database: Database, run: str) -> list[str]:
    """The same. Raises NoSuchRun where there are none."""
    ids = ids_of_run(database, run)
    if not ids:
        raise NoSuchRun(database.url, run)
    return ids


def steps(database: Database) -> set[str]:
    """Names of the steps that documents have ever been at: they were done, are being done, or have failed."""
    names = {name for _, name in counts(database, ENTRIES, level=2)}
    names |= {*counts(database, CLAIMS), *counts(database, FAILED)}
    return {name for name in names if isinstance(name, str)}


def edges(database: Database, limit: int | None = None) -> Counter[tuple[str | int, str]]:
    """How often each step was done after each other, 0: after none. The entry that begins a run's document is no edge.

    `limit` is how many of these are read at most.
    """
    return counts(database, ENTRIES, level=2, startkey=[FIRST], **({} if limit is None else {'limit': limit}))


def waiting(database: Database, **query: Any) -> dict[Any, Waiting]:
    """What waits behind each step, 0: behind none; `query` says which."""
    found: dict[Any, Waiting] = {}
    for row in rows(database, QUEUE, group_level=1, **query):
        place, value = row['key'][0], row['value']
        before = found.get(place, Waiting())  # groups of keys that only look the same may alternate
        times = [time for time in (before.since, value['min']) if time is not None and time < TIMELESS]
        found[place] = Waiting(before.documents + value['count'], min(times, default=None))
    return found


def waiting_behind(database: Database, place: str | int) -> Waiting:
    """What waits behind one step, 0: behind none."""
    return waiting(database, startkey=[place], endkey=[place, LAST]).get(place, Waiting())


def text(value: Any) -> str:
    """A part of a key as text: any JSON may stand where a name should."""
    return value if isinstance(value, str) else json.dumps(value)
