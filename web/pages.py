"""The pages that show: the overview with its live part, runs, a run, a document, what failed, and spectra."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edw.completing.files_of_run import output_of
from edw.database import views
from edw.database.client import Database
from edw.errors import NoDatabase, NotFound
from edw.model import documents, summary
from edw.model.documents import Document
from edw.model.run_state import state_of
from edw.model.summary import Alike
from edw.model.timeline import timeline
from edw.operating import status
from edw.operating.annotations import QUALITIES, notes
from edw.operating.conflicts import conflict
from edw.operating.reprocessing import is_failed
from web import access, render
from web.blocking import in_thread
from web.charts import file_steps
from web.live import Live, Snapshot
from web.spectra import STEP, Drawn, Spectra

FIRST_LIMIT = 20.0  # seconds for the very first reading; the views of a new database may still be built
EVENTS = 'text/event-stream'
RETRY = 2000  # ms after which a browser tries to connect again
RUNS_ON_A_PAGE = 50
MOST_DOCUMENTS = 500  # in a table, and of a run those that are looked at for files of its spectrum


def frame(request: Request, title: str) -> dict[str, Any]:
    """What the frame of every page needs; a message of the action before is shown once."""
    state = request.app.state
    is_enabled = state.access is not None
    may_change = is_enabled and state.access.holds(request.session.get('login'))
    return {
        'title': title,
        'dbname': state.settings.dbname,
        'server': state.settings.server,
        'hostname': socket.gethostname(),
        'is_enabled': is_enabled,
        'may_change': may_change,
        'csrf': partial(access.csrf_token, request),
        'message': request.session.pop('message', None) if is_enabled else None,
        'here': f'{request.url.path}?{request.url.query}' if request.url.query else request.url.path,
        'now': time.time(),
    }


async def overview(request: Request) -> Response:
    """The first page. Its live part is what the reader has rendered for all."""
    live: Live = request.app.state.live
    snapshot = await live.first(FIRST_LIMIT)
    if snapshot is None:
        text = 'The database has not answered yet. Perhaps it builds its views: they are shown here when it has.'
        return render.page('error.html', 503, **frame(request, 'Not yet'), code=503, text=text)
    if snapshot.reading is None and snapshot.error is not None:
        raise snapshot.error
    return render.page('overview.html', **frame(request, 'Overview'), live=snapshot.html)


async def events(request: Request) -> Response:
    """The live part, as server-sent events: at once, and whenever it has changed."""
    live: Live = request.app.state.live
    described: Any = {'headers': {'X-Accel-Buffering': 'no', 'Cache-Control': 'no-store'}, 'media_type': EVENTS}
    if request.method == 'HEAD':
        # No body is sent, so that its end would never come, and nothing else over this connection.
        return Response(**described)
    return StreamingResponse(_stream(live), **described)


async def _stream(live: Live) -> AsyncIterator[bytes]:
    yield f'retry: {RETRY}\n\n'.encode()
    async for snapshot in live.snapshots():
        yield b'event: alive\ndata:\n\n' if snapshot is None else _event(snapshot)


def _event(snapshot: Snapshot) -> bytes:
    lines = snapshot.html.encode('utf-8', 'replace').splitlines()
    return b'event: status\n' + b''.join(b'data: ' + line + b'\n' for line in lines) + b'\n'


@in_thread
def runs(request: Request) -> Response:
    """All runs, a page at a time, those with the newest files first."""
    page = _page_number(request)
    first = (page - 1) * RUNS_ON_A_PAGE
    with request.app.state.databases.lent() as database:
        found = status.runs(database, RUNS_ON_A_PAGE + 1, skip=first)
    if not found and page > 1:
        raise HTTPException(404, f'There are fewer than {page} pages of runs')
    snapshot = request.app.state.live.latest
    reading = snapshot.reading if snapshot else None
    return render.page(
        'runs.html',
        **frame(request, 'Runs'),
        runs=found[:RUNS_ON_A_PAGE],
        page=page,
        first=first,
        has_more=len(found) > RUNS_ON_A_PAGE,
        run_count=reading.run_count if reading else None,
        steps=file_steps(reading.status.steps) if reading else [],  # as far as they are known by now
    )


@in_thread
def run(request: Request) -> Response:
    """One run: its own document, those of its files, and how far each is."""
    name = _asked(request, 'name')
    with request.app.state.databases.lent() as database:
        rows = status.rows_of_run(database, name)
        docs = database.existing(row['id'] for row in rows[:MOST_DOCUMENTS])
        own = database.existing([name]).get(name) if name and not name.startswith('_') else None
    if not rows:
        raise HTTPException(404, f'No document belongs to a run {name!r}')
    return render.page(
        'run.html',
        **frame(request, name),
        **_notes(request, docs.values()),
        run=name,
        state=state_of(own),
        made=summary.made_between(docs.values()),
        size=summary.size_of(docs.values()),
        conditions=summary.conditions(docs.values()),
        kinds=sorted({views.text(doc['condition']) for doc in docs.values() if doc.get('condition') is not None}),
        failed=_failed_alike(docs.values()),
        rows=rows[:MOST_DOCUMENTS],
        skipped={doc_id: reason for doc_id, doc in docs.items() if (reason := _skipped(doc))},
        total=len(rows),
        most=MOST_DOCUMENTS,
    )


@in_thread
def document(request: Request) -> Response:
    """One document: its timeline, what went wrong, and itself."""
    doc_id = _asked(request, 'id')
    with request.app.state.databases.lent() as database:
        doc = document_of(database, doc_id)
        in_conflict = conflict(database, doc_id) if database.conflicts([doc_id]) else None
    return render.page(
        'document.html',
        **frame(request, doc_id),
        **_notes(request, [doc]),
        doc={'_id': doc_id, **doc},  # whose place in the answer depends on the server
        doc_id=doc_id,
        run=doc.get('run') if isinstance(doc.get('run'), str) else None,
        facts=_facts(doc),
        conditions=summary.conditions([doc]),
        failed=is_failed(doc),
        failed_step=documents.failed_step(doc),
        claimed=doc.get('claim') is not None,
        steps=_steps_done(doc),
        events=timeline(doc),
        conflict=in_conflict,
        has_spectrum=output_of(doc, STEP) is not None,
    )


@in_thread
def failures(request: Request) -> Response:
    """The documents that failed in one step with one kind of error, the newest first."""
    step, kind = request.query_params.get('step'), _asked(request, 'kind')
    with request.app.state.databases.lent() as database:
        rows = failed_rows(database, step, kind, MOST_DOCUMENTS + 1)
    shown = [(row['id'], views.text(row['value']), documents.number(row['key'][2])) for row in rows[:MOST_DOCUMENTS]]
    return render.page(
        'failures.html',
        **frame(request, kind),
        step=step,
        kind=kind,
        alike=summary.alike(shown),
        count=len(shown),
        is_cut=len(rows) > MOST_DOCUMENTS,
        most=MOST_DOCUMENTS,
    )


@in_thread
def spectrum(request: Request) -> Response:
    """The spectrum with its lines; what cannot be read is said in the picture's place."""
    drawn = _drawn(request)
    return render.page(
        'spectrum.html',
        **frame(request, 'Calibration spectrum'),
        drawn=drawn,
        run=request.query_params.get('run'),
        doc_id=request.query_params.get('id'),
        picture=f'/spectrum.svg?{request.url.query}',
    )


@in_thread
def spectrum_svg(request: Request) -> Response:
    """The picture alone."""
    drawn = _drawn(request)
    if not drawn.picture:
        raise HTTPException(404, 'No file of amplitudes can be read')
    return Response(drawn.picture, media_type='image/svg+xml')


def failed_rows(database: Database, step: str | None, kind: str, limit: int) -> list[dict[str, Any]]:
    """Rows of the view `failed` of a step and a kind: `id`, `key` with the time last, and the error as `value`."""
    ends = {'startkey': [step, kind, views.LAST], 'endkey': [step, kind]}
    return views.rows(database, views.FAILED, descending=True, reduce=False, limit=limit, **ends)


def document_of(database: Database, doc_id: str) -> Document:
    """The document of an id that came from a browser. Raises HTTPException where there is none."""
    if doc_id.startswith('_'):
        raise HTTPException(404, f'{doc_id!r} is no data document')
    try:
        doc = database.get(doc_id)
    except NoDatabase:
        raise
    except NotFound:
        doc = {}
    # Not `.`, for which the database itself answers, nor ``.
    if doc.get('_id') != doc_id:
        raise HTTPException(404, f'There is no document {doc_id!r}')
    return doc


def _drawn(request: Request) -> Drawn:
    with request.app.state.databases.lent() as database:
        if 'id' in request.query_params:
            docs = [document_of(database, request.query_params['id'])]
        elif 'run' in request.query_params:
            docs = _docs_of_run(database, request.query_params['run'])
        else:
            raise HTTPException(404, 'The address of this page has neither id nor run')
    files = [file for doc in docs if (file := output_of(doc, STEP)) is not None]
    spectra: Spectra = request.app.state.spectra
    return spectra.of(files)


def _docs_of_run(database: Database, run: str) -> list[Document]:
    ends = {'startkey': [run], 'endkey': [run, views.LAST]}
    rows = views.rows(database, views.RUNS, reduce=False, include_docs=True, limit=MOST_DOCUMENTS, **ends)
    docs = {row['id']: row['doc'] for row in rows if row.get('doc')}
    return [docs[doc_id] for doc_id in sorted(docs)]


def _page_number(request: Request) -> int:
    text = request.query_params.get('page', '1')
    if not re.fullmatch('[1-9][0-9]{0,5}', text):
        raise HTTPException(404, f'{text!r} is not the number of a page')
    return int(text)


def _asked(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if value is None:
        raise HTTPException(404, f'The address of this page has no {name}')
    return value


def _notes(request: Request, docs: Iterable[Document]) -> dict[str, Any]:
    """What people said of documents, and what the form for more needs."""
    return {'notes': notes(docs), 'qualities': QUALITIES, 'by': request.session.get('by', '')}


def _failed_alike(docs: Iterable[Document]) -> list[Alike]:
    """The errors of those that failed for good; of those that tell none the status."""
    failed = [(doc, *summary.last_error(doc)) for doc in docs if documents.is_failed_status(doc.get('status'))]
    return summary.alike((doc['_id'], error or doc['status'], time) for doc, error, time in failed)


def _facts(doc: Document) -> list[tuple[str, str]]:
    """What people look for first; a value that is no text as JSON."""
    named = {
        'status': doc.get('status'),
        'last step': documents.last_step(doc) or None,
        'condition': doc.get('condition'),
        'file': doc.get('original_file'),
        'size': f'{render.number(doc["size"])} bytes' if type(doc.get('size')) is int else doc.get('size'),
        'md5': doc.get('md5sum'),
    }
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in named.items()
        if value is not None
    ]


def _skipped(doc: Document) -> str:
    """Why the last step was skipped; '' where it was not."""
    last = documents.last_step(doc)
    entry = documents.entry_of(doc, last) if isinstance(last, str) else None
    return str(entry['skipped']) if entry is not None and documents.is_skipped(entry) else ''


def _steps_done(doc: Document) -> list[str]:
    """Names of the steps in `process`, each once, in order."""
    process = doc.get('process')
    names = [entry.get('name') for entry in process if isinstance(entry, dict)] if isinstance(process, list) else []
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))
