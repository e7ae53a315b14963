"""The files that a step has left of a run."""

from __future__ import annotations

from typing import Any

from edw.database import design, views
from edw.database.client import Database, batches
from edw.errors import EdwError
from edw.model.documents import Document

BATCH = 500  # documents read in one request


def outputs_of_run(database: Database, run: str, step: str) -> list[str]:
    """Paths or URLs of the files that `step` made of a run's documents, in the order of their ids, each once.

    Of a document that the step was done on again, the last one. Raises EdwError where there is no such run, and
    where the step has not been done on any of it.
    """
    design.check(database, views=(views.RUNS,))
    rows = views.rows(database, views.RUNS, reduce=False, startkey=[run], endkey=[run, views.LAST])
    ids = sorted(row['id'] for row in rows)
    if not ids:
        raise EdwError(f'{database.url} has no documents of a run {run!r}')
    files: dict[str, None] = {}
    for batch in batches(ids, BATCH):
        present = database.existing(batch)
        outputs = (output_of(present[doc_id], step) for doc_id in batch if doc_id in present)
        files.update(dict.fromkeys(file for file in outputs if file is not None))
    if not files:
        count = f'{len(ids)} document{"s" * (len(ids) != 1)}'
        raise EdwError(f'{step} has not been done yet on any of the {count} of run {run}')
    return list(files)


def output_of(doc: Document, step: str) -> str | None:
    """The file of the last entry of a step; None without such an entry, or where it names no file."""
    process: Any = doc.get('process')
    for entry in reversed(process if isinstance(process, list) else []):
        if isinstance(entry, dict) and entry.get('name') == step:
            return entry['file'] if isinstance(entry.get('file'), str) and entry['file'] else None
    return None
