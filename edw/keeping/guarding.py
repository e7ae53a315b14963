"""What each deletion makes sure of: the document is the one that was looked at, and is told first; the file is the one
that was read, in the folder of such files, and no copy is the same file by another name.

The server takes what the document is told on the revision that was looked at only. So that is a lock, too: whoever has
claimed or changed the document meanwhile keeps the file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edw import files
from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping.looking import Looker, State, state_of
from edw.model.documents import GOOD, Document
from edw.redact import redact

CHANGED = 'the document was changed or deleted meanwhile'
IN_CONFLICT = 'the document is in conflict; show_status.py --conflicts'
CLAIMED = 'a listener is at it'
NO_FILE = 'there is no such file'
LINK = 'it is a symbolic link, or stands behind one'


@dataclass
class Done:
    """What was deleted, and ids of documents whose files were not, by the reason."""

    files: int = 0
    bytes: int = 0
    kept: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class OpenFile:
    """An open file: `name` in the folder `parent` (a descriptor), and its state when it was opened."""

    stream: BinaryIO
    parent: int
    name: str
    state: State
    links: int

    def is_unchanged(self) -> bool:
        """Whether the name is still that of the file that is open, and nobody has written to it."""
        try:
            return state_of(os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)) == self.state
        except FileNotFoundError:
            return False

    def unlink(self) -> None:
        """Delete it. Raises OSError, and StepError where it is another file by now, or was written to."""
        if not self.is_unchanged():
            raise StepError('it was changed meanwhile')
        os.unlink(self.name, dir_fd=self.parent)


class GuardedFolder:
    """A folder that files may be deleted in. Those in it are reached by no symbolic link."""

    def __init__(self, folder: str) -> None:
        """Raises TryLater where there is no such folder."""
        self.path = os.path.abspath(folder)
        self._names = tuple(dict.fromkeys([self.path, os.path.realpath(folder)]))
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TryLater(f'{self.path}: no folder to delete files in: {error.strerror}') from None

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def parts(self, location: str) -> list[str] | None:
        """The way from the folder to a file at this path; None where it is not in the folder."""
        for name in self._names:
            if location.startswith(f'{name.rstrip("/")}/'):
                parts = location[len(name.rstrip('/')) + 1 :].split('/')
                return parts if all(part not in ('', '.', '..') and '\0' not in part for part in parts) else None
        return None

    @contextmanager
    def opened(self, location: str) -> Iterator[OpenFile]:
        """The file at a path. Raises StepError where there is none in this folder, or a link leads to it."""
        parts = self.parts(location)
        if parts is None:
            raise StepError(f'it is not in {self.path}')
        with ExitStack() as stack:
            try:
                parent = self._descriptor
                for part in parts[:-1]:
                    # One by one, each without following: a link that is put there meanwhile leads nowhere.
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                    parent = os.open(part, flags, dir_fd=parent)
                    stack.callback(os.close, parent)
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                stream = stack.enter_context(os.fdopen(os.open(parts[-1], flags, dir_fd=parent), 'rb'))
            except FileNotFoundError:
                raise StepError(NO_FILE) from None
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise StepError(LINK) from None
                raise StepError(f'it cannot be opened: {error.strerror}') from None
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise StepError('it is no regular file')
            yield OpenFile(stream, parent, parts[-1], state_of(found), found.st_nlink)


class OtherPlaces:
    """Whether files on other machines are others than local ones, which no inode tells."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._same_folder: dict[tuple[str, str], bool] = {}

    def check(self, url: str, path: str, links: int = 1) -> None:
        """Raises StepError unless the file of a URL is another one than a local file, which has so many hard links.

        That machine may have the same disk, or be this one, and tells no inodes. So a file is made beside the local
        one: does it appear beside the other?
        """
        url, folder = self._looker.canonical(url), str(Path(path).parent)
        if links > 1:
            raise StepError(f'{redact(url)} may be one of the {links} names (hard links) of {path}')
        places = folder, url.rpartition('/')[0]
        if places not in self._same_folder:
            probe = Path(folder, files.temporary_name())
            try:
                os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            except OSError as error:
                raise StepError(
                    f'whether {redact(url)} is another file than {path} cannot be told: {folder}: {error.strerror}'
                ) from None
            try:
                self._same_folder[places] = self._looker.exists(f'{places[1]}/{probe.name}')
            finally:
                probe.unlink()
        if self._same_folder[places]:
            raise StepError(f'{redact(url)} is in the same folder as {path}, by another name')


def why_kept(doc: Document) -> str | None:
    """Why nothing of a document may be deleted, in words that are the same for all such; None where it may."""
    if doc.get('status') != GOOD:
        return 'failed, or not good'  # its files may be what somebody needs to find out why
    if doc.get('claim') is not None:
        return CLAIMED
    return 'on hold' if doc.get('hold') else None


def as_planned(database: Database, doc_id: str, revision: str) -> Document:
    """A document, in the revision that was looked at. Raises StepError where it is another one by now."""
    doc = database.existing([doc_id]).get(doc_id)
    if doc is None or doc['_rev'] != revision:
        raise StepError(CHANGED)
    if database.conflicts([doc_id]):
        raise StepError(IN_CONFLICT)  # another version may say that its only file is this one
    return doc


def told(database: Database, version: Document) -> Document:
    """Write what a document is told; returns it as written. Raises StepError where it is another one by now."""
    row = database.bulk_docs([version])[0]
    if row.get('error') == 'conflict':
        now = database.existing([version['_id']]).get(version['_id'])
        if now is not None and {**now, '_rev': ''} == {**version, '_rev': ''}:
            return now  # it was written, and only the answer was lost
        raise StepError(CHANGED)
    check_written(row, 'written')
    return {**version, '_rev': row['rev']}


def check_written(row: dict[str, Any], what: str) -> None:
    """Raise StepError unless the server has done `what` was wanted of a document, for good."""
    if row.get('error'):
        raise StepError(f'the document cannot be {what}: {row.get("reason") or row["error"]}')
    if row.get('accepted'):
        # Not written to a majority of a cluster's copies: somebody else's version may be the one that stays.
        raise TryLater('the database has not all of its nodes; what it was told may not stay')


def unlink(file: OpenFile, take_back: Callable[[], object]) -> None:
    """Delete a file that its document was told of. Raises StepError where it is kept; then that was taken back."""
    try:
        file.unlink()
    except (OSError, StepError) as error:
        take_back()
        if isinstance(error, StepError):
            raise
        raise StepError(f'it cannot be deleted: {error.strerror}') from error
