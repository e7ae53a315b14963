"""Deleting originals: which may be, and never the last verified copy, nor a file that the catalogue does not know.

The document is told first (`original_deleted`), and the file is unlinked after that. Killed in between, the document
says of a file that is still there that it was deleted: nothing is lost, `check_files.py` finds it, and the next run,
which asks no document what was deleted but looks at the folder, does it all again. The other way round there would be a
document whose original nobody deleted, and a loss to be found out about.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping import guarding, leftovers
from edw.keeping.copies import Named, copies_of, is_deleted, md5_of_field
from edw.keeping.guarding import NO_FILE, Done, GuardedFolder, OpenFile, OtherPlaces
from edw.keeping.leftovers import LeftOvers, Part
from edw.keeping.looking import Looker, State, md5_from_disk, reading
from edw.model import documents
from edw.model.documents import Document
from edw.redact import redact
from edw.storage import space
from edw.storage.places import is_url


@dataclass(frozen=True)
class Terms:
    """What a document must be like: step `after` was done on it, it was made before `before` (seconds since the epoch),
    and there are `copies` verified copies of its original.

    `keep_free` is the share of the disk until which originals are deleted; None: all that may be.
    """

    after: str
    before: float
    copies: int
    keep_free: float | None = None


@dataclass(frozen=True)
class Candidate:
    """An original that may be deleted, if its copies are whole: the document in the revision that was looked at."""

    doc_id: str
    revision: str
    run: str
    file: str
    size: int
    created: float


@dataclass
class Plan:
    """The originals that may be deleted, oldest first, of which `lacking` bytes are needed (None: all of them)."""

    terms: Terms
    candidates: list[Candidate] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)  # by the reason
    lacking: float | None = None
    parts: list[Part] = field(default_factory=list)  # of copies that broke off

    @property
    def chosen(self) -> list[Candidate]:
        """Those that are deleted, if all of them can be."""
        return self.candidates if self.lacking is None else needed(self.candidates, self.lacking)


@dataclass
class OriginalsDone(Done):
    """The same of originals, and how many parts were removed."""

    parts: int = 0
    for_good: set[tuple[str, str]] = field(default_factory=set)  # ids and revisions of those that no waiting mends


def why_kept(doc: Document, terms: Terms) -> str | None:
    """Why the original of a document is to be kept, in words that are the same for all such; None where it may go."""
    if (reason := guarding.why_kept(doc)) is not None:
        return reason
    process = doc.get('process')
    entries = process if isinstance(process, list) else []
    if not any(isinstance(entry, dict) and entry.get('name') == terms.after for entry in entries):
        return f'{terms.after} was not done on it'
    created = documents.number(doc.get('datecreated'))
    if created is None or created >= terms.before:
        return 'too young' if created is not None else 'nobody says how old it is'
    if md5_of_field(doc.get('md5sum')) is None:
        return 'it has no md5, so that no copy can be verified'
    if len(copies_of(doc)) < terms.copies:
        return f'fewer copies than {terms.copies}'
    return None


def oldest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """In the order in which they are deleted."""
    return sorted(candidates, key=lambda candidate: (candidate.created, candidate.doc_id))


def needed(candidates: list[Candidate], lacking: float) -> list[Candidate]:
    """As many of the first as free `lacking` bytes."""
    chosen = []
    for candidate in candidates:
        if lacking <= 0:
            break
        chosen.append(candidate)
        lacking -= candidate.size
    return chosen


def plan(docs: Iterable[Document], folder: str, terms: Terms, aside: Collection[tuple[str, str]] = frozenset()) -> Plan:
    """Find out which originals in a folder may be deleted; where there is room enough no document is read.

    Those of `aside`, ids and revisions of documents, are left out. Raises TryLater where the folder is away.
    """
    found = Plan(terms)
    with closing(GuardedFolder(folder)) as originals:
        if terms.keep_free is not None:
            found.lacking = _lacking(originals, terms.keep_free)
            if found.lacking <= 0:
                return found
        left_overs = LeftOvers(time.time())
        for doc in docs:
            found.parts += left_overs.of(doc)
            file = doc.get('original_file')
            if not isinstance(file, str) or originals.parts(file) is None:
                continue
            try:
                size = _measured(doc, file, originals, terms)
            except StepError as error:
                found.kept[str(error)] += 1
                continue
            if (doc['_id'], doc['_rev']) not in aside:
                run, created = str(doc.get('run', '-')), float(doc['datecreated'])
                found.candidates.append(Candidate(doc['_id'], doc['_rev'], run, file, size, created))
    found.candidates = oldest_first(found.candidates)
    return found


def delete(
    database: Database,
    folder: str,
    plan: Plan,
    done: OriginalsDone,
    on_deleted: Callable[[], object],
    is_ended: Callable[[], bool] = lambda: False,
) -> None:
    """Delete, oldest first, until there is room enough; where a copy is bad, the next oldest takes its place.

    `done` says at any time what was. Raises EdwError where the server, or the folder, is away.
    """
    with closing(Looker()) as looker, closing(GuardedFolder(folder)) as originals:
        for part in plan.parts:
            try:
                leftovers.remove(part, database, time.time())
                done.parts += 1
            except StepError as error:
                done.kept[str(error)].append(part.doc_id)
        deleter = Deleter(database, originals, plan.terms, looker)
        for candidate in plan.candidates:
            is_enough = plan.lacking is not None and (
                done.bytes >= plan.lacking or _lacking(originals, plan.terms.keep_free or 0.0) <= 0
            )
            if is_ended() or is_enough:
                break
            try:
                done.bytes += deleter.delete(candidate)
                done.files += 1
                on_deleted()
            except StepError as error:
                done.kept[str(error)].append(candidate.doc_id)
                if not isinstance(error, TryLater):
                    done.for_good.add((candidate.doc_id, candidate.revision))


class Deleter:
    """Deletes originals, one after the other."""

    def __init__(self, database: Database, folder: GuardedFolder, terms: Terms, looker: Looker) -> None:
        self._database, self._folder, self._terms, self._looker = database, folder, terms, looker
        self._places = OtherPlaces(looker)

    def delete(self, candidate: Candidate) -> int:
        """Delete one original; returns its size in bytes. Raises StepError, with the reason, where it is kept."""
        doc = guarding.as_planned(self._database, candidate.doc_id, candidate.revision)
        if (reason := why_kept(doc, self._terms)) is not None:
            raise StepError(reason)
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
            locations = [copy.location for copy, _ in copies]
            note = {'time': time.time(), 'hostname': socket.gethostname(), 'copies': locations}
            marked = guarding.told(self._database, {**doc, 'original_deleted': note})
            guarding.unlink(original, lambda: self._unmark(marked, doc))
        return original.state.size

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

    def _unmark(self, marked: Document, before: Document) -> None:
        """Take back what the document was told, unless somebody has changed it since; then `check_files.py` tells."""
        version = {name: value for name, value in marked.items() if name != 'original_deleted'}
        if 'original_deleted' in before:
            version['original_deleted'] = before['original_deleted']
        self._database.bulk_docs([version])


def _measured(doc: Document, file: str, originals: GuardedFolder, terms: Terms) -> int:
    """The size of an original that may be deleted. Raises StepError, with the reason, where it is kept."""
    if (reason := why_kept(doc, terms)) is not None:
        raise StepError(reason)
    try:
        with originals.opened(file) as original:
            return original.state.size
    except StepError as error:
        if is_deleted(doc) and str(error) == NO_FILE:
            raise StepError('deleted already') from None
        raise


def _lacking(originals: GuardedFolder, keep_free: float) -> float:
    found = space.usage(originals.path)
    if found is None:
        raise TryLater(f'{originals.path}: its disk does not say how full it is')
    return keep_free * found.total - found.free
