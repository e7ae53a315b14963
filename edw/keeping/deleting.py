"""Deleting an original: never the last verified copy, and never a file that is not the one the catalogue knows.

The document is told first (`original_deleted`), and the file is unlinked after that. Killed in between, the document
says of a file that is still there that it was deleted: nothing is lost, `check_files.py` finds it, and the next run,
which asks no document what was deleted but looks at the folder, does it all again. The other way round there would be a
document whose original nobody deleted, and a loss to be found out about. Telling it first is a lock, too: the server
takes the write on the revision that was looked at only, so that whoever has claimed or changed the document meanwhile
keeps the file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edw import files
from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping.copies import Named, copies_of, md5_of_field
from edw.keeping.looking import Looker, State, md5_from_disk, reading, state_of
from edw.keeping.planning import Candidate, Terms, why_kept
from edw.model.documents import Document
from edw.redact import redact
from edw.storage.places import is_url

CHANGED = 'the document was changed or deleted meanwhile'
NO_FILE = 'there is no such file'
LINK = 'it is a symbolic link, or stands behind one'


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


class Deleter:
    """Deletes originals, one after the other."""

    def __init__(
        self,
        database: Database,
        folder: GuardedFolder,
        terms: Terms,
        looker: Looker,
        hostname: str,
        clock: Callable[[], float],
    ) -> None:
        self._database, self._folder, self._terms, self._looker = database, folder, terms, looker
        self._hostname, self._clock = hostname, clock
        self._places = OtherPlaces(looker)

    def delete(self, candidate: Candidate) -> int:
        """Delete one original; returns its size in bytes. Raises StepError, with the reason, where it is kept."""
        doc = self._as_planned(candidate)
        with self._folder.opened(candidate.file) as original:
            copies = self._verified_copies(doc, original)
            # The file that is there now may be another than the one that was registered.
            with reading(candidate.file):
                md5sum = md5_from_disk(original.stream)
            if md5sum != md5_of_field(doc.get('md5sum')):
                raise StepError(f'it has the md5 {md5sum}, not that of the document: the catalogue does not know it')
            # Reading took its time. That the document is still the same the server says when it takes the mark.
            for copy, state in copies:
                if self._looker.state(copy) != state:
                    raise StepError(f'its copy {redact(copy.location)} was changed meanwhile')
            marked = self._mark(doc, [copy.location for copy, _ in copies])
            try:
                if not original.is_unchanged():
                    raise StepError('it was changed meanwhile')
                os.unlink(original.name, dir_fd=original.parent)
            except (OSError, StepError) as error:
                self._unmark(marked, doc)
                if isinstance(error, StepError):
                    raise
                raise StepError(f'it cannot be deleted: {error.strerror}') from error
        return original.state.size

    def _as_planned(self, candidate: Candidate) -> Document:
        doc = self._database.existing([candidate.doc_id]).get(candidate.doc_id)
        if doc is None or doc['_rev'] != candidate.revision:
            raise StepError(CHANGED)
        if (reason := why_kept(doc, self._terms)) is not None:
            raise StepError(reason)
        if self._database.conflicts([candidate.doc_id]):
            # Another version may say that its only file is this one.
            raise StepError('the document is in conflict; show_status.py --conflicts')
        return doc

    def _verified_copies(self, doc: Document, original: OpenFile) -> list[tuple[Named, State]]:
        """As many copies as there must be, every byte of them read, with their states; no two are the same file."""
        found: list[tuple[Named, State]] = []
        wrong: list[StepError] = []
        for copy in copies_of(doc):
            try:
                found.append((copy, self._verified(copy, doc['original_file'], original, found)))
            except StepError as error:
                wrong.append(error)
            if len(found) == self._terms.copies:
                return found
        are = 'is' if len(found) == 1 else 'are'
        kind = TryLater if any(isinstance(error, TryLater) for error in wrong) else StepError
        raise kind(f'{len(found)} of {self._terms.copies} copies {are} verified: {"; ".join(map(str, wrong))}')

    def _verified(self, copy: Named, path: str, original: OpenFile, others: list[tuple[Named, State]]) -> State:
        name = redact(copy.location)
        state = self._looker.state(copy)
        if state is None:
            raise StepError(f'{name} is missing')
        if state.is_same_file(original.state) or any(state.is_same_file(other) for _, other in others):
            raise StepError(f'{name} is the same file by another name')
        if is_url(copy.location):
            self._places.check(copy.location, path, original.links)
            for other, _ in others:
                if not is_url(other.location):
                    self._places.check(copy.location, other.location)
        if state.size != original.state.size:
            raise StepError(f'{name} has {state.size} bytes, not {original.state.size}')
        md5sum = self._looker.md5(copy.location)
        if md5sum != copy.md5sum:
            raise StepError(f'{name} has the md5 {md5sum}, not {copy.md5sum}')
        if self._looker.state(copy) != state:
            raise StepError(f'{name} is being written to')
        return state

    def _mark(self, doc: Document, copies: list[str]) -> Document:
        note = {'time': self._clock(), 'hostname': self._hostname, 'copies': copies}
        marked = {**doc, 'original_deleted': note}
        row = self._database.bulk_docs([marked])[0]
        if row.get('error') == 'conflict':
            now = self._database.existing([doc['_id']]).get(doc['_id'])
            if now is not None and now.get('original_deleted') == note:
                return now  # it was written, and only the answer was lost
            raise StepError(CHANGED)
        if row.get('error'):
            raise StepError(f'the document cannot be written: {row.get("reason") or row["error"]}')
        marked['_rev'] = row['rev']
        if row.get('accepted'):
            # Not written to a majority of a cluster's copies: somebody else's version may be the one that stays.
            raise TryLater('the database has not all of its nodes; what it was told may not stay')
        return marked

    def _unmark(self, marked: Document, before: Document) -> None:
        """Take back what the document was told, unless somebody has changed it since; then `check_files.py` tells."""
        version = {name: value for name, value in marked.items() if name != 'original_deleted'}
        if 'original_deleted' in before:
            version['original_deleted'] = before['original_deleted']
        self._database.bulk_docs([version])
