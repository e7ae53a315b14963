"""Documents, a page at a time: a catalogue of a hundred thousand is never in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edw.database import views
from edw.database.client import Database, batches
from edw.model.documents import Document

PAGE = 500  # documents in one request


def pages(database: Database, runs: Sequence[str] = ()) -> Iterator[list[Document]]:
    """All documents, or those of some runs, in the order of their ids; without design documents.

    Raises EdwError for a run without documents.
    """
    if runs:
        ids = dict.fromkeys(doc_id for run in runs for doc_id in views.ids_of_known_run(database, run))
        for batch in batches(ids, PAGE):
            yield list(database.existing(batch).values())
        return
    query: dict[str, Any] = {'include_docs': True, 'limit': PAGE}
    while True:
        rows = database.all_docs(**query)
        # None stands for a document that is nested too deep, which the log names.
        yield [row['doc'] for row in rows if row.get('doc') and not row['id'].startswith('_design/')]
        if len(rows) < PAGE:
            return
        query.update(startkey=rows[-1]['id'], skip=1)
