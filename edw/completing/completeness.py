"""Whether all files of a run are past a step, and what becomes of the run's document then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edw.database import views
from edw.database.client import Database
from edw.model import documents
from edw.model.documents import CLOSED, GOOD, HELD, RUN_COMPLETE, Document
from edw.operating.reprocessing import cut_before


@dataclass(frozen=True)
class Progress:
    """How far the files of a run are: `past` of them have the step behind them, `failed` will not get there as it is.

    `stamp` says which of its results they are: it differs when the step was done on another file, or again.
    """

    files: int
    past: int
    failed: int
    stamp: str

    @property
    def is_complete(self) -> bool:
        """Whether no file is still on its way. One that failed is not waited for: it may never be mended."""
        return self.past > 0 and self.past + self.failed == self.files


def progress(database: Database, run: str, step: str) -> Progress:
    """How far a run is, from two grouped views, whatever the number of its files."""
    counts: dict[bool, int] = {False: 0, True: 0}
    done: list[dict[str, Any]] = []
    ends = {'startkey': [run, step], 'endkey': [run, step, views.LAST]}
    for row in views.rows(database, views.PAST, group=True, **ends):
        # CouchDB has names that only look the same in one place (ICU collation).
        if row['key'][:2] == [run, step]:
            counts[row['key'][2]] += row['value']['count']
            done.append(row['value'])
    files = failed = 0
    for row in views.rows(database, views.RUNS, group_level=2, startkey=[run], endkey=[run, views.LAST]):
        if row['key'][0] == run:
            files += row['value']
            failed += row['value'] * documents.is_failed_status(row['key'][1])
    stamp = '/'.join(
        f'{total:.0f}'
        for total in (
            sum(value['count'] for value in done),
            sum(value['sum'] for value in done),
            max((value['max'] for value in done), default=0),
        )
    )
    # A file that failed in a later step is past this one, and counted with those that failed.
    return Progress(files, counts[False] + counts[True], failed - counts[True], stamp)


def completed(doc: Document, found: Progress, step: str, now: float, hostname: str) -> Document | None:
    """The document of a run, complete: with its first entry, or with another one if files were done again.

    None where there is nothing to write: files are on their way, it is complete already, or it is claimed or held, as
    somebody else has to be done with it first.
    """
    process = doc.get('process')
    if not found.is_complete or doc.get('claim') is not None or not isinstance(process, list):
        return None
    if doc.get('status') == HELD or (not process and doc.get('status') != CLOSED):
        return None
    first = process[0] if process else None
    if isinstance(first, dict) and first.get('stamp') == found.stamp:
        return None
    entry = {
        'name': RUN_COMPLETE,
        'hostname': hostname,
        'log': f'{found.past} {"file is" if found.past == 1 else "files are"} past {step}, {found.failed} failed',
        'after': step,
        'files': found.files,
        'past': found.past,
        'failed': found.failed,
        'stamp': found.stamp,
        'started': now,
        'finished': now,
    }
    cut = cut_before(doc, RUN_COMPLETE, now, hostname) if process else doc
    return {**cut, 'status': GOOD, 'process': [entry]}
