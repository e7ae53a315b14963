"""The files of a run that a step of runs works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edw.database.client import Database
from edw.errors import DatabaseError, EdwError, Unprocessable
from edw.model.documents import RUN_COMPLETE, Document, entry_of, is_skipped
from edw.operating.outputs import documents_of_run, output_of

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
