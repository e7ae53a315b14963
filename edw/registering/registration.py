"""Data files get their documents: which are new, which are known, and which have changed since."""

from __future__ import annotations

import glob
import json
import shlex
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edw.database.client import Database, batches
from edw.model.documents import ACQUIRING, Document, cut_back, is_failed_status, number
from edw.registering import catalogue, contents, folders, names
from edw.registering.contents import NoData, StillWritten, Verdict
from edw.registering.folders import DataFile, Kind, Selection

ReadHeader = Callable[[Path], tuple[dict[str, Any], str | None]]  # the run conditions, and the kind of run
Waiting = dict[Path, tuple[DataFile, Document | None]]  # files to be registered, with the documents that they have


@dataclass
class Registered:
    """What became of data files."""

    new: list[Path] = field(default_factory=list)
    anew: list[Path] = field(default_factory=list)  # their documents were made of what was there before
    known: list[Path] = field(default_factory=list)
    unsettled: list[Path] = field(default_factory=list)  # changed between two looks
    unmarked: list[Path] = field(default_factory=list)
    changed: dict[Path, str] = field(default_factory=dict)  # are not what their documents were made of, and may not be
    refused: dict[Path, str] = field(default_factory=dict)  # until the file changes, or a document is deleted
    failed: dict[Path, str] = field(default_factory=dict)  # another attempt may succeed
    redone: list[str] = field(default_factory=list)  # ids of those that all steps are done again on
    to_requeue: list[str] = field(default_factory=list)  # ids of documents that were made anew and had failed before
    passed: Counter[Kind] = field(default_factory=Counter)

    def add(self, other: Registered) -> None:
        """What became of further files."""
        self.new += other.new
        self.anew += other.anew
        self.known += other.known
        self.unsettled += other.unsettled
        self.unmarked += other.unmarked
        self.changed |= other.changed
        self.refused |= other.refused
        self.failed |= other.failed
        self.redone += other.redone
        self.to_requeue += other.to_requeue
        self.passed += other.passed

    @property
    def complaints(self) -> list[str]:
        """Why files have no document, or one that is not of them; each names its file."""
        return [*self.changed.values(), *self.refused.values(), *self.failed.values()]


class Registrar:
    """Makes documents for data files.

    With `update`, a document is made anew where its file has changed and no step has begun on what it was; with `redo`
    also where steps were done, which are done again then. `condition` is the kind of run of all of them, whose headers
    may say the same or nothing.
    """

    def __init__(
        self,
        database: Database,
        read_header: ReadHeader,
        update: bool = False,
        condition: str | None = None,
        redo: bool = False,
    ) -> None:
        self._database = database
        self._read_header = read_header
        self._update = update
        self._condition = condition
        self._redo = redo

    def sift(self, looked_at: Sequence[DataFile]) -> tuple[Registered, list[DataFile]]:
        """What there is to say of files before anybody waits for them, and those that are to be registered.

        `looked_at` are all files of a look: what two of them have in common is only seen where both are.
        """
        done, waiting = self._sift(looked_at)
        return done, [file for file, _ in waiting.values()]

    def register(self, chosen: Sequence[DataFile]) -> Registered:
        """Make the documents of files that nobody writes to any more."""
        done, waiting = self._sift(chosen)
        for batch in batches(waiting.values(), catalogue.BATCH):
            made: dict[str, tuple[DataFile, Document | None, Document]] = {}
            for file, there in batch:
                # On the revision that was sifted: a claim that came since makes it a conflict.
                doc = self._document(file, there, done)
                if doc is not None:
                    made[file.doc_id] = file, there, doc
            refused = catalogue.insert(self._database, [doc for _, _, doc in made.values()])
            for doc_id, (file, there, doc) in made.items():
                if doc_id in refused:
                    done.failed[file.path] = f'{file.path}: {refused[doc_id]}'
                elif _is_without_file(there):
                    done.new.append(file.path)
                else:
                    done.anew.append(file.path)
                    if there is not None and _first_done(there) is not None:
                        done.redone.append(doc_id)
                    if is_failed_status(doc.get('status')):
                        done.to_requeue.append(doc_id)
        return done

    def _sift(self, looked_at: Sequence[DataFile]) -> tuple[Registered, Waiting]:
        done = Registered()
        waiting: Waiting = {}
        usable = []
        for file in looked_at:
            if reason := names.unusable(file.path, file.real):
                done.refused[file.path] = reason
            else:
                usable.append(file)
        touched: list[Document] = []
        for batch in batches(usable, catalogue.BATCH):
            present = self._database.existing(sorted({file.doc_id for file in batch}))
            for file in batch:
                there = present.get(file.doc_id)
                if there is None or _is_without_file(there):
                    waiting[file.path] = file, there
                else:
                    self._sift_known(file, there, done, waiting, touched)
        _refuse_shared(usable, done, waiting)
        for docs in batches(touched, catalogue.BATCH):
            self._database.bulk_docs(docs)  # what is refused keeps its date, and is read again at the next look
        return done, waiting

    def _sift_known(
        self,
        file: DataFile,
        there: Document,
        done: Registered,
        waiting: Waiting,
        touched: list[Document],
    ) -> None:
        try:
            verdict = contents.compare(
                there, file.real, file.state, file.mtime, lambda: contents.read(file.real).md5sum
            )
        except FileNotFoundError:
            return  # deleted since the look
        except OSError as error:
            done.failed[file.path] = f'{file.path}: cannot be read: {error.strerror or error}'
        except StillWritten:
            done.unsettled.append(file.path)
        except NoData as error:
            done.refused[file.path] = str(error)
        else:
            if verdict is Verdict.OTHER:
                done.refused[file.path] = (
                    f'{file.path}: document {file.doc_id} is that of another file of this name, '
                    f'{there.get("original_file")}; rename one'
                )
            elif verdict is Verdict.CHANGED and not self._may_be_made_anew(there):
                done.changed[file.path] = _changed(file, there)
            elif verdict is Verdict.CHANGED:
                waiting[file.path] = file, there
            else:
                done.known.append(file.path)
                # So that it is not read again at each look. A listener that is at it would have to write twice.
                if verdict is Verdict.TOUCHED and self._update and there.get('claim') is None:
                    touched.append({**there, 'modified': file.mtime})

    def _may_be_made_anew(self, there: Document) -> bool:
        return self._update and (_begun_with(there) is None or (self._redo and _first_done(there) is not None))

    def _document(self, file: DataFile, there: Document | None, done: Registered) -> Document | None:
        """The document of a file, new or made anew; None where it can have none, which `done` says then."""
        if file.run is None:
            done.refused[file.path] = f'{file.path}: does not fit --run-pattern, which has to tell its run'
            return None
        try:
            contents.check(file.path)
            conditions, condition = self._read_header(file.path)
            # One bad value (NaN, half a surrogate pair) would make the server refuse a whole batch.
            json.dumps(conditions, allow_nan=False, ensure_ascii=False).encode()
            condition = self._condition_of(file, condition)
            doc = catalogue.new_document(file.doc_id, file.run, file.real, conditions, condition)
        except FileNotFoundError:
            return None  # deleted since the look
        except OSError as error:
            done.failed[file.path] = f'{file.path}: cannot be read: {error.strerror or error}'
            return None
        except StillWritten:
            done.unsettled.append(file.path)
            return None
        except NoData as error:
            done.refused[file.path] = str(error)
            return None
        except ValueError as error:
            done.refused[file.path] = f'{file.path}: its run conditions cannot be kept as JSON: {error}'
            return None
        if (doc['size'], doc['modified']) != (file.state.size, file.mtime):
            done.unsettled.append(file.path)  # since the look that it was the same at
            return None
        if there is None:
            return doc
        if _is_without_file(there):
            return {**doc, '_rev': there['_rev']}
        of_the_file = ('size', 'modified', 'md5sum', 'condition', *(['conditions'] if conditions else []))
        # In one write: requeued before, it would go through the steps with what it was; after, none would be cut.
        first = _first_done(there)
        cut = there if first is None else cut_back(there, first, time.time(), socket.gethostname())
        return {**cut, **{name: doc[name] for name in of_the_file if name in doc}}

    def _condition_of(self, file: DataFile, in_header: str | None) -> str | None:
        """The kind of run of a file, by its header or as it was given. Raises NoData where the two differ."""
        if in_header is None or self._condition in (None, in_header):
            return in_header or self._condition
        raise NoData(
            f'{file.path}: its header says that its run is {in_header}, and not {self._condition}; register it '
            'without --condition, or with that one'
        )


def register(
    registrar: Registrar,
    folder: Path,
    selection: Selection,
    settle: float,
    progress: Callable[[list[DataFile]], Iterable[DataFile]],
    on_wait: Callable[[int], object],
) -> Registered:
    """Make a document for each data file of a folder that has none, and that nobody writes to.

    Files that may get a document are looked at twice, `settle` seconds apart, whatever their dates are; those that
    changed are left for the next call. Where acquisition writes marks, these say it instead, and nothing is waited
    for. `on_wait` is called with the number of files before the time passes.
    """
    found = folders.look(folder, selection)
    done, waiting = registrar.sift(found.files)
    done.passed, done.unmarked = found.passed, found.unmarked
    done.failed |= found.failed
    if waiting and settle > 0 and selection.done_mark is None:
        on_wait(len(waiting))
        time.sleep(settle)
        second = {file.path: file for file in waiting if _is_the_same(file, selection)}
        done.unsettled += [file.path for file in waiting if file.path not in second and file.path.exists()]
        waiting = list(second.values())
    for batch in batches(progress(waiting), catalogue.BATCH):
        done.add(registrar.register(batch))
    return done


def _is_the_same(file: DataFile, selection: Selection) -> bool:
    now = folders.data_file(file.path, selection)
    return now is not None and now.state == file.state


def _refuse_shared(looked_at: list[DataFile], done: Registered, waiting: Waiting) -> None:
    """Refuse what is ambiguous and no document has decided: one id for two files, or one file for two ids.

    Whichever were taken, another order of looks would take another one.
    """
    by_id: defaultdict[str, list[DataFile]] = defaultdict(list)
    by_real: defaultdict[Path, list[DataFile]] = defaultdict(list)
    for file in looked_at:
        by_id[file.doc_id].append(file)
        by_real[file.real].append(file)
    for path, (file, there) in list(waiting.items()):
        if not _is_without_file(there):
            continue
        others = [other for other in by_id[file.doc_id] if other.real != file.real]
        aliases = [other for other in by_real[file.real] if other.doc_id != file.doc_id]
        if others:
            del waiting[path]
            done.refused[path] = (
                f'{path}: document {file.doc_id} would be that of {others[0].path} too, another file; rename one'
            )
        elif aliases:
            del waiting[path]
            done.refused[path] = f'{path}: leads to the same file as {aliases[0].path}; remove one of the links'
        elif path != by_real[file.real][0].path:
            del waiting[path]  # the same name for the same file, in another folder
            done.known.append(path)


def _is_without_file(doc: Document | None) -> bool:
    # The reserved name of a run whose seeding was broken off is completed.
    return doc is None or doc.get('status') == ACQUIRING


def _begun_with(doc: Document) -> str | None:
    """What was begun on a document: the first step that is done, or that a listener is at; None where nothing was."""
    process, claim = doc.get('process', []), doc.get('claim')
    if claim is not None:
        return str(claim.get('process')) if isinstance(claim, dict) else str(claim)
    return (_first_done(doc) or 'a step') if process else None


def _first_done(doc: Document) -> str | None:
    """The first of the steps that can be done again on other bytes; None where there is none.

    Not under a listener, and not where the original was deleted as others have it: then the file is none of its own.
    """
    process = doc.get('process')
    first = process[0] if isinstance(process, list) and process else None
    name = first.get('name') if isinstance(first, dict) else None
    is_free = doc.get('claim') is None and doc.get('original_deleted') is None
    return name if is_free and isinstance(name, str) else None


def _changed(file: DataFile, doc: Document) -> str:
    before, now = doc.get('size'), file.state.size
    sizes = 'other bytes' if number(before) in (None, now) else f'{before} bytes then, {now} now'
    said = f'{file.path}: is not what document {file.doc_id} was made of ({sizes})'
    step = _begun_with(doc)
    if step is None:
        return f'{said}; --update registers it anew'
    if doc.get('original_deleted') is not None:
        return f'{said}, whose original was deleted as there are copies of it; rename this one'
    folder, name = shlex.quote(str(file.path.parent)), shlex.quote(glob.escape(file.path.name))
    again = f'python make_metadata.py --from {folder} --pattern {name} --update'
    if doc.get('claim') is not None:
        return f'{said}, and {step} is at that; when it is done: {again}'
    if _first_done(doc) is None:
        return f'{said}, and its process names no step; correct the document by hand'
    return f'{said}, and {step} has begun on that. To register it anew and have all steps done again: {again}'
