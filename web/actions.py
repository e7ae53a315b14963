"""What changes something: login, logout, reprocessing, notes. None of it is served where no password is set."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edw.errors import EdwError
from edw.model.documents import Document
from edw.operating import annotations
from edw.operating.annotations import Said
from edw.operating.reprocessing import Change, Outcome, cut_before, requeue, requeued
from edw.redact import redact
from edw.selecting.selection import Selection, select_documents
from web import access, pages, render
from web.blocking import in_thread

MOST_FIELDS = 8  # of a form
LONGEST_FORM = 20_000  # bytes; ids and names are what it holds
MOST_NAMED = 3  # documents that a message names
LONGEST_MESSAGE = 300  # characters
LONGEST_NAME = 60  # characters of who says something


async def login_form(request: Request) -> Response:
    """Where the password is asked for."""
    return _login_page(request, request.query_params.get('then', '/'))


async def log_in(request: Request) -> Response:
    """Check the password, and go on to where it was wanted."""
    form = await _checked_form(request)
    then = _text(form, 'then')
    keeper: access.Access = request.app.state.access
    client = request.client.host if request.client else ''
    if keeper.must_wait(client):
        response = _login_page(request, then, 'Too many wrong passwords from this address. Wait five minutes.', 429)
        response.headers['Retry-After'] = f'{access.WINDOW:.0f}'
        return response
    login = keeper.log_in(client, _text(form, 'password'))
    if login is None:
        await asyncio.sleep(access.WRONG_PAUSE)  # guessing is to be slow
        return _login_page(request, then, 'The password is wrong.', 403)
    request.session.clear()
    request.session['login'] = login
    return _on_to(then)


async def log_out(request: Request) -> Response:
    """End the login."""
    await _checked_form(request)
    request.app.state.access.log_out(request.session.get('login'))
    request.session.clear()
    return _on_to('/')


async def reprocess(request: Request) -> Response:
    """Requeue documents: one by its id, or all of a kind of failure. The page before then says what became of it."""
    form = await _form_of_login(request)
    try:
        result = await _requeue(request, form)
        request.session['message'] = _in_words(result)
    except EdwError as error:
        request.session['message'] = f'Not done, or not all of it: {redact(str(error))}'[:LONGEST_MESSAGE]
    return _on_to(_text(form, 'then'))


async def annotate(request: Request) -> Response:
    """Write a note into one document, or all of a run. The page before then says what became of it."""
    form = await _form_of_login(request)
    by = _text(form, 'by').strip()[:LONGEST_NAME]
    request.session['by'] = by
    try:
        result = await _annotate(request, form, by or 'dashboard')
        request.session['message'] = _in_words(result, 'changed')
    except EdwError as error:
        request.session['message'] = f'Not done, or not all of it: {redact(str(error))}'[:LONGEST_MESSAGE]
    return _on_to(_text(form, 'then'))


@in_thread
def _annotate(request: Request, form: FormData, by: str) -> Outcome:
    text, said = _text(form, 'text'), Said(by, time.time())
    asked: dict[str, Any] = {
        'hold': {'reason': text},
        'release': {'is_released': True},
        'comment': {'text': text},
        'tag': {'tags': [text]},
        'untag': {'without': [text]},
        **{quality: {'quality': quality} for quality in annotations.QUALITIES},
    }
    what = _text(form, 'what')
    if what not in asked:
        raise HTTPException(400, f'There is no note of the kind {what!r}')
    change = annotations.changes(said, **asked[what])
    with request.app.state.databases.lent() as database:
        return annotations.annotate(database, annotations.ids_of(database, [_text(form, 'name')]), change)


@in_thread
def _requeue(request: Request, form: FormData) -> Outcome:
    """The form's `id` says which document; or its `kind` with or without `step`, and `seen`, how many were shown."""
    with request.app.state.databases.lent() as database:
        if 'id' in form:
            ids, kind = [_text(form, 'id')], None
        else:
            step, kind = _text(form, 'step') if 'step' in form else None, _text(form, 'kind')
            ids = [row['id'] for row in pages.failed_rows(database, step, kind, pages.MOST_DOCUMENTS)]
        missed = Outcome()
        if not ids:
            return missed
        as_failed = _text(form, 'action') == 'failed'
        # Of a kind: what has failed otherwise since the view was asked is not meant.
        selection = Selection(ids=tuple(ids), failed=as_failed, kind=kind if as_failed else None)
        docs = select_documents(database, selection, lambda doc_id, why: missed.refused.append(f'{doc_id}: {why}'))
        result = requeue(database, docs, requeued if as_failed else _cut(_text(form, 'from')))
        result.refused += missed.refused
        return result


def _cut(step: str) -> Change:
    now, hostname = time.time(), socket.gethostname()

    def change(doc: Document) -> Document:
        return cut_before(doc, step, now, hostname)

    return change


def _in_words(result: Outcome, done: str = 'requeued') -> str:
    parts = [f'{len(result.done)} document{"s" * (len(result.done) != 1)} {done}'] if result.done else []
    for ids, text in (
        (result.unchanged, 'as wanted already'),
        (result.claimed, 'left alone, a listener is at it'),
        (result.conflicts, 'left alone, changed by somebody meanwhile'),
        (result.refused, 'not possible'),
    ):
        if ids:
            more = f' and {len(ids) - MOST_NAMED} more' if len(ids) > MOST_NAMED else ''
            parts.append(f'{len(ids)} {text} ({", ".join(ids[:MOST_NAMED])}{more})')
    # The cookie that carries it has room for little.
    return '; '.join(parts)[:LONGEST_MESSAGE] or 'Nothing to do: no document is in this state any more'


async def _form_of_login(request: Request) -> FormData:
    """The form of somebody who is logged in."""
    form = await _checked_form(request)
    if not request.app.state.access.holds(request.session.get('login')):
        raise HTTPException(403, 'Log in first')
    return form


async def _checked_form(request: Request) -> FormData:
    """The form of a request that comes from a page of ours; anything else is refused."""
    length = request.headers.get('content-length', '')
    if not length.isdecimal() or int(length) > LONGEST_FORM:
        raise HTTPException(413, 'The form is too long')
    form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    reason = access.refusal(request, form, request.app.state.public_names)
    if reason is not None:
        raise HTTPException(403, reason)
    return form


def _text(form: FormData, field: str) -> str:
    value = form.get(field)
    if not isinstance(value, str):
        raise HTTPException(400, f'The form has no {field}')
    return value


def _on_to(path: str) -> RedirectResponse:
    """To a page of this site, by a GET. Anything that could lead elsewhere leads to the first page."""
    is_own = path.startswith('/') and not path.startswith('//') and '\\' not in path and path.isprintable()
    return RedirectResponse(path if is_own else '/', 303)


def _login_page(request: Request, then: str, error: str = '', status_code: int = 200) -> Response:
    return render.page('login.html', status_code, **pages.frame(request, 'Log in'), then=then, error=error)
