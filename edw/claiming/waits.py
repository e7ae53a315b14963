"""What steps wait for, for people to see: one `_local` document, in which their listeners say so.

A `_local` document makes no revisions and no changes. It is written when a wait begins, at each try and at its end, and
deleted by the last one that waits no more. CouchDB 3 compares no revisions of such documents, so that of two listeners
that write at the same moment one may be lost until its next try.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from edw.database.client import Database
from edw.errors import Conflict, NotFound
from edw.model import documents
from edw.model.chain import Place
from edw.model.documents import Document

WAITING_ID = '_local/waiting'
GRACE = 60.0  # seconds after the time of its next try, after which a listener that says nothing more is gone


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


def tell(database: Database, wait: Wait, again: float) -> None:
    """Say that a listener waits, and tries again at the time `again` (seconds since the epoch)."""
    said = {'process': wait.step, 'after': wait.after, 'reason': wait.reason, 'since': wait.since, 'again': again}
    _change(database, wait.listener, said)


def withdraw(database: Database, listener: str) -> None:
    """Say that a listener waits no more."""
    _change(database, listener, None)


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
        for listener, said in _said(_present(database)).items()
        if _is_current(said, now)
    ]
    return sorted(waits, key=lambda wait: wait.since)


def _change(database: Database, listener: str, said: dict[str, Any] | None) -> None:
    while True:
        doc = _present(database)
        now = time.time()
        others = {name: other for name, other in _said(doc).items() if name != listener and _is_current(other, now)}
        waiting = others if said is None else {**others, listener: said}
        # Another listener may say something in this moment, or delete it.
        with contextlib.suppress(Conflict, NotFound):
            if waiting:
                database.put({**doc, 'listeners': waiting})
            elif '_rev' in doc:
                database.delete(doc)
            return


def _present(database: Database) -> Document:
    try:
        return database.get(WAITING_ID)
    except NotFound:
        return {'_id': WAITING_ID}


def _said(doc: Document) -> dict[str, dict[str, Any]]:
    said = doc.get('listeners')
    return {name: what for name, what in said.items() if isinstance(what, dict)} if isinstance(said, dict) else {}


def _is_current(said: dict[str, Any], now: float) -> bool:
    again = documents.number(said.get('again'))
    return again is not None and now < again + GRACE
