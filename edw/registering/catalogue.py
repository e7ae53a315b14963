"""Documents of data files: one each, in the form that the listeners process; and those of closed runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edw.database import storable
from edw.database.client import Database, batches
from edw.errors import Conflict, DatabaseError, EdwError, SettingsError
from edw.model.documents import CLOSED, GOOD, RUN, Document, is_run
from edw.registering import contents, runs

BATCH = 1000  # documents in one request


def new_document(
    doc_id: str, run: str, file: Path, conditions: dict[str, Any], condition: str | None = None
) -> Document:
    """The document of a data file that nothing has been done to yet.

    `condition` is the kind of run, where it is known. `md5sum`, `size` in bytes and `modified` in seconds since
    the epoch are those of the file. Raises OSError, and StillWritten or NoData, as `contents.read` does.
    """
    content = contents.read(file)
    return {
        '_id': doc_id,
        'run': run,
        **({} if condition is None else {'condition': condition}),
        'conditions': conditions,
        'original_file': str(file),
        'size': content.state.size,
        'modified': content.mtime,
        'md5sum': content.md5sum,
        'datecreated': time.time(),
        'status': GOOD,
        'process': [],
    }


def conditions_in(file: str) -> dict[str, Any]:
    """What is to stand in `conditions` of each document: the JSON object in a file. Raises SettingsError."""
    try:
        found = json.loads(Path(file).read_bytes())
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except OSError as error:
        raise SettingsError(f'{file}: cannot be read: {error.strerror or error}') from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f'{file!r}: is no JSON that can be kept: {error}') from None
    if not isinstance(found, dict):
        raise SettingsError(f'{file!r}: is no JSON object, {{"NAME": VALUE, ...}}')
    if (fault := storable.fault({'_id': 'x', 'conditions': found})) is not None:
        raise SettingsError(f'{file!r}: {fault}')
    return found


def insert(database: Database, docs: list[Document], on_batch: Callable[[int], object] | None = None) -> dict[str, str]:
    """Write new documents, BATCH a request; returns the reason for each that the server did not take, by id.

    A document that is there already with the same md5 counts as written. `on_batch` is called with the size
    of each batch.
    """
    refused = {}
    for batch in batches(docs, BATCH):
        rows = database.bulk_docs(batch)
        taken = {doc['_id']: row for doc, row in zip(batch, rows, strict=True) if row.get('error')}
        present = database.existing(taken)
        for doc in batch:
            if doc['_id'] in taken and present.get(doc['_id'], {}).get('md5sum') != doc['md5sum']:
                row = taken[doc['_id']]
                refused[doc['_id']] = f'{doc["_id"]}: {row.get("reason") or row["error"]}'
        if on_batch:
            on_batch(len(batch))
    return refused


def run_document(run: str, now: float, condition: str | None = None) -> Document:
    """The document of a run that was closed at the time `now`, in seconds since the epoch; with its kind, if known.

    Its id is the run's name. It has no field `run`, which is of files, and until the run is complete its status keeps
    every listener away.
    """
    kind = {} if condition is None else {'condition': condition}
    return {'_id': run, 'type': RUN, **kind, 'status': CLOSED, 'datecreated': now, 'process': []}


def close_run(database: Database, run: str, now: float, condition: str | None = None) -> bool:
    """Close a run. False where it was closed already. Raises EdwError where a file's document has its name."""
    try:
        database.put(run_document(run, now, condition))
    except Conflict:
        if not is_run(database.get(run)):
            raise EdwError(f'document {run} is that of a file: a run of this name cannot be closed') from None
        return False
    return True


def close_runs(database: Database, wanted: Iterable[str], now: float) -> tuple[list[str], list[str]]:
    """Close those of some runs that are open; returns these, and what is wrong with others, as `close_run` says it."""
    closed, wrong = [], []
    for batch in batches(sorted(wanted), BATCH):
        present = database.existing(batch)
        for run in batch:
            try:
                if not is_run(present.get(run, {})) and close_run(database, run, now, runs.condition_of(database, run)):
                    closed.append(run)
            except DatabaseError:
                raise
            except EdwError as error:
                wrong.append(str(error))
    return closed, wrong


def deletions(database: Database) -> object:
    """A value that differs after a document was deleted; where the server does not count these, after any change."""
    info = database.info()
    return info.get('doc_del_count', info['update_seq'])


def missing(database: Database, doc_ids: Iterable[str]) -> set[str]:
    """Those of the ids that no document has."""
    wanted = set(doc_ids)
    for batch in batches(sorted(wanted), BATCH):
        wanted -= database.existing(batch).keys()
    return wanted
