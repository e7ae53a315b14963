"""Files in the folders of data that no document names."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edw import files
from edw.redact import redact
from edw.storage.places import is_url

# Seconds. A file is there before its document, or its entry, is; and a copy of a large file takes its time.
YOUNG = 3600.0
LEFT_OVER = 86400.0
OF_THE_SYSTEM = 'lost+found'  # of ext file systems; for nobody to read


@dataclass(frozen=True)
class Stray:
    """A file that no document names; `is_part`: one in the making that was never finished."""

    file: str
    size: int
    changed: float  # seconds since the epoch
    is_part: bool


class Strays:
    """Lists the folders when it is made, and is told of the files that documents name after that.

    In this order, so that a file whose document is written meanwhile is not taken for a stray. Files are compared by
    their inodes: a folder may have several names.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        """Folders on other machines are left out."""
        self.unread: dict[str, str] = {}  # folders that cannot be looked through, and why
        self._found: dict[tuple[int, int], str] = {}
        for folder in folders:
            if not is_url(folder):
                self._list(folder)

    def named(self, location: str) -> None:
        """A document names the file at this path, if there is one."""
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
            is_part = fnmatch.fnmatch(os.path.basename(path), files.TEMPORARY)
            # Whichever is later: what was renamed into its place, or written to.
            changed = max(found.st_mtime, found.st_ctime)
            if now - changed >= (LEFT_OVER if is_part else YOUNG):
                strays.append(Stray(path, found.st_size, changed, is_part))
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
