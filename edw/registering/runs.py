"""Names of runs and of their files: `ma22a000` and `ma22a000_000`.

Year letter (m: 2012), month letter, day, acquisition machine, run number; then the number of the file.
"""

from __future__ import annotations

import re

from edw.database import views
from edw.database.client import Database, batches
from edw.errors import EdwError, NotFound

FIRST_RUN = 'ma22a000'  # of an empty database, the run of the original's example
LAST_NUMBER = 999  # of a run on one day and machine: three digits
MAX_FILES = 100_000  # of one run
PAGE = 500  # ids read at once

MACHINE = 4  # place of the machine's letter in the name of a run
FILE_ID = re.compile(r'(?P<run>(?P<day>[a-z][a-l](?:0[1-9]|[12]\d|3[01])[a-z])(?P<number>\d{3}))_\d{3,}')


def run_of(doc_id: str) -> str | None:
    """The run of a document with a name like `ma22a000_000`; None for other names."""
    match = FILE_ID.fullmatch(doc_id)
    return match['run'] if match else None


def file_id(run: str, number: int) -> str:
    """Id of the document, and stem of the name, of a run's file."""
    return f'{run}_{number:03d}'


def next_run(run: str | None) -> str:
    """The run after `run`; FIRST_RUN after None. Raises EdwError when its three digits are used up."""
    if run is None:
        return FIRST_RUN
    day, number = run[:-3], int(run[-3:])
    if number >= LAST_NUMBER:
        raise EdwError(f'run {run} is the last that {day} can number. Use another database: EDW_DBNAME or edw.ini.')
    return f'{day}{number + 1:03d}'


def highest_run(database: Database) -> str | None:
    """The highest run in the database; documents with other names are passed over.

    Ids are read downwards from the end: `_all_docs` sorts them by their bytes, and so do run names.
    """
    query = {'descending': True, 'limit': PAGE, 'startkey': '{', 'endkey': 'a'}  # `{` follows `z`
    while True:
        ids = [row['id'] for row in database.all_docs(**query)]
        for doc_id in ids:
            if run := run_of(doc_id):
                return run
        if len(ids) < PAGE:
            return None
        query.update(startkey=ids[-1], skip=1)


def condition_of(database: Database, run: str) -> str | None:
    """The kind of a run, by the documents of its files; None where none says it, two differ, or no view is there."""
    try:
        ids = views.ids_of_run(database, run)
    except NotFound:
        return None
    found: set[str] = set()
    for batch in batches(ids, PAGE):
        kinds = (doc.get('condition') for doc in database.existing(batch).values())
        found |= {kind for kind in kinds if isinstance(kind, str)}
    return found.pop() if len(found) == 1 else None


def run_before(database: Database, run: str) -> str | None:
    """The run of the same machine that comes before `run`, of those that the database has files of; None for the first.

    Machines measure side by side: a run of another one says nothing about this one.
    """
    key, skip = run, 0
    while True:
        rows = database.all_docs(descending=True, limit=1, startkey=key, endkey='a', skip=skip)
        if not rows:
            return None
        found = run_of(doc_id := rows[0]['id'])
        if found is not None and found != run and found[MACHINE] == run[MACHINE]:
            return found
        # All files of another run come after its name.
        key, skip = (doc_id, 1) if found is None else (found, 0)
