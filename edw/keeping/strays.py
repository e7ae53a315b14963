"""Files in the folders of data that no document names.

Of folders on other machines only those that a move has left there: nobody tells of two names there whether they are one
file.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edw import files
from edw.errors import StepError, Unprocessable
from edw.keeping import copies
from edw.keeping.looking import Looker
from edw.model.documents import Document
from edw.redact import redact
from edw.storage import places
from edw.storage.kinds import MARKER
from edw.storage.places import Place, is_url

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

    def __init__(self, folders: Iterable[str], looker: Looker) -> None:
        """`looker` looks at folders on other machines: those of data, and all that documents name files in."""
        self._looker = looker
        self._parts: set[str] = set()
        self._far: dict[Place, list[str]] = {}  # what moves left in folders on other machines
        self.young = 0  # files that no document names, but so new that one may yet; known when `left` was asked
        self.unread: dict[str, str] = {}  # folders that cannot be looked through, and why
        self._found: dict[tuple[int, int], str] = {}
        self._owners: dict[str, str] = {}  # ids of documents by the names of parts
        for folder in folders:
            if is_url(folder):
                self._list_far(f'{folder.rstrip("/")}/{MARKER}')
            else:
                self._list(folder)
        self._parts |= {os.path.basename(path) for path in self._found.values()}

    def seen(self, doc: Document) -> None:
        """A document names its files, and a copy of its original that broke off is its part."""
        for location in copies.mentioned(doc):
            self._named(location)
        for name in copies.part_names(doc) & self._parts:
            self._owners[name] = doc['_id']

    def _named(self, location: str) -> None:
        if is_url(location):
            self._list_far(location)
        elif location.startswith('/') and '\0' not in location:
            try:
                found = os.stat(location)
            except OSError:
                return  # then it is no stray either
            self._found.pop((found.st_dev, found.st_ino), None)

    def left(self, now: float) -> list[Stray]:
        """The strays, by name; `now` in seconds since the epoch."""
        strays = []
        self.young = 0
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
            else:
                self.young += 1
        for folder, names in self._far.items():
            strays += filter(None, (self._far_stray(folder.beside(name), now) for name in names))
        return strays

    def _far_stray(self, place: Place, now: float) -> Stray | None:
        try:
            found = self._looker.size_and_age(place.location, now)
        except StepError as error:
            self.unread[redact(place.location)] = str(error)
            return None
        owner = places.owner_of_aside(place.name)
        if found is None:
            return None
        if found[1] < (LEFT_OVER if owner is None else YOUNG):
            self.young += 1
            return None
        what, doc_id = (PART, self._owners.get(place.name, '')) if owner is None else (ASIDE, owner)
        return Stray(redact(place.location), found[0], now - found[1], what, doc_id)

    def _list_far(self, location: str) -> None:
        """List the folder that a URL is in, the first time."""
        try:
            folder = places.parse(location).beside('')
        except Unprocessable:
            return  # no location of a file, which is told of its document
        if folder in self._far:
            return
        self._far[folder] = []
        try:
            names = self._looker.names_beside(location)
        except StepError as error:
            self.unread[redact(folder.location)] = str(error)
            return
        self._far[folder] = sorted(
            name for name in names if fnmatch.fnmatch(name, files.TEMPORARY) or places.owner_of_aside(name) is not None
        )
        self._parts.update(self._far[folder])

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
