"""The database over HTTP: one method per request, and every answer that is not a yes is an exception."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from edw.config import Settings
from edw.database import nesting
from edw.database.login import login_for, refusal, verification
from edw.database.retry import Retry
from edw.errors import (
    Conflict,
    DatabaseError,
    Forbidden,
    LoginRefused,
    NoDatabase,
    NotFound,
    TooDeep,
    TooLarge,
    Unavailable,
)
from edw.model.documents import Document
from edw.redact import redact

CONNECT_TIMEOUT = 10.0  # seconds; requests has no default
READ_TIMEOUT = 90.0  # seconds; CouchDB itself gives up on a view that is being built after 60
FEED_HEARTBEAT = 10.0  # seconds between the newlines of a quiet feed
FEED_SILENCE = 2.5 * FEED_HEARTBEAT  # seconds without even a newline, after which the feed is dead
LOCKED_OUT = 'temporarily locked'  # in CouchDB's reason, after five wrong passwords from one address
LOCKOUT_PAUSE = 60.0  # seconds; the lock ends five minutes after the last wrong one
NO_DATABASE_REASONS = ('Database does not exist.', 'no_db_file')  # CouchDB and Cloudant; embedded server

T = TypeVar('T')


class Database:
    """One database. Not to be shared between threads, because a requests session is not."""

    def __init__(self, settings: Settings, retry: Retry | None = None) -> None:
        """With `retry` each request waits by itself for its answer, as screens want it.

        A server that allows only some queries a second (429) would else refuse one of the many that a status takes,
        every time.
        """
        self._retry = retry
        self.settings = settings
        self.url = f'{settings.server}/{quote(settings.dbname, safe="")}'
        self._copies: int | None = None
        self._session = requests.Session()
        self._session.auth = self._login = login_for(settings)

    def info(self) -> dict[str, Any]:
        """What the database says of itself; `update_seq` is its sequence."""
        answer: dict[str, Any] = self._request('GET', '')
        return answer

    def copies(self) -> int:
        """How many copies of each document the server keeps on different nodes; 1 where it says nothing of it."""
        if self._copies is None:
            self._copies = int(self.info().get('cluster', {}).get('n', 1))
        return self._copies

    def knows_selectors(self) -> bool:
        """Whether `_changes` has the filter `_selector`: CouchDB from version 2, but not the embedded server."""
        welcome: dict[str, Any] = self._request('GET', '', url=self.settings.server)
        return 'couchdb' in welcome and not str(welcome.get('version', '1')).startswith(('0.', '1.'))

    def create(self) -> bool:
        """Create the database. False where it was there already."""
        with contextlib.suppress(NoDatabase):
            self.info()  # first, because only a server's admin may ask to make one
            return False
        try:
            self._request('PUT', '')
        except Conflict:
            return False
        return True

    def get(self, doc_id: str) -> Document:
        """The document; raises NotFound, or TooDeep."""
        doc: Document = self._request('GET', _path(doc_id))
        return doc

    def put(self, doc: Document) -> dict[str, Any]:
        """Write one document; raises Conflict where `_rev` is not its newest revision, TooDeep before it is sent."""
        if nesting.is_too_deep(doc):
            raise TooDeep(f'{doc["_id"]} is nested deeper than {nesting.DEEPEST} levels: it is not written')
        answer: dict[str, Any] = self._request('PUT', _path(doc['_id']), body=doc)
        return answer

    def delete(self, doc: Document) -> None:
        """Delete the document of this `_id` and `_rev`."""
        self._request('DELETE', _path(doc['_id']), {'rev': doc['_rev']})

    def bulk_docs(self, docs: list[Document]) -> list[dict[str, Any]]:
        """Write many documents. One row per document, in order: `ok` and `rev`, or `error` and `reason`.

        One that nobody here could read again is not sent, and must not take the others with it: its error is TOO_DEEP.
        """
        deep = [nesting.is_too_deep(doc) for doc in docs]
        if any(deep):
            shallow = [doc for doc, is_deep in zip(docs, deep, strict=True) if not is_deep]
            sent = iter(self.bulk_docs(shallow) if shallow else [])
            reason = f'nested deeper than {nesting.DEEPEST} levels'
            return [
                {'id': doc['_id'], 'error': nesting.TOO_DEEP, 'reason': reason} if is_deep else next(sent)
                for doc, is_deep in zip(docs, deep, strict=True)
            ]
        try:
            rows: list[dict[str, Any]] = self._request('POST', '_bulk_docs', body={'docs': docs})
        except TooLarge as error:
            # Of the request, or of one document in it: it must not take the others with it.
            if len(docs) == 1:
                return [{'id': docs[0]['_id'], 'error': 'too_large', 'reason': str(error)}]
            middle = len(docs) // 2
            return self.bulk_docs(docs[:middle]) + self.bulk_docs(docs[middle:])
        if not isinstance(rows, list) or len(rows) != len(docs):
            raise Unavailable(f'{self.url}: the answer to _bulk_docs has not one row for each document')
        return rows

    def all_docs(self, **query: Any) -> list[dict[str, Any]]:
        """Rows of `_all_docs`, as of `view`; query values are given as Python objects."""
        rows: list[dict[str, Any]] = self._view('_all_docs', query)['rows']
        return rows

    def existing(self, doc_ids: Iterable[str]) -> dict[str, Document]:
        """The newest revision of those documents that exist, by id; without those that are nested too deep."""
        query = {'include_docs': 'true'}
        rows = self._request('POST', '_all_docs', query, body={'keys': list(doc_ids)})['rows']
        return {row['id']: row['doc'] for row in rows if row.get('doc')}

    def leaves(self, doc_id: str) -> list[Document]:
        """All leaves of a document that are not deleted, with their `_revisions`, as read from all its copies."""
        query = {'open_revs': 'all', 'revs': 'true', 'r': self.copies()}
        rows: list[dict[str, Any]] = self._request('GET', _path(doc_id), query)
        return [row['ok'] for row in rows if row.get('ok') and not row['ok'].get('_deleted')]

    def revision(self, doc_id: str, revision: str) -> Document | None:
        """The document as it was in a revision; None where compaction has thrown that away."""
        try:
            doc: Document = self._request('GET', _path(doc_id), {'rev': revision, 'r': self.copies()})
        except NoDatabase:
            raise
        except NotFound:
            return None
        return doc

    def conflicts(self, doc_ids: Iterable[str]) -> dict[str, list[str]]:
        """Revisions of the other leaves of those documents that have any, by id."""
        query = {'include_docs': 'true', 'conflicts': 'true'}
        rows = self._request('POST', '_all_docs', query, body={'keys': list(doc_ids)})['rows']
        return {row['id']: row['doc']['_conflicts'] for row in rows if (row.get('doc') or {}).get('_conflicts')}

    def view(self, viewname: str, **query: Any) -> dict[str, Any]:
        """Answer of a view, `_design/NAME/_view/NAME`; query values are given as Python objects.

        With `include_docs` a document that is nested too deep is named in the log, and is None in its row;
        `nesting.left_alone(rows)` tells which.
        """
        return self._view(viewname, query)

    def design_info(self, design: str) -> dict[str, Any]:
        """State of the design document's index."""
        index: dict[str, Any] = self._request('GET', f'{design}/_info').get('view_index', {})
        return index

    def longpoll(
        self, since: str | int, *, selector: dict[str, Any] | None = None, limit: int = 1, **query: Any
    ) -> dict[str, Any]:
        """Wait until a document (that the selector or filter lets through) changes after the sequence `since`.

        Returns `results`, which hold that change and those that followed it until the answer was written, `limit` of
        them at most, or nothing where the server ended the feed for reasons of its own; and `last_seq`. Documents in
        them are as in `view`.
        Raises Unavailable when not even a heartbeat comes for FEED_SILENCE.
        """
        query = {
            'feed': 'longpoll',
            'since': since,
            'limit': limit,
            'heartbeat': int(1000 * FEED_HEARTBEAT),
            **query,
        }
        body = None if selector is None else {'selector': selector}
        method = 'GET' if selector is None else 'POST'
        answer: dict[str, Any] = self._request(method, '_changes', query, body, read_timeout=FEED_SILENCE)
        if 'results' not in answer or 'last_seq' not in answer:
            raise Unavailable(f'{self.url}/_changes: the answer has no results')
        return answer

    def _view(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        # `stale` is a word, all others are JSON.
        parameters = {name: value if name == 'stale' else json.dumps(value) for name, value in query.items()}
        answer: dict[str, Any] = self._request('GET', path, parameters)
        if 'rows' not in answer:
            raise Unavailable(f'{self.url}/{path}: the answer has no rows')
        return answer

    def _request(self, *arguments: Any, **options: Any) -> Any:
        if self._retry is None:
            return self._answer(*arguments, **options)
        return self._retry(self._answer, *arguments, **options)

    def _answer(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        read_timeout: float = READ_TIMEOUT,
        url: str = '',
    ) -> Any:
        url = url or (f'{self.url}/{path}' if path else self.url)
        response = self._send(method, url, query, body, read_timeout)
        # A session or token that expired: one more login, and one only.
        if response.status_code == 401 and self._login is not None and self._login.renew():
            response = self._send(method, url, query, body, read_timeout)
        try:
            answer = nesting.loads(response.content)
        except ValueError:
            answer = None
        if response.ok and not response.is_redirect and isinstance(answer, (dict, list)):
            return answer
        raise self._refusal(response, url, answer)

    def _send(
        self, method: str, url: str, query: dict[str, Any] | None, body: Any, read_timeout: float
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                url,
                params=query,
                data=None if body is None else json.dumps(body, allow_nan=False).encode(),
                headers={'Accept': 'application/json', 'Content-Type': 'application/json'},
                timeout=(CONNECT_TIMEOUT, read_timeout),
                allow_redirects=False,  # a redirected POST would become a GET
                # Not on the session, where REQUESTS_CA_BUNDLE in the environment would win over the settings.
                verify=verification(self.settings),
            )
        except requests.exceptions.SSLError as error:
            if 'CERTIFICATE_VERIFY_FAILED' not in str(error):
                # A connection that broke in the middle of a record is no matter of trust.
                raise Unavailable(f'{self.settings.server} cannot be reached: {_cause(error)}') from None
            raise DatabaseError(
                f'{self.settings.server}: its certificate is not trusted: {_cause(error)}\n'
                'If it is of your own authority, set ca_bundle in local.edw.ini to its certificate.'
            ) from None
        except requests.RequestException as error:
            raise Unavailable(f'{self.settings.server} cannot be reached: {_cause(error)}') from None

    def _refusal(self, response: requests.Response, url: str, answer: Any) -> DatabaseError:
        status = response.status_code
        reason = answer.get('reason') or answer.get('error') if isinstance(answer, dict) else None
        says = f'{status} {reason or response.reason}'
        if status == 401:
            return LoginRefused(refusal(self.settings, says))
        if status == 403 and LOCKED_OUT in says:
            return Unavailable(f'{url}: {says}\nSomebody at this address used a wrong password.', LOCKOUT_PAUSE)
        if status == 403:
            return Forbidden(
                f'{url}: {says}\nAsk the administrator of the database to let user {self.settings.username!r} do this.'
            )
        if status == 404 and reason in NO_DATABASE_REASONS:
            return NoDatabase(f'{self.url}: no such database. Make it with: python upload_design.py')
        if status == 404:
            return NotFound(f'{url}: {says}')
        if status == 413:
            return TooLarge(f'{url}: {says}')
        if status in (409, 412):
            return Conflict(f'{url}: {says}')
        if response.is_redirect:
            target = redact(response.headers['Location'])
            return Unavailable(f'{url}: {status}, redirects to {target}. If that is the database, set it as server.')
        if status == 429 or status >= 500 or response.ok:
            kind = '' if reason else ", and the answer is not CouchDB's JSON"
            return Unavailable(f'{url}: {says}{kind}', _retry_after(response))
        return DatabaseError(f'{url}: {says}')


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size` at most, for one request each; taken from the iterable when they are asked for."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _path(doc_id: str) -> str:
    """The id as a path: its slashes quoted, but for the one behind `_design` and `_local`."""
    for prefix in ('_design/', '_local/'):
        if doc_id.startswith(prefix):
            return prefix + quote(doc_id.removeprefix(prefix), safe='')
    return quote(doc_id, safe='')


def _retry_after(response: requests.Response) -> float | None:
    """Seconds of the Retry-After header; None where there is none, or where it is a date."""
    value = response.headers.get('Retry-After', '')
    return float(value) if value.isdecimal() else None


def _cause(error: Exception) -> str:
    """The innermost reason of a requests error, which else repeats the URL and the objects around it."""
    reason = getattr(error.args[0], 'reason', error.args[0]) if error.args else error
    text = str(reason) or type(error).__name__
    return redact(text.split(': ', 1)[1] if '>: ' in text or text.startswith('HTTPConnection') else text)
