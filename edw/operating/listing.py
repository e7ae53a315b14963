"""Documents one by one: those that failed, that wait for a step, or of a run, with what is wrong and since when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edw.database import design, views
from edw.database.client import Database
from edw.errors import NoSuchRun, NoSuchStep
from edw.model import documents
from edw.model.chain import Place, unheard_of
from edw.model.documents import Document
from edw.operating import status
from edw.operating.display import step_name

MOST = 100  # documents that are named


@dataclass(frozen=True)
class Listed:
    """A document: its `state` in words, `what` is wrong with it, and since when, in seconds since the epoch."""

    doc_id: str
    time: float | None
    state: str
    what: str
    is_failed: bool


@dataclass(frozen=True)
class Listing:
    """The first documents, MOST of them, and how many `more` there are."""

    documents: list[Listed]
    more: int


def failed(database: Database, step: str | None = None, run: str | None = None) -> Listing:
    """Those that failed for good, in a step, of a run, or all; by step and kind, the newest first.

    Raises NoSuchStep, and EdwError where there is no such run.
    """
    if step is not None:
        design.check_step(database, step)
    if run is not None:
        rows = [row for row in _of_run(database, run) if documents.is_failed_status(row['status'])]
        ids = [row['id'] for row in rows]
        if step is not None:
            ids = [doc['_id'] for doc in _read(database, ids) if documents.failed_step(doc) == step]
        return _listing(database, ids[:MOST], len(ids))
    ends: dict[str, Any] = {} if step is None else {'startkey': [step, views.LAST], 'endkey': [step]}
    found = views.rows(database, views.FAILED, reduce=False, descending=True, limit=MOST, **ends)
    total = views.counts(database, views.FAILED)
    return _listing(database, [row['id'] for row in found], total[step] if step is not None else total.total())


def waiting(database: Database, step: str, run: str | None = None) -> Listing:
    """Those that wait for a step, those of the highest priority first, then the oldest.

    Raises NoSuchStep, and EdwError where there is no such run.
    """
    steps = {step_name(found.name): found for found in status.read(database).steps}
    if step not in steps:
        raise NoSuchStep(unheard_of(step, steps))
    place: Place | None = steps[step].after
    if place is None:
        return Listing([], 0)
    if run is not None:
        rows = [row for row in _of_run(database, run) if (row['status'], row['last_step']) == (documents.GOOD, place)]
        docs = [doc for doc in _read(database, [row['id'] for row in rows]) if documents.is_free(doc, place)]
        return Listing([_listed(doc) for doc in docs[:MOST]], len(docs) - len(docs[:MOST]))
    ends = {'startkey': [place], 'endkey': [place, views.LAST]}
    found = views.rows(database, views.QUEUE, reduce=False, limit=MOST, **ends)
    total = views.waiting_behind(database, place).documents
    return _listing(database, [row['id'] for row in found if row['key'][0] == place], total)


def of_run(database: Database, run: str) -> Listing:
    """Those of a run, its own document first, then what failed, then what is not good. Raises EdwError."""
    rows = _of_run(database, run)
    rows.sort(
        key=lambda row: (not documents.is_failed_status(row['status']), row['status'] == documents.GOOD, row['id'])
    )
    ids = [*database.existing([run]), *(row['id'] for row in rows)]
    return _listing(database, ids[:MOST], len(ids))


def _of_run(database: Database, run: str) -> list[dict[str, Any]]:
    rows = status.rows_of_run(database, run)
    if not rows:
        raise NoSuchRun(database.url, run)
    return rows


def _listing(database: Database, ids: list[str], total: int) -> Listing:
    docs = _read(database, ids)
    return Listing([_listed(doc) for doc in docs], max(0, total - len(ids)))


def _read(database: Database, ids: Iterable[str]) -> list[Document]:
    return list(database.existing(ids).values())


def _listed(doc: Document) -> Listed:
    doc_id, found = doc['_id'], doc.get('status')
    claim, last = doc.get('claim'), documents.last_failure(doc)
    failed_step = documents.failed_step(doc)
    error = '' if last is None else _error(last)
    if documents.is_failed_status(found):
        state = f'failed in {failed_step}' if failed_step else str(found)
        return Listed(doc_id, documents.number((last or {}).get('time')), state, error, True)
    if isinstance(claim, dict):
        since = documents.number(claim.get('since'))
        return Listed(doc_id, since, f'at {claim.get("process")}', f'claimed by {claim.get("worker")}', False)
    if found == documents.HELD:
        hold = doc.get('hold')
        hold = hold if isinstance(hold, dict) else {}
        return Listed(doc_id, documents.number(hold.get('time')), 'held', str(hold.get('reason', '')), False)
    if found != documents.GOOD:
        return Listed(doc_id, None, views.text(found), '', False)
    place = documents.last_step(doc)
    state = 'no step takes it' if place is None else f'past {place}' if place else 'new'
    # That of an attempt which another one follows, or after which it was requeued.
    is_over = failed_step is None or documents.entry_of(doc, failed_step) is not None
    return Listed(doc_id, documents.waiting_since(doc), state, '' if is_over else f'last failure: {error}', False)


def _error(failure: dict[str, Any]) -> str:
    """The kind and the text of a failure, which begins with its type where that is the kind."""
    error = failure['error'] if isinstance(failure.get('error'), str) else ''
    text = error.partition(': ')[2]
    return f'{documents.failure_kind_of(failure)}: {text}' if text else error
