"""Files that only superseded entries name, because a step was done again: which may be deleted, and deleting them.

Never one that a current entry of any document names, and only where the file that came instead of it is there, every
byte read at that moment. As with originals the document is told first: each entry gets `deleted` (time, hostname), by a
write that the server takes on the revision that was looked at only.
"""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from edw.database.client import Database
from edw.errors import StepError
from edw.keeping import guarding
from edw.keeping.copies import ORIGINAL, Named, current, files_of, location_name, md5_of_field
from edw.keeping.guarding import CHANGED, NO_FILE, Done, GuardedFolder, OpenFile
from edw.keeping.looking import Looker, md5_from_disk, reading
from edw.model import documents
from edw.model.documents import Document
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

    def leave_named(self, docs: Iterable[Document]) -> None:
        """Leave out the files that current entries name, of all documents: any may name a file of another one."""
        names = Names(one.file for candidate in self.candidates for one in candidate.files)
        for doc in docs:
            names.seen(doc)
        for candidate in self.candidates:
            self.kept[NAMED] += sum(one.file in names.named for one in candidate.files)
        self.kept = +self.kept
        left = (
            replace(candidate, files=tuple(one for one in candidate.files if one.file not in names.named))
            for candidate in self.candidates
        )
        self.candidates = [candidate for candidate in left if candidate.files]


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
            since = documents.number(cut.get('time'))
            reason = guarding.why_kept(doc)
            if reason is None and (since is None or since >= before):
                reason = 'superseded lately' if since is not None else 'nobody says when it was superseded'
            if reason is None and (instead is None or instead.md5sum is None):
                reason = f'{entry.get("name")} was not done again, or nobody says what md5 it left'
            if reason is None and md5sum is None:
                reason = 'its entry has no md5'
            if reason is not None or instead is None or md5sum is None or since is None:
                kept[str(reason)] += 1
                found.pop(file, None)
                continue
            first = min(first, since)
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


def plan(docs: Iterable[Document], folder: str, before: float) -> Plan:
    """Find out what of a folder was superseded before a time, in seconds since the epoch, as far as documents tell.

    Whether other documents name these files `Plan.leave_named` finds out. Raises TryLater where the folder is away.
    """
    found = Plan()
    with closing(GuardedFolder(folder)) as copies:
        for doc in docs:
            old, created = old_files(doc, before, found.kept)
            files = []
            for one in old:
                if copies.parts(one.file) is None:
                    continue
                try:
                    files.append(_measured(one, copies))
                except StepError as error:
                    found.kept[str(error)] += 1
            if files:
                run = str(doc.get('run', '-'))
                found.candidates.append(Candidate(doc['_id'], doc['_rev'], run, tuple(files), created))
    return found


def delete(database: Database, folder: str, before: float, candidates: Iterable[Candidate], done: Done) -> None:
    """Delete the files of candidates, as `plan` has found them. `done` says at any time what was."""
    with closing(Looker()) as looker, closing(GuardedFolder(folder)) as copies:
        deleter = Deleter(database, copies, looker)
        for candidate in candidates:
            try:
                deleter.delete(candidate, before, done)
            except StepError as error:
                done.kept[str(error)].append(candidate.doc_id)


class Deleter:
    """Deletes the files of candidates, one document after the other."""

    def __init__(self, database: Database, folder: GuardedFolder, looker: Looker) -> None:
        self._database, self._folder, self._looker = database, folder, looker

    def delete(self, candidate: Candidate, before: float, done: Done) -> None:
        """Delete the files of a document. Raises StepError, with the reason, where none is."""
        doc = guarding.as_planned(self._database, candidate.doc_id, candidate.revision)
        now, _ = old_files(doc, before, Counter())
        for old in candidate.files:
            try:
                if old not in now:
                    raise StepError(CHANGED)
                freed, doc = self._delete(old, doc)
                done.files, done.bytes = done.files + 1, done.bytes + freed
            except StepError as error:
                done.kept[f'{redact(old.file)}: {error}'].append(candidate.doc_id)

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
            marked = self._write(doc, old, {'time': time.time(), 'hostname': socket.gethostname()})
            if file is None:
                return 0, marked
            guarding.unlink(file, lambda: self._write(marked, old, None))
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
        return guarding.told(self._database, version)


def _measured(old: Old, folder: GuardedFolder) -> Old:
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
