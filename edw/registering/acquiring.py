"""A run of the simulated acquisition: its name, its files and their documents; all of them, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edw import files
from edw.database.client import Database
from edw.errors import Conflict, EdwError, SettingsError
from edw.model.documents import ACQUIRING, Document
from edw.registering import catalogue, runs
from edw.storage.places import is_url

Simulate = Callable[[Path, int], dict[str, Any]]  # writes the file with a number, and returns its conditions


def folder(raw: str) -> Path:
    """The folder that data files are written to, made where it is not there. Raises EdwError."""
    if is_url(raw):
        raise SettingsError('[data] raw: the simulated acquisition writes to a local folder, not to a URL.')
    made = Path(raw)
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdwError(f'{made} cannot be made: {error.strerror}. Set [data] raw to a folder that can.') from None
    return made


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


def take(
    database: Database, reserved: Document, raw: Path, numbers: Iterable[int], simulate: Simulate, condition: str | None
) -> list[Document]:
    """Write the files of a reserved run, of these numbers from 0; returns their documents, which are not uploaded.

    Where that breaks off nothing half done is left: neither files without documents, nor a run without files. Raises
    EdwError where a file cannot be written.
    """
    run, docs = reserved['run'], list[Document]()
    try:
        for number in numbers:
            doc_id = runs.file_id(run, number)
            path = raw / f'{doc_id}.root'
            with files.replacing(path) as temporary:
                conditions = simulate(temporary, number)
            docs.append(catalogue.new_document(doc_id, run, path, conditions, condition))
    except BaseException as error:
        for doc in docs:
            Path(doc['original_file']).unlink(missing_ok=True)
        database.delete(reserved)
        if isinstance(error, OSError):
            raise EdwError(f'{raw} cannot be written to: {error.strerror}. No document was made.') from None
        raise
    docs[0]['_rev'] = reserved['_rev']
    return docs


def upload(database: Database, docs: list[Document], raw: Path, on_batch: Callable[[int], object]) -> dict[str, str]:
    """Write the documents, as `catalogue.insert` does. Raises EdwError, which says how those get in that did not."""
    uploaded = 0

    def count(size: int) -> None:
        nonlocal uploaded
        uploaded += size
        on_batch(size)

    try:
        return catalogue.insert(database, docs, count)
    except EdwError as error:
        way_out = f'Register what is missing with: python make_metadata.py --from {raw} --settle 0'
        of_all = f'{uploaded} of {len(docs)} document{"s" * (len(docs) != 1)}'
        raise EdwError(f'{error}\nUploaded were at least {of_all}. {way_out}') from None
