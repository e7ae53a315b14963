"""Files in the folders of data that no document names."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edw import files
from edw.keeping import copies
from edw.model.documents import Document
from edw.redact import redact
from edw.storage import places
from edw.storage.places import is_url

# Seconds. A file is there before its document, or its entry, is; and a copy of a large file takes its time.
YOUNG = 3600.0
LEFT_OVER = 86400.0
OF_THE_SYSTEM = 'lost+found'  # of ext file systems; for nobody to read


PART, ASIDE, UNKNOWN = 'part', 'aside', 'unknown'  # never finished; was in the way of another; all else


@dataclass(frozen=True)
class Stray:
    """A file that no document names: `what` is PART, ASIDE or UNKNOWN. `doc_id`: whose it seems to be, or ''."""

    file: str
    size: int
    changed: float  # seconds since the epoch
    what: str
    doc_id: str


class Strays:
    """Lists the folders when it is made, and is told of the files that documents name after that.

    In this order, so that a file whose document is written meanwhile is not taken for a stray. Files are compared by
    their inodes: a folder may have several names.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        """Folders on other machines are left out."""
        self.unread: dict[str, str] = {}  # folders that cannot be looked through, and why
        self._found: dict[tuple[int, int], str] = {}
        self._owners: dict[str, str] = {}  # ids of documents by the names of parts
        for folder in folders:
            if not is_url(folder):
                self._list(folder)
        self._parts = {os.path.basename(path) for path in self._found.values()}

    def seen(self, doc: Document) -> None:
        """A document names its files, and a copy of its original that broke off is its part."""
        for location in copies.mentioned(doc):
            self._named(location)
        for name in copies.part_names(doc) & self._parts:
            self._owners[name] = doc['_id']

    def _named(self, location: str) -> None:
        if not is_url(location) and location.startswith('/') and '\0' not in location:
            try:
                found = os.stat(location)
            except OSError:
                return  # then it is no stray either
            self._found.pop((found.st_dev, found.st_ino), None)

    def left(self, now: float) -> list[Stray]:
        """The strays, by name; `now` in seconds since the epoch."""
        strays = []
        for path in sorted(self._found.values()):
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue  # was finished, or moved, meanwhile
            except OSError as error:
                self.unread[path] = str(error.strerror)
                continue
            name = os.path.basename(path)
            owner = places.owner_of_aside(name)
            what = PART if fnmatch.fnmatch(name, files.TEMPORARY) else UNKNOWN if owner is None else ASIDE
            # Whichever is later: what was renamed into its place, or written to.
            changed = max(found.st_mtime, found.st_ctime)
            if now - changed >= (LEFT_OVER if what == PART else YOUNG):
                doc_id = self._owners.get(name, '') if owner is None else owner
                strays.append(Stray(path, found.st_size, changed, what, doc_id))
        return strays

    def _list(self, folder: str) -> None:
        def note(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # of a folder that is not there documents tell
                self.unread[redact(str(error.filename))] = str(error.strerror)

        for parent, inner, names in os.walk(folder, onerror=note):
            inner[:] = [name for name in inner if name != OF_THE_SYSTEM]
            for name in names:
                if name.startswith('.') and not fnmatch.fnmatch(name, files.TEMPORARY):
                    continue
                path = Path(parent, name)
                try:
                    # A link is the file that it leads to, as it is for the documents.
                    found = path.stat() if path.exists() else path.lstat()
                except OSError:
                    continue  # gone since it was listed
                self._found[found.st_dev, found.st_ino] = str(path)
