"""Parts of copies that broke off, and that nobody goes on with: their documents have those copies by now.

Of all other parts nobody but a person can tell. That of a document that waits, or failed, is gone on with when the step
is done again; and one of a result has no name that tells of its document.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edw.database.client import Database
from edw.errors import StepError
from edw.keeping.copies import copies_of
from edw.keeping.strays import LEFT_OVER
from edw.model.documents import Document
from edw.storage import local
from edw.storage.places import is_url, part_name

CHANGED = 'the document has that copy no more'


@dataclass(frozen=True)
class Part:
    """A part that may be removed, of a copy that is at `copy`."""

    doc_id: str
    file: str
    copy: str
    size: int


class LeftOvers:
    """Finds them beside the copies that documents name, on this machine. A folder is listed once."""

    def __init__(self, now: float) -> None:
        """`now` in seconds since the epoch: what was written to in the last day is left alone."""
        self._before = now - LEFT_OVER
        self._names: dict[Path, frozenset[str]] = {}

    def of(self, doc: Document) -> list[Part]:
        """Those of a document."""
        found = []
        for copy in copies_of(doc):
            if is_url(copy.location) or not copy.location.startswith('/') or '\0' in copy.location:
                continue
            path = Path(copy.location)
            part = path.with_name(part_name(path.name, str(copy.md5sum)))
            if part.name not in self._in(path.parent):
                continue
            try:
                state, whole = part.lstat(), path.stat()
            except OSError:
                continue  # gone meanwhile; or the copy is, and then its part may be of use
            is_old = max(state.st_mtime, state.st_ctime) < self._before
            if stat.S_ISREG(state.st_mode) and is_old and whole.st_size == copy.size:
                found.append(Part(doc['_id'], str(part), copy.location, state.st_size))
        return found

    def _in(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]


def remove(part: Part, database: Database, now: float) -> int:
    """Remove a part; returns its bytes. Raises StepError, with the reason, where it is kept."""
    doc = database.existing([part.doc_id]).get(part.doc_id)
    if doc is None or part not in LeftOvers(now).of(doc):
        raise StepError(CHANGED)
    try:
        return local.remove_part(Path(part.file))
    except OSError as error:
        raise StepError(f'{part.file} cannot be removed: {error.strerror}') from error
