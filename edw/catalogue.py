"""Adding data files to the database: one document each, in the form that the listeners process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from edw import files, runs
from edw.couch import Database, Document
from edw.documents import GOOD
from edw.errors import Conflict, EdwError

BATCH = 1000  # documents in one request
ACQUIRING = 'acquiring'  # status of the document that holds a run's name while its files are being written
DERIVED = '.amp.root'  # ending of the files that the analysis writes

T = TypeVar('T')


@dataclass
class Registered:
    """What became of the data files of a folder; file names, but for `new`, which counts documents."""

    new: int = 0
    known: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # with the reason


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


def insert(database: Database, docs: list[Document], on_batch: Callable[[int], object] | None = None) -> list[str]:
    """Write new documents, BATCH a request; returns `ID: reason` of those that the server did not take.

    A document that is there already with the same md5 counts as written. `on_batch` is called with the size
    of each batch.
    """
    refused = []
    for batch in _batches(docs):
        rows = database.bulk_docs(batch)
        taken = {doc['_id']: row for doc, row in zip(batch, rows, strict=True) if row.get('error')}
        present = database.existing(taken) if taken else {}
        for doc in batch:
            if doc['_id'] in taken and present.get(doc['_id'], {}).get('md5sum') != doc['md5sum']:
                row = taken[doc['_id']]
                refused.append(f'{doc["_id"]}: {row.get("reason") or row["error"]}')
        if on_batch:
            on_batch(len(batch))
    return refused


def register(
    database: Database,
    folder: Path,
    settle: float,
    read_conditions: Callable[[Path], dict[str, Any]],
    progress: Callable[[list[Path]], Iterable[Path]],
) -> Registered:
    """Make a document for each data file (*.root) of a folder that has none.

    Files that changed in the last `settle` seconds may still be written to: they are left for the next call.
    """
    if not folder.is_dir():
        raise EdwError(f'{folder}: {"is not a folder" if folder.exists() else "no such folder"}')
    done = Registered()
    now = time.time()
    waiting = []
    for file in sorted(folder.glob('*.root')):
        if file.name.startswith('.') or file.name.endswith(DERIVED) or not file.is_file():
            continue
        if now - file.stat().st_mtime < settle:
            done.unsettled.append(file.name)
        else:
            waiting.append(file)
    for batch in _batches(progress(waiting)):
        present = database.existing(file.stem for file in batch)
        docs = []
        for file in batch:
            there = present.get(file.stem)
            # The reserved name of a run whose seeding was broken off is completed.
            if there and there.get('status') != ACQUIRING:
                if there.get('original_file') != str(file.resolve()) and there.get('md5sum') != files.md5_of(file):
                    done.failed.append(f'{file}: document {file.stem} is that of another file of this name; rename one')
                else:
                    done.known.append(file.name)
            elif file.name.startswith('_'):
                done.failed.append(f'{file}: a document id cannot begin with an underscore; rename the file')
            else:
                try:
                    doc = new_document(
                        file.stem, runs.run_of(file.stem) or file.stem, file.resolve(), read_conditions(file)
                    )
                except OSError as error:
                    done.failed.append(f'{file} cannot be read: {error.strerror}')
                    continue
                docs.append({**doc, '_rev': there['_rev']} if there else doc)
        refused = insert(database, docs)
        done.new += len(docs) - len(refused)
        done.failed += refused
    return done


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
