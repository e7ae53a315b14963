"""Finding the documents that are wanted, a page at a time, in the order of their ids.

Mango does it (`_find`): on CouchDB it asks each document in Erlang, where it lies, six times as fast as pages of a view
with their documents. Its own idea of order is not quite ours, so it only narrows down; `Wanted.matches` decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edw.database import views
from edw.database.client import Database, batches
from edw.model.documents import Document
from edw.selecting.wanted import Runs, Wanted

PAGE = 1000  # documents in one answer
FEW = 5000  # documents up to which it is quicker to read all of them by their ids


def find(database: Database, wanted: Wanted) -> Iterator[Document]:
    """The wanted documents, with the fields that `wanted` names at least."""
    if not wanted.runs:
        yield from _scan(database, wanted, None, None)
        return
    ids = sorted({doc_id for runs in wanted.runs for doc_id in _ids_of(database, runs)})
    if len(ids) > FEW:
        yield from _scan(database, wanted, ids[0], ids[-1])
        return
    for batch in batches(ids, PAGE):
        present = database.existing(batch)
        yield from (present[doc_id] for doc_id in batch if doc_id in present and wanted.matches(present[doc_id]))


def _ids_of(database: Database, runs: Runs) -> list[str]:
    end = [runs.last, views.LAST]
    rows = views.rows(database, views.RUNS, reduce=False, startkey=[runs.first], endkey=end)
    return [row['id'] for row in rows if runs.has(row['key'][0])]


def _scan(database: Database, wanted: Wanted, first: str | None, last: str | None) -> Iterator[Document]:
    """Ask all documents from one id to another, both included; None: from the first, to the last."""
    bounds: dict[str, Any] = {'$gt': None} if first is None else {'$gte': first}
    end: dict[str, Any] = {} if last is None else {'$lte': last}
    while True:
        selector = {'$and': [{'_id': {**bounds, **end}}, wanted.selector]}
        docs = database.find(selector, fields=wanted.fields, limit=PAGE)
        yield from (doc for doc in docs if wanted.matches(doc))
        if len(docs) < PAGE:
            return
        bounds = {'$gt': docs[-1]['_id']}
