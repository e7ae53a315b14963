"""What listeners say of themselves, for people to see: one `_local` document for each kind of thing that they say.

A `_local` document makes no revisions and no changes. Each listener has a part of it, with the time by which it will
say something `again`, and the last one that has nothing more to say deletes it. CouchDB 3 compares no revisions of
such documents, so that of two listeners that write at the same moment one may be lost until it says something again.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from edw.database.client import Database
from edw.errors import Conflict, NotFound
from edw.model import documents
from edw.model.documents import Document

GRACE = 60.0  # seconds after that time, after which a listener that says nothing more is gone


def put(database: Database, notices: str, listener: str, said: dict[str, Any], again: float) -> None:
    """Say something in the document `notices`, until the time `again` (seconds since the epoch)."""
    _change(database, notices, listener, {**said, 'again': again})


def withdraw(database: Database, notices: str, listener: str) -> None:
    """Have nothing more to say."""
    _change(database, notices, listener, None)


def read(database: Database, notices: str) -> dict[str, dict[str, Any]]:
    """What those say that are there, by listener."""
    now = time.time()
    return {name: said for name, said in _said(_present(database, notices)).items() if _is_current(said, now)}


def _change(database: Database, notices: str, listener: str, said: dict[str, Any] | None) -> None:
    doc = _present(database, notices)
    now = time.time()
    others = {name: other for name, other in _said(doc).items() if name != listener and _is_current(other, now)}
    left = others if said is None else {**others, listener: said}
    # Another listener may say something in this moment, or delete it.
    with contextlib.suppress(Conflict, NotFound):
        if left:
            database.put({**doc, 'listeners': left})
        elif '_rev' in doc:
            database.delete(doc)


def _present(database: Database, notices: str) -> Document:
    try:
        return database.get(notices)
    except NotFound:
        return {'_id': notices}


def _said(doc: Document) -> dict[str, dict[str, Any]]:
    said = doc.get('listeners')
    return {name: what for name, what in said.items() if isinstance(what, dict)} if isinstance(said, dict) else {}


def _is_current(said: dict[str, Any], now: float) -> bool:
    again = documents.number(said.get('again'))
    return again is not None and now < again + GRACE
