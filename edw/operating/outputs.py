"""The files that a step has left of a run."""

from __future__ import annotations

from collections.abc import Iterator

from edw.database import design, views
from edw.database.client import Database, batches
from edw.errors import EdwError
from edw.model.documents import Document, entry_of

BATCH = 500  # documents read in one request


def documents_of_run(database: Database, run: str) -> Iterator[Document]:
    """The documents of a run's files, in the order of their ids. Raises EdwError where there is no such run."""
    design.check(database, views=(views.RUNS,))
    ids = views.ids_of_run(database, run)
    if not ids:
        raise EdwError(f'{database.url} has no documents of a run {run!r}')
    for batch in batches(ids, BATCH):
        present = database.existing(batch)
        yield from (present[doc_id] for doc_id in batch if doc_id in present)


def outputs_of_run(database: Database, run: str, step: str) -> list[str]:
    """Paths or URLs of the files that `step` made of a run's documents, in the order of their ids, each once.

    Of a document that the step was done on again, the last one. Raises EdwError where there is no such run, and
    where the step has not been done on any of it.
    """
    files: dict[str, None] = {}
    docs = 0
    for doc in documents_of_run(database, run):
        docs += 1
        if (file := output_of(doc, step)) is not None:
            files[file] = None
    if not files:
        raise EdwError(f'{step} has not been done yet on any of the {docs} document{"s" * (docs != 1)} of run {run}')
    return list(files)


def output_of(doc: Document, step: str) -> str | None:
    """The file of the last entry of a step; None without such an entry, or where it names no file."""
    entry = entry_of(doc, step) or {}
    return entry['file'] if isinstance(entry.get('file'), str) and entry['file'] else None
