"""Files that only superseded entries name, because a step was done again: which may be deleted, and deleting them.

Never one that a current entry of any document names, and only where the file that came instead of it is there, every
byte read at that moment. As with originals the document is told first: each entry gets `deleted` (time, hostname), by a
write that the server takes on the revision that was looked at only.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping.copies import ORIGINAL, Named, current, files_of, location_name, md5_of_field
from edw.keeping.deleting import CHANGED, NO_FILE, GuardedFolder, OpenFile
from edw.keeping.looking import Looker, md5_from_disk, reading
from edw.model import documents
from edw.model.documents import GOOD, Document
from edw.redact import redact
from edw.storage.places import is_url

NAMED = 'a document names it, or a file of its name elsewhere'


@dataclass(frozen=True)
class Old:
    """A file that may be deleted: `md5sum` is what it must have, `newer` what came instead of it.

    `entry` is where it stands in the document: which cut, and which entry of that; `size` in bytes, once
    it was measured.
    """

    file: str
    md5sum: str
    newer: Named
    entry: tuple[int, int]
    size: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Candidate:
    """The files of one document, in the revision that was looked at.

    `created` is when they were superseded, the first of them, in seconds since the epoch.
    """

    doc_id: str
    revision: str
    run: str
    files: tuple[Old, ...]
    created: float

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(one.size for one in self.files)


@dataclass
class Plan:
    """What may be deleted, and how many files are kept, by the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)

    def leave(self, named: set[str]) -> None:
        """Leave out the files that current entries name."""
        for candidate in self.candidates:
            self.kept[NAMED] += sum(one.file in named for one in candidate.files)
        self.kept = +self.kept
        left = (
            replace(candidate, files=tuple(one for one in candidate.files if one.file not in named))
            for candidate in self.candidates
        )
        self.candidates = [candidate for candidate in left if candidate.files]


def why_kept(doc: Document) -> str | None:
    """Why nothing of a document may be deleted; None where it may."""
    if doc.get('status') != GOOD:
        return 'failed, or not good'
    if doc.get('claim') is not None:
        return 'a listener is at it'
    return 'on hold' if doc.get('hold') else None


def old_files(doc: Document, before: float, kept: Counter[str]) -> tuple[list[Old], float]:
    """The files of a document that may be deleted, as far as it tells, and when the first of them was superseded.

    `before` is in seconds since the epoch: what was superseded later stays. Those that are kept are counted in `kept`.
    """
    newer = {file.role: file for file in files_of(doc) if file.role != ORIGINAL}
    names_now = set(current(doc))
    found: dict[str, Old] = {}
    first = before
    cuts = doc.get('superseded')
    for index, cut in enumerate(cuts if isinstance(cuts, list) else []):
        entries = cut.get('entries') if isinstance(cut, dict) else None
        for place, entry in enumerate(entries if isinstance(entries, list) else []):
            file = entry.get('file') if isinstance(entry, dict) else None
            if not isinstance(file, str) or file in names_now or entry.get('deleted') is not None:
                continue
            instead, md5sum = newer.get(str(entry.get('name'))), md5_of_field(entry.get('md5sum'))
            time = documents.number(cut.get('time'))
            reason = why_kept(doc)
            if reason is None and (time is None or time >= before):
                reason = 'superseded lately' if time is not None else 'nobody says when it was superseded'
            if reason is None and (instead is None or instead.md5sum is None):
                reason = f'{entry.get("name")} was not done again, or nobody says what md5 it left'
            if reason is None and md5sum is None:
                reason = 'its entry has no md5'
            if reason is not None or instead is None or md5sum is None or time is None:
                kept[str(reason)] += 1
                found.pop(file, None)
                continue
            first = min(first, time)
            found[file] = Old(file, md5sum, instead, (index, place))
    return list(found.values()), first


class Names:
    """Which of some local files are named by current entries, of any document.

    Compared by their inodes where their names are the same, and the folders are not: those may have several names. A
    URL of the same name may be that of the same file, which nothing tells for certain.
    """

    def __init__(self, locations: Iterable[str]) -> None:
        self.named: set[str] = set()
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for location in locations:
            self._by_name[location_name(location)].append(location)

    def seen(self, doc: Document) -> None:
        """A document names its files."""
        for location in current(doc):
            for other in self._by_name.get(location_name(location), ()):
                if location == other or is_url(location) or _is_same(location, other):
                    self.named.add(other)


class Deleter:
    """Deletes the files of candidates, one document after the other."""

    def __init__(
        self, database: Database, folder: GuardedFolder, looker: Looker, hostname: str, clock: Callable[[], float]
    ) -> None:
        self._database, self._folder, self._looker = database, folder, looker
        self._hostname, self._clock = hostname, clock

    def delete(self, candidate: Candidate, before: float, kept: Callable[[str], object]) -> tuple[int, int]:
        """Delete the files of a document; returns how many, and their bytes. `kept` is told why others are not.

        Raises StepError, with the reason, where none is.
        """
        doc = self._as_planned(candidate)
        now, _ = old_files(doc, before, Counter())
        count = size = 0
        for old in candidate.files:
            try:
                if old not in now:
                    raise StepError(CHANGED)
                freed, doc = self._delete(old, doc)
                count, size = count + 1, size + freed
            except StepError as error:
                kept(f'{redact(old.file)}: {error}')
        return count, size

    def _as_planned(self, candidate: Candidate) -> Document:
        doc = self._database.existing([candidate.doc_id]).get(candidate.doc_id)
        if doc is None or doc['_rev'] != candidate.revision:
            raise StepError(CHANGED)
        if self._database.conflicts([candidate.doc_id]):
            raise StepError('the document is in conflict; show_status.py --conflicts')
        return doc

    def _delete(self, old: Old, doc: Document) -> tuple[int, Document]:
        with contextlib.ExitStack() as stack:
            file = self._opened(old, stack)
            state = self._looker.state(old.newer)
            name = redact(old.newer.location)
            if state is None:
                raise StepError(f'{name}, which came instead of it, is missing')
            if file is not None and state.is_same_file(file.state):
                raise StepError(f'{name}, which came instead of it, is the same file by another name')
            md5sum = self._looker.md5(old.newer.location)
            if md5sum != old.newer.md5sum:
                raise StepError(f'{name}, which came instead of it, has the md5 {md5sum}, not {old.newer.md5sum}')
            found = old.md5sum
            if file is not None:
                with reading(old.file):
                    found = md5_from_disk(file.stream)
            if found != old.md5sum:
                raise StepError(f'it has the md5 {found}, not that of its entry: the catalogue does not know it')
            if self._looker.state(old.newer) != state:
                raise StepError(f'{name} was changed meanwhile')
            marked = self._write(doc, old, {'time': self._clock(), 'hostname': self._hostname})
            if file is None:
                return 0, marked
            try:
                if not file.is_unchanged():
                    raise StepError('it was changed meanwhile')
                os.unlink(file.name, dir_fd=file.parent)
            except (OSError, StepError) as error:
                self._write(marked, old, None)
                if isinstance(error, StepError):
                    raise
                raise StepError(f'it cannot be deleted: {error.strerror}') from error
            return file.state.size, marked

    def _opened(self, old: Old, stack: contextlib.ExitStack) -> OpenFile | None:
        """The file; None where somebody has deleted it already, and only the document does not know."""
        try:
            return stack.enter_context(self._folder.opened(old.file))
        except StepError as error:
            # Asked twice: where a disk is not mounted, the second one raises.
            if str(error) != NO_FILE or self._looker.state(Named(old.file, '', None, None, '', False)) is not None:
                raise
            return None

    def _write(self, doc: Document, old: Old, note: dict[str, Any] | None) -> Document:
        """The document as written, with a note of its deletion at an entry, or without."""
        version = copy.deepcopy(doc)
        cut, place = old.entry
        entry = version['superseded'][cut]['entries'][place]
        entry.pop('deleted', None)
        if note is not None:
            entry['deleted'] = note
        row = self._database.bulk_docs([version])[0]
        if row.get('error') == 'conflict':
            now = self._database.existing([doc['_id']]).get(doc['_id'])
            if now is not None and {**now, '_rev': ''} == {**version, '_rev': ''}:
                return now  # it was written, and only the answer was lost
            raise StepError(CHANGED)
        if row.get('error'):
            raise StepError(f'the document cannot be written: {row.get("reason") or row["error"]}')
        if row.get('accepted'):
            # Not written to a majority of a cluster's copies: somebody else's version may be the one that stays.
            raise TryLater('the database has not all of its nodes; what it was told may not stay')
        return {**version, '_rev': row['rev']}


def measured(old: Old, folder: GuardedFolder) -> Old:
    """The same with its size, 0 where there is none. Raises StepError where it is not in the folder, or a link is."""
    try:
        with folder.opened(old.file) as file:
            return replace(old, size=file.state.size)
    except StepError as error:
        if str(error) != NO_FILE:
            raise
        return old


def _is_same(location: str, other: str) -> bool:
    try:
        return os.path.samefile(location, other)
    except (FileNotFoundError, NotADirectoryError):
        return False  # one that is not there is not the other
    except (OSError, ValueError):
        return True  # for all that anybody can tell
