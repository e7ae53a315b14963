"""The files that a step has left of a run: for those who draw them, and for steps of runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edw.database import design, views
from edw.database.client import Database, batches
from edw.errors import DatabaseError, EdwError, Unprocessable
from edw.model.documents import RUN_COMPLETE, Document, entry_of, is_skipped

BATCH = 500  # documents read in one request
MOST_NAMED = 100  # documents that are left out, in an entry; its log says how many there are


@dataclass(frozen=True)
class FilesOfRun:
    """`files`: path or URL, and md5 as far as its entry has one, by the ids of the documents, in their order.

    `left_out`: ids of the documents that are not past the step, as they failed. `skipped`: of how many documents the
    step that leaves the files was skipped.
    """

    files: dict[str, tuple[str, Any]]
    left_out: list[str]
    skipped: int = 0

    @property
    def in_entry(self) -> list[str]:
        """Those left out, as an entry names them: not so many that it gets too large."""
        return self.left_out[:MOST_NAMED]

    @property
    def words(self) -> str:
        """What is left out, for the end of a log; nothing where all files are there."""
        counts = {'that failed': len(self.left_out), 'that were skipped': self.skipped}
        found = ', '.join(f'{count} {why}' for why, count in counts.items() if count)
        return f'; left out: {found}' if found else ''


def files_of_run(database: Database, run: Document, left_by: str) -> FilesOfRun:
    """The files that the step `left_by` has left of a run, of all documents that make it complete.

    Raises Unprocessable where there are none. A run that loses a file meanwhile, because it is done again, is complete
    anew after that.
    """
    complete = entry_of(run, RUN_COMPLETE) or {}
    past = complete.get('after')
    files: dict[str, tuple[str, Any]] = {}
    left_out, skipped = [], 0
    try:
        for doc in documents_of_run(database, run['_id']):
            is_past, entry = isinstance(past, str) and entry_of(doc, past) is not None, entry_of(doc, left_by) or {}
            file = output_of(doc, left_by)
            if is_past and file is not None:
                files[doc['_id']] = file, entry.get('md5sum')
            elif is_past and is_skipped(entry):
                skipped += 1
            else:
                left_out.append(doc['_id'])
    except DatabaseError:
        raise
    except EdwError as error:
        raise Unprocessable(str(error)) from error
    if not files:
        raise Unprocessable(
            f'none of the {len(left_out) + skipped} files of run {run["_id"]} is past {past} with a file of {left_by}'
        )
    return FilesOfRun(files, left_out, skipped)


def documents_of_run(database: Database, run: str) -> Iterator[Document]:
    """The documents of a run's files, in the order of their ids. Raises EdwError where there is no such run."""
    design.check(database, views=(views.RUNS,))
    for batch in batches(views.ids_of_known_run(database, run), BATCH):
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
