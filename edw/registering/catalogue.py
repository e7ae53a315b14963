"""Adding data files to the database: one document each, in the form that the listeners process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edw import files
from edw.database.client import Database, batches
from edw.errors import Conflict, EdwError
from edw.model.documents import ACQUIRING, GOOD, Document
from edw.registering import runs

BATCH = 1000  # documents in one request
DERIVED = '.amp.root'  # ending of the files that the analysis writes
FUTURE = 60.0  # seconds that the clock of a file server may be ahead without a word

NOT_UTF8 = 'a document can only hold a path that is UTF-8; rename the folder'

T = TypeVar('T')
ReadConditions = Callable[[Path], dict[str, Any]]


@dataclass
class Registered:
    """What became of data files; their names, but for `new`, which counts documents."""

    new: int = 0
    known: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # the reason, which names the file too

    def add(self, other: Registered) -> None:
        """What became of further files."""
        self.new += other.new
        self.known += other.known
        self.unsettled += other.unsettled
        self.failed |= other.failed


def reserve_run(database: Database, is_taken: Callable[[str], bool]) -> Document:
    """Reserve the next run by creating the document of its first file; returns that document.

    The server lets only one of two callers create it: the loser takes the run after that. Its status keeps
    every listener away. `is_taken` says of a run that it cannot be used although the database has none of it.
    """
    run = runs.next_run(runs.highest_run(database))
    while True:
        if not is_taken(run):
            doc = {'_id': runs.file_id(run, 0), 'run': run, 'status': ACQUIRING, 'datecreated': time.time()}
            try:
                return {**doc, '_rev': database.put(doc)['rev']}
            except Conflict:
                pass  # somebody else took this run since it was found free
        run = runs.next_run(run)


def new_document(doc_id: str, run: str, file: Path, conditions: dict[str, Any]) -> Document:
    """The document of a data file that nothing has been done to yet; md5 and size are those of the file."""
    return {
        '_id': doc_id,
        'run': run,
        'conditions': conditions,
        'original_file': str(file),
        'size': file.stat().st_size,
        'md5sum': files.md5_of(file),
        'datecreated': time.time(),
        'status': GOOD,
        'process': [],
    }


def insert(database: Database, docs: list[Document], on_batch: Callable[[int], object] | None = None) -> dict[str, str]:
    """Write new documents, BATCH a request; returns the reason for each that the server did not take, by id.

    A document that is there already with the same md5 counts as written. `on_batch` is called with the size
    of each batch.
    """
    refused = {}
    for batch in batches(docs, BATCH):
        rows = database.bulk_docs(batch)
        taken = {doc['_id']: row for doc, row in zip(batch, rows, strict=True) if row.get('error')}
        present = database.existing(taken) if taken else {}
        for doc in batch:
            if doc['_id'] in taken and present.get(doc['_id'], {}).get('md5sum') != doc['md5sum']:
                row = taken[doc['_id']]
                refused[doc['_id']] = f'{doc["_id"]}: {row.get("reason") or row["error"]}'
        if on_batch:
            on_batch(len(batch))
    return refused


def data_files(folder: Path) -> list[Path]:
    """The data files (*.root) of a folder, sorted. Raises EdwError where there is no such folder."""
    try:
        # Not glob, to which a folder that nobody may read is an empty one.
        return [file for file in sorted(folder.iterdir()) if is_data_file(file)]
    except FileNotFoundError:
        raise EdwError(f'{folder}: no such folder') from None
    except NotADirectoryError:
        raise EdwError(f'{folder}: is not a folder') from None
    except OSError as error:
        raise EdwError(f'{folder}: cannot be read: {error.strerror}') from None


def is_data_file(file: Path) -> bool:
    """Whether it is a file that gets a document: none that is hidden, or that the analysis writes."""
    hidden_or_derived = file.name.startswith('.') or file.name.endswith(DERIVED)
    return file.name.endswith('.root') and not hidden_or_derived and file.is_file()


def register(
    database: Database,
    folder: Path,
    settle: float,
    read_conditions: ReadConditions,
    progress: Callable[[list[Path]], Iterable[Path]],
) -> Registered:
    """Make a document for each data file (*.root) of a folder that has none.

    Files that changed in the last `settle` seconds may still be written to: they are left for the next call. So are
    those that are dated in the future; they count as failed, because that call may be far away.
    """
    now = time.time()
    done, waiting = Registered(), []
    for file in data_files(folder):
        try:
            age = now - file.stat().st_mtime
        except FileNotFoundError:
            age = 0.0
        if age < -FUTURE:
            # A single look cannot tell whether it is being written to.
            done.failed[file.name] = (
                f'{file}: is dated in the future, so that a clock is wrong; if it is finished, touch it'
            )
        elif age < settle:
            done.unsettled.append(file.name)
        else:
            waiting.append(file)
    for batch in batches(progress(waiting), BATCH):
        done.add(register_files(database, batch, read_conditions))
    return done


def register_files(database: Database, batch: Iterable[Path], read_conditions: ReadConditions) -> Registered:
    """Make a document for each of these data files that has none, in one request; nobody writes to them any more."""
    done = Registered()
    chosen = {}  # by id of the document
    for file in batch:
        if reason := _not_registrable(file):
            done.failed[file.name] = reason
        else:
            chosen[file.stem] = file
    present = database.existing(chosen) if chosen else {}
    docs = []
    for doc_id, file in chosen.items():
        there = present.get(doc_id)
        try:
            # The reserved name of a run whose seeding was broken off is completed.
            if there and there.get('status') != ACQUIRING:
                if there.get('original_file') != str(file.resolve()) and there.get('md5sum') != files.md5_of(file):
                    done.failed[file.name] = (
                        f'{file}: document {doc_id} is that of another file of this name; rename one'
                    )
                else:
                    done.known.append(file.name)
                continue
            conditions = read_conditions(file)
            # One bad value (NaN, half a surrogate pair) would make the server refuse a whole batch.
            json.dumps(conditions, allow_nan=False, ensure_ascii=False).encode()
            doc = new_document(doc_id, runs.run_of(doc_id) or doc_id, file.resolve(), conditions)
        except OSError as error:
            done.failed[file.name] = f'{file} cannot be read: {error.strerror}'
            continue
        except ValueError as error:
            done.failed[file.name] = f'{file}: its run conditions cannot be kept as JSON: {error}'
            continue
        docs.append({**doc, '_rev': there['_rev']} if there else doc)
    refused = insert(database, docs)
    done.new = len(docs) - len(refused)
    done.failed |= {chosen[doc_id].name: reason for doc_id, reason in refused.items()}
    return done


def _not_registrable(file: Path) -> str | None:
    """Why a file's name can be no document's id; None where it can."""
    if file.name.startswith('_'):
        return f'{file}: a document id cannot begin with an underscore; rename the file'
    for text, what in ((file.name, 'a document id must be UTF-8; rename the file'), (file.resolve(), NOT_UTF8)):
        try:
            str(text).encode()
        except UnicodeEncodeError:
            return f'{os.fsencode(file)!r}: {what}'
    return None
