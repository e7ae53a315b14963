"""Removing documents from the catalogue, with copies of their files or without; that of a run goes with its last file.

The server takes the deletion on the revision that was looked at only: what somebody has claimed or changed meanwhile
stays. What is left of a deleted document says its run, so that whoever follows the feed hears which run has a file less
(`edw.completing.completer`): it is complete anew, and its steps are done again.

Of files only copies are deleted, after the original was read again, every byte; and the document before them. Killed in
between, files are left that no document names, which `check_files.py` finds, and nothing is lost.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from edw.database import views
from edw.database.client import Database, batches
from edw.errors import StepError
from edw.keeping import guarding
from edw.keeping.copies import ORIGINAL, copies_of, files_of, is_deleted, md5_of_field
from edw.keeping.guarding import CHANGED, CLAIMED, IN_CONFLICT, NO_FILE, GuardedFolder, OpenFile, OtherPlaces
from edw.keeping.looking import Looker, md5_from_disk, reading
from edw.keeping.pages import pages
from edw.keeping.superseded import Names
from edw.model.documents import Document, is_run
from edw.operating.annotations import ids_of
from edw.redact import redact
from edw.storage.places import is_url

BATCH = 500  # documents in one request
FILES_LEFT = 'files of the run are left'


@dataclass(frozen=True)
class Candidate:
    """A document that may be deleted, in the revision that was looked at, with the copies that go with it."""

    doc_id: str
    revision: str
    run: str
    status: str
    is_run: bool
    copies: tuple[str, ...] = ()


@dataclass
class Plan:
    """What may be deleted, documents of files first; ids of what may not, with the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def plan(database: Database, names: Iterable[str], with_files: bool) -> Plan:
    """Find out what may be deleted of documents and runs. Raises EdwError for a name that is neither.

    With files all documents are read: any of them may name a file of another one.
    """
    ids = dict.fromkeys(ids_of(database, names))
    found = Plan()
    runs: set[str] = set()
    for batch in batches(ids, BATCH):
        in_conflict = database.conflicts(batch)
        for doc in database.existing(batch).values():
            if isinstance(doc.get('run'), str):
                runs.add(doc['run'])
            _consider(doc, doc['_id'] in in_conflict, with_files, found)
    # A run of which no file is left goes along.
    whole = [run for run in sorted(runs) if run not in ids and set(views.ids_of_run(database, run)) <= ids.keys()]
    for doc in database.existing(whole).values():
        if is_run(doc):
            _consider(doc, bool(database.conflicts([doc['_id']])), with_files, found)
    found.candidates.sort(key=lambda one: one.is_run)
    if any(one.copies for one in found.candidates):
        _leave_what_others_name(database, found)
    return found


def why_refused(doc: Document, is_in_conflict: bool) -> str | None:
    """Why a document may not be deleted; None where it may."""
    if doc.get('claim') is not None:
        return CLAIMED
    # Deleted, it would give way to its other version.
    return IN_CONFLICT if is_in_conflict else None


def _consider(doc: Document, is_in_conflict: bool, with_files: bool, found: Plan) -> None:
    reason = why_refused(doc, is_in_conflict)
    if reason is not None:
        found.refused[doc['_id']] = reason
        return
    copies = tuple(copy.location for copy in copies_of(doc)) if with_files else ()
    run = str(doc.get('run', doc['_id'] if is_run(doc) else '-'))
    found.candidates.append(Candidate(doc['_id'], doc['_rev'], run, str(doc.get('status')), is_run(doc), copies))


def _leave_what_others_name(database: Database, found: Plan) -> None:
    asked = {one.doc_id for one in found.candidates}
    names = Names(copy for one in found.candidates for copy in one.copies)
    for page in pages(database):
        for doc in page:
            if doc['_id'] not in asked:
                names.seen(doc)
    counts = Counter(copy for one in found.candidates for copy in one.copies)
    for one in found.candidates:
        for copy in one.copies:
            if copy in names.named or counts[copy] > 1:
                found.refused[one.doc_id] = f'another document names its copy {redact(copy)}'
    found.candidates = [one for one in found.candidates if one.doc_id not in found.refused]


class Remover:
    """Deletes documents, one after the other, and copies in one folder."""

    def __init__(self, database: Database, folder: GuardedFolder | None, looker: Looker) -> None:
        """Without a `folder` no file is deleted."""
        self._database, self._folder, self._looker = database, folder, looker
        self._places = OtherPlaces(looker)

    def remove(self, candidate: Candidate) -> tuple[int, int]:
        """Delete a document; returns how many copies went with it, and their bytes.

        Raises StepError, with the reason, where it stays; or, where that says so, a copy of a document that is gone.
        """
        doc = self._database.existing([candidate.doc_id]).get(candidate.doc_id)
        if doc is None or doc['_rev'] != candidate.revision:
            raise StepError(CHANGED)
        if (reason := why_refused(doc, bool(self._database.conflicts([candidate.doc_id])))) is not None:
            raise StepError(reason)
        if candidate.is_run and views.ids_of_run(self._database, candidate.doc_id):
            raise StepError(FILES_LEFT)
        with ExitStack() as stack:
            copies = self._verified(doc, stack) if self._folder is not None and candidate.copies else {}
            self._delete(doc)
            for location, copy in copies.items():
                try:
                    copy.unlink()
                except (OSError, StepError) as error:
                    reason = str(getattr(error, 'strerror', None) or error)
                    raise StepError(f'the document is deleted, but not its copy {location}: {reason}') from error
            return len(copies), sum(copy.state.size for copy in copies.values())

    def _verified(self, doc: Document, stack: ExitStack) -> dict[str, OpenFile]:
        """The copies of a document that are there, open, by their locations. Raises StepError unless all may go."""
        assert self._folder is not None
        original = next((file for file in files_of(doc) if file.role == ORIGINAL), None)
        md5sum = md5_of_field(doc.get('md5sum'))
        if original is None or md5sum is None or is_deleted(doc):
            raise StepError('it has no original that its copies could be compared with')
        name = redact(original.location)
        state = self._looker.state(original)
        if state is None:
            raise StepError(f'its original {name} is missing: a copy may be the last one')
        found = {}
        for copy in copies_of(doc):
            if is_url(copy.location) or self._folder.parts(copy.location) is None:
                raise StepError(f'its copy {redact(copy.location)} is not in {self._folder.path}')
            try:
                file = stack.enter_context(self._folder.opened(copy.location))
            except StepError as error:
                # Asked twice: where a disk is not mounted, the second one raises.
                if str(error) != NO_FILE or self._looker.state(copy) is not None:
                    raise StepError(f'its copy {copy.location}: {error}') from None
                continue
            if state.is_same_file(file.state):
                raise StepError(f'its original {name} is the same file as its copy {copy.location}, by another name')
            if is_url(original.location):
                self._places.check(original.location, copy.location, file.links)
            with reading(copy.location):
                its_md5 = md5_from_disk(file.stream)
            if its_md5 != md5sum:
                raise StepError(f'its copy {copy.location} has the md5 {its_md5}, not that of the document')
            found[copy.location] = file
        # At last, so that little time passes until the copies are gone.
        its_md5 = self._looker.md5(original.location)
        if its_md5 != md5sum:
            raise StepError(f'its original {name} has the md5 {its_md5}, not {md5sum}: a copy may be the last one')
        if self._looker.state(original) != state:
            raise StepError(f'its original {name} is being written to')
        return found

    def _delete(self, doc: Document) -> None:
        note = {'time': time.time(), 'hostname': socket.gethostname()}
        gone: dict[str, Any] = {'_id': doc['_id'], '_rev': doc['_rev'], '_deleted': True, 'deleted': note}
        gone |= {name: doc[name] for name in ('run', 'type') if name in doc}
        row = self._database.bulk_docs([gone])[0]
        if row.get('error') == 'conflict':
            raise StepError(CHANGED)
        guarding.check_written(row, 'deleted')
