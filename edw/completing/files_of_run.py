"""The files of a run that a step of runs works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edw.database.client import Database
from edw.errors import DatabaseError, EdwError, Unprocessable
from edw.model.documents import RUN_COMPLETE, Document, entry_of
from edw.operating.outputs import documents_of_run, output_of

MOST_NAMED = 100  # documents that are left out, in an entry; its log says how many there are


@dataclass(frozen=True)
class FilesOfRun:
    """`files`: path or URL, and md5 as far as its entry has one, by the ids of the documents, in their order.

    `left_out`: ids of the documents that are not past the step, as they failed.
    """

    files: dict[str, tuple[str, Any]]
    left_out: list[str]

    @property
    def in_entry(self) -> list[str]:
        """Those left out, as an entry names them: not so many that it gets too large."""
        return self.left_out[:MOST_NAMED]

    @property
    def words(self) -> str:
        """What is left out, for the end of a log; nothing where all files are there."""
        return f'; left out: {len(self.left_out)} that failed' if self.left_out else ''


def files_of_run(database: Database, run: Document, left_by: str) -> FilesOfRun:
    """The files that the step `left_by` has left of a run, of all documents that make it complete.

    Raises Unprocessable where there are none. A run that loses a file meanwhile, because it is done again, is complete
    anew after that.
    """
    complete = entry_of(run, RUN_COMPLETE) or {}
    past = complete.get('after')
    files: dict[str, tuple[str, Any]] = {}
    left_out = []
    try:
        for doc in documents_of_run(database, run['_id']):
            file = output_of(doc, left_by) if isinstance(past, str) and entry_of(doc, past) else None
            if file is None:
                left_out.append(doc['_id'])
            else:
                files[doc['_id']] = file, (entry_of(doc, left_by) or {}).get('md5sum')
    except DatabaseError:
        raise
    except EdwError as error:
        raise Unprocessable(str(error)) from error
    if not files:
        raise Unprocessable(
            f'none of the {len(left_out)} files of run {run["_id"]} is past {past} with a file of {left_by}'
        )
    return FilesOfRun(files, left_out)
