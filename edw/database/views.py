"""The views of the design document: their names, and reading them.

The view of what waits for a step, `lastproc`, has its name from the settings, as in the original.
"""

from __future__ import annotations

import json
from typing import Any

from edw.database.client import Database

CHAIN, CLAIMS, CONFLICTS, DONE, FAILED = 'chain', 'claims', 'conflicts', 'done', 'failed'
RUNS, STATUS, UNPLACED, WAITING = 'runs', 'status', 'unplaced', 'waiting'

# In a key, the first comes before all numbers and strings, but after null, and the second after everything.
FIRST: Any = True
LAST: dict[str, Any] = {}


def rows(database: Database, view: str, **query: Any) -> list[dict[str, Any]]:
    """Rows of a view of the project's design document; query values are given as Python objects."""
    found: list[dict[str, Any]] = database.view(f'{database.settings.design}/_view/{view}', **query)['rows']
    return found


def total(database: Database, view: str, **query: Any) -> int:
    """The count that a view's reduce function makes of the rows between the ends of the query."""
    counted = rows(database, view, **query)
    return counted[0]['value'] if counted else 0


def text(value: Any) -> str:
    """A part of a key as text: any JSON may stand where a name should."""
    return value if isinstance(value, str) else json.dumps(value)
