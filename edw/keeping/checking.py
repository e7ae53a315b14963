"""The catalogue against the storage: what is wrong with the files of a document, and writing it into the document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping.copies import ORIGINAL, Named, files_of, is_deleted, superseded_of
from edw.keeping.looking import Looker, State
from edw.model.documents import ACQUIRING, Document

GOOD, BAD = 'good', 'bad'  # results
MISSING, SIZE, MD5, LEFT, ODD = 'missing', 'size', 'md5', 'left', 'odd'  # what is wrong


@dataclass(frozen=True)
class Finding:
    """Something wrong with a file: `what` is MISSING, SIZE, MD5, LEFT (an original that was to be deleted) or ODD."""

    doc_id: str
    run: str
    role: str
    file: str
    what: str
    text: str


@dataclass
class Looked:
    """What was found of a document's files; `unseen` are those whose place is away."""

    wrong: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    files: int = 0
    with_md5: bool = False


@dataclass
class Report:
    """What was found of all documents: `away` counts files by what is said of their place."""

    documents: int = 0
    files: int = 0
    wrong: list[Finding] = field(default_factory=list)
    away: Counter[str] = field(default_factory=Counter)
    unwritten: dict[str, str] = field(default_factory=dict)  # documents whose finding is not in them, and why

    def add(self, looked: Looked) -> None:
        """Count a document."""
        self.documents += looked.files > 0  # a run's document may have none
        self.files += looked.files
        self.wrong += looked.wrong


def look(
    doc: Document,
    looker: Looker,
    with_md5: bool,
    away: Counter[str],
    on_read: Callable[[int], object] | None = None,
) -> Looked:
    """Look at all files of a document; `on_read` is told the size of each that was read.

    Files of places that are away are counted in `away`, and are not found to be missing.
    """
    looked = Looked(with_md5=with_md5)
    if doc.get('status') == ACQUIRING:
        return looked  # its files are being written
    for file in _files(doc):
        looked.files += 1
        try:
            state = looker.state(file)
            found = _fault(doc, file, state)
            if found is None and state is not None and with_md5 and file.md5sum is not None:
                md5sum = looker.md5(file.location)
                if on_read is not None:
                    on_read(state.size)
                if md5sum != file.md5sum:
                    found = MD5, f'has the md5 {md5sum}, not {file.md5sum}'
        except TryLater as error:
            if file.role == ORIGINAL and is_deleted(doc):
                continue  # of a folder whose originals were all deleted nothing need be there
            away[str(error)] += 1
            looked.unseen.append(file.location)
            continue
        except StepError as error:
            found = ODD, str(error)
        if found is not None:
            run = doc.get('run')
            looked.wrong.append(
                Finding(doc['_id'], run if isinstance(run, str) else '', file.role, file.location, *found)
            )
    return looked


def checked(doc: Document, looked: Looked, now: float, hostname: str) -> Document | None:
    """The document with what was found in its field `checked`; None where there is no news to write.

    Bytes that were read are news, and so is what differs from what stands there. That sizes are as they were is none:
    it would be a new revision of each document, every night. A wrong md5 stays until every byte was read again, and
    nothing is forgotten of a file whose place is away.
    """
    if not looked.files:
        return None
    before = doc.get('checked')
    old = before.get('wrong') if isinstance(before, dict) else None
    wrong = [{'file': finding.file, 'what': finding.what, 'text': finding.text} for finding in looked.wrong]
    seen_anew = {finding.file for finding in looked.wrong}
    present = {file.location for file in _files(doc)}
    for entry in old if isinstance(old, list) else []:
        file = entry.get('file') if isinstance(entry, dict) else None
        is_known_again = file in looked.unseen or (entry.get('what') == MD5 and not looked.with_md5) if file else False
        if is_known_again and file in present and file not in seen_anew:
            wrong.append(entry)
    result = BAD if wrong else GOOD
    is_news = wrong != (old if isinstance(old, list) else [])
    if not is_news and (not looked.with_md5 or looked.unseen):
        return None
    note: dict[str, Any] = {'time': now, 'hostname': hostname, 'md5': looked.with_md5, 'result': result, 'wrong': wrong}
    if looked.unseen:
        note['unseen'] = len(looked.unseen)
    return {**doc, 'checked': note}


class Recorder:
    """Writes what was found into the documents, each on the revision that was looked at.

    A claimed document is left to its listener, whose result would have to be put on another revision; it is written at
    the end, if it is free by then. So is what somebody changed meanwhile, if its files are still the same.
    """

    def __init__(self, database: Database, clock: Callable[[], float], hostname: str) -> None:
        self._database, self._clock, self._hostname = database, clock, hostname
        self._later: list[tuple[Document, Looked]] = []

    def record(self, found: Iterable[tuple[Document, Looked]]) -> dict[str, str]:
        """Write a page; returns the reasons for each document that the server refuses for good."""
        versions, sources = [], []
        for doc, looked in found:
            version = checked(doc, looked, self._clock(), self._hostname)
            if version is None:
                continue
            if doc.get('claim') is not None:
                self._put_off(doc, looked)
                continue
            versions.append(version)
            sources.append((doc, looked))
        refused = {}
        for (doc, looked), row in zip(sources, self._database.bulk_docs(versions) if versions else [], strict=True):
            if row.get('error') == 'conflict':
                self._put_off(doc, looked)
            elif row.get('error'):
                refused[doc['_id']] = str(row.get('reason') or row['error'])
        return refused

    def finish(self) -> dict[str, str]:
        """Write what was put off, once; returns the reasons for what is not written."""
        later, self._later = self._later, []
        unwritten = {}
        current = self._database.existing(doc['_id'] for doc, _ in later)
        again = []
        for doc, looked in later:
            now = current.get(doc['_id'])
            if now is None:
                unwritten[doc['_id']] = 'was deleted meanwhile'
            elif _files(now) != _files(doc) or is_deleted(now) != is_deleted(doc):
                unwritten[doc['_id']] = 'got other files meanwhile'
            elif now.get('claim') is not None:
                unwritten[doc['_id']] = 'a listener is at it'
            else:
                again.append((now, looked))
        unwritten |= self.record(again)
        unwritten |= {doc['_id']: 'was changed again and again' for doc, _ in self._later}
        return unwritten

    def _put_off(self, doc: Document, looked: Looked) -> None:
        # Without what may be large and is not asked again.
        kept = ('_id', 'original_file', 'size', 'md5sum', 'process', 'superseded', 'original_deleted')
        self._later.append(({name: doc[name] for name in kept if name in doc}, looked))


def _files(doc: Document) -> list[Named]:
    return [*files_of(doc), *superseded_of(doc)]


def _fault(doc: Document, file: Named, state: State | None) -> tuple[str, str] | None:
    if file.role == ORIGINAL and is_deleted(doc):
        return None if state is None else (LEFT, 'is still there, though the document says that it was deleted')
    if state is None:
        return MISSING, 'is missing'
    if file.size is not None and state.size != file.size:
        return SIZE, f'has {state.size} bytes, not {file.size}'
    return None
