"""What listeners say of themselves, for people to see: one `_local` document for each kind of thing that they say.

A `_local` document makes no revisions and no changes. Each listener has a part of it, with the time by which it will
say something `again`, and the last one that has nothing more to say deletes it. CouchDB 3 compares no revisions of
such documents, so that of two listeners that write at the same moment one may be lost until it says something again.
In a cluster a write goes to all copies that are there; one that was away has an older one, which the others outvote.

All times are of the server's clock (`Database.now`): those of the machines that write and read are never compared.
"""

from __future__ import annotations

import contextlib
from typing import Any

from edw.database.client import Database
from edw.errors import Conflict, NotFound
from edw.model import documents
from edw.model.documents import Document

GRACE = 60.0  # seconds after that time, after which a listener that says nothing more is gone


def put(database: Database, notices: str, listener: str, said: dict[str, Any], seconds: float) -> bool:
    """Say something in the document `notices`, and that there will be something again within so many seconds.

    Returns whether what was said before was still there, and is not lost.
    """
    doc = _present(database, notices)
    _change(database, doc, listener, {**said, 'again': database.now() + seconds})
    return listener in _said(doc)


def withdraw(database: Database, notices: str, listener: str) -> None:
    """Have nothing more to say."""
    _change(database, _present(database, notices), listener, None)


def read(database: Database, notices: str) -> dict[str, dict[str, Any]]:
    """What those say that are there, by listener."""
    doc = _present(database, notices)
    now = database.now()
    return {name: said for name, said in _said(doc).items() if _is_current(said, now)}


def _change(database: Database, doc: Document, listener: str, said: dict[str, Any] | None) -> None:
    now = database.now()
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
