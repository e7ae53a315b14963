"""The database over HTTP: one method per request, and every answer that is not a yes is an exception."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from edw.config import Settings, is_loopback
from edw.database import nesting, storable
from edw.database.bulk import UNANSWERED, BulkSize
from edw.database.login import folder_in, login_for, refusal, verification
from edw.database.retry import Retry, retry_after
from edw.errors import (
    BadRequest,
    Conflict,
    DatabaseError,
    Forbidden,
    LoginRefused,
    NoDatabase,
    NotFound,
    TooLarge,
    Unavailable,
)
from edw.model.documents import Document
from edw.redact import redact

CONNECT_TIMEOUT = 10.0  # seconds; requests has no default
READ_TIMEOUT = 90.0  # seconds; CouchDB itself gives up on a view that is being built after 60
FIND_TIMEOUT = 600.0  # seconds; CouchDB says nothing until a document matches, and looks at some 20,000 a second
FEED_HEARTBEAT = 10.0  # seconds between the newlines of a quiet feed
FEED_SILENCE = 2.5 * FEED_HEARTBEAT  # seconds without even a newline, after which the feed is dead
START_IT = 'If it is the embedded server, start it: python local_couchdb.py'
LISTS = ('rows', 'results', 'docs')  # fields of answers
LONGEST_IN_PATH = 2000  # bytes of a quoted id; CouchDB's own limit for a whole line is 8,192
LOCKED_OUT = 'temporarily locked'  # in CouchDB's reason, after five wrong passwords from one address
LOCKOUT_PAUSE = 60.0  # seconds; the lock ends five minutes after the last wrong one
NO_DATABASE_REASONS = ('Database does not exist.', 'no_db_file')  # CouchDB and Cloudant; embedded server

log = logging.getLogger(__name__)
T = TypeVar('T')


class _Session(requests.Session):
    """Of one server: what the environment says of proxies and certificates is looked up once, not for each request.

    That is a third of what a request costs here. requests goes through all variables of the environment, twice.
    """

    _found: Any = None

    def merge_environment_settings(self, *of_request: Any, **more: Any) -> Any:
        """What is true of all requests to the server, because only their paths differ."""
        if self._found is None:
            self._found = super().merge_environment_settings(*of_request, **more)
        return self._found


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
        self._told_time: tuple[str | None, float] = (None, 0.0)  # as the server said it, and monotonic
        self._bulk_size = BulkSize(time.monotonic)
        self._has_answered = False
        self._folder: str | None = None  # of the data of an embedded server
        self._session = _Session()
        self._session.auth = self._login = login_for(settings)

    def for_another_thread(self) -> Database:
        """The same database, with a session of its own."""
        return Database(self.settings, self._retry)

    def place(self) -> str:
        """The database for people who have several: its URL and, of an embedded server, the folder of its data."""
        if not self._has_answered and is_loopback(self.settings.server):
            self._request('GET', '', url=self.settings.server)
        return self.url if self._folder is None else f'{self.url} (embedded server, data in {self._folder})'

    def info(self) -> dict[str, Any]:
        """What the database says of itself; `update_seq` is its sequence."""
        return self._request_with('update_seq', 'GET', '')

    def now(self) -> float:
        """The time by the server's clock (seconds since the epoch, whole ones), as of the last answer and since.

        It is one clock for all machines. By that of this machine where the server has not said it yet.
        Source: RFC 9110, 6.6.1, Date.
        """
        said, heard = self._told_time
        try:
            return parsedate_to_datetime(said or '').timestamp() + time.monotonic() - heard
        except ValueError:
            return time.time()

    def copies(self) -> int:
        """How many copies of each document the server keeps on different nodes; 1 where it says nothing of it.

        Raises DatabaseError for what is no number: to take a cluster for a single node would lose claims.
        """
        if self._copies is None:
            cluster = self.info().get('cluster')
            copies = cluster.get('n', 1) if isinstance(cluster, dict) else 1
            if type(copies) is not int or copies < 1:
                raise DatabaseError(f'{self.url}: says that it keeps {copies!r} copies of each document, not a number')
            self._copies = copies
        return self._copies

    def knows_selectors(self) -> bool:
        """Whether `_changes` has the filter `_selector`: CouchDB from version 2, but not the embedded server."""
        welcome: Any = self._request('GET', '', url=self.settings.server)
        return (
            isinstance(welcome, dict)
            and 'couchdb' in welcome
            and not str(welcome.get('version', '1')).startswith(('0.', '1.'))
        )

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
        """The document; raises NotFound, also for an id that no document can have, or TooDeep."""
        if _needs_body(doc_id):
            found = self.existing([doc_id])
            if doc_id not in found:
                raise NotFound(f'{self.url}: there is no document {doc_id!r}')
            return found[doc_id]
        doc: Document = self._request_with('_id', 'GET', _path(doc_id))
        return doc

    def put(self, doc: Document) -> dict[str, Any]:
        """Write one document; raises Conflict where `_rev` is not its newest revision, Unstorable before it is sent."""
        if (fault := storable.fault(doc)) is not None:
            raise type(fault)(f'{doc["_id"]} is not written: {fault}')
        return self._request_with('rev', 'PUT', _path(doc['_id']), body=doc)

    def delete(self, doc: Document) -> None:
        """Delete the document of this `_id` and `_rev`."""
        self._request('DELETE', _path(doc['_id']), {'rev': doc['_rev']})

    def bulk_docs(self, docs: list[Document]) -> list[dict[str, Any]]:
        """Write many documents. One row per document, in order: `ok` and `rev`, or `error` and `reason`.

        One that no database could hold is not sent, and one that the server cannot bear must not take the others with
        it: such a one has an error of its own, as `storable` and `bulk` name them. Raises Unavailable, also after
        some of them were written.
        """
        faults = [storable.fault(doc) for doc in docs]
        good = [doc for doc, fault in zip(docs, faults, strict=True) if fault is None]
        rows: list[dict[str, Any]] = []
        while len(rows) < len(good):
            rows += self._bulk_part(good[len(rows) :])
        sent = iter(rows)
        return [
            next(sent) if fault is None else {'id': doc['_id'], 'error': fault.word, 'reason': str(fault)}
            for doc, fault in zip(docs, faults, strict=True)
        ]

    def _bulk_part(self, docs: list[Document]) -> list[dict[str, Any]]:
        """Rows of the first of the documents: of as many as get through at once."""
        part = docs[: int(min(self._bulk_size.limit, len(docs)))]
        try:
            rows: list[dict[str, Any]] = self._request('POST', '_bulk_docs', body={'docs': part})
        except (TooLarge, BadRequest) as error:
            # Of the request, or of one document in it.
            if len(part) == 1:
                word = 'too_large' if isinstance(error, TooLarge) else 'bad_request'
                return [{'id': part[0]['_id'], 'error': word, 'reason': str(error)}]
            self._bulk_size.too_large(len(part))
            return []
        except Unavailable as error:
            if not self._bulk_size.failed():
                raise
            try:
                self.info()
            except Unavailable:
                self._bulk_size.unanswered()
                raise error from None
            if len(part) == 1:
                return [{'id': part[0]['_id'], 'error': UNANSWERED, 'reason': str(error)}]
            self._bulk_size.too_large(len(part))
            log.warning('%s; but it answers other requests: writing %d at a time', error, self._bulk_size.limit)
            return []
        if not isinstance(rows, list) or len(rows) != len(part) or not all(isinstance(row, dict) for row in rows):
            raise Unavailable(f'{self.url}: the answer to _bulk_docs has not one row for each document')
        self._bulk_size.went_through()
        return rows

    def all_docs(self, **query: Any) -> list[dict[str, Any]]:
        """Rows of `_all_docs`, as of `view`; query values are given as Python objects."""
        rows: list[dict[str, Any]] = self._view('_all_docs', query)['rows']
        return rows

    def existing(self, doc_ids: Iterable[str]) -> dict[str, Document]:
        """The newest revision of those documents that exist, by id, in the order of the ids.

        Those that are nested too deep are left out.
        """
        rows = self._rows_of(doc_ids, {'include_docs': 'true'})
        return {row['id']: row['doc'] for row in rows if row.get('doc')}

    def leaves(self, doc_id: str) -> list[Document]:
        """All leaves of a document that are not deleted, with their `_revisions`, as read from all its copies."""
        query = {'revs': 'true', 'r': self.copies()}
        rows: list[dict[str, Any]]
        if _needs_body(doc_id):
            results = self._request_with('results', 'POST', '_bulk_get', query, {'docs': [{'id': doc_id}]})['results']
            rows = [row for result in results for row in result['docs']]
        else:
            rows = self._request('GET', _path(doc_id), {'open_revs': 'all', **query})
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
        rows = self._rows_of(doc_ids, {'include_docs': 'true', 'conflicts': 'true'})
        return {row['id']: row['doc']['_conflicts'] for row in rows if (row.get('doc') or {}).get('_conflicts')}

    def find(self, selector: dict[str, Any], *, fields: list[str], limit: int) -> list[Document]:
        """Those fields of the first documents, by their ids, that a Mango selector lets through.

        The server may have to look at all documents: it is waited for.
        """
        # CouchDB sorts by `_id` only what is selected by it, too. It looks between the ends that the selector has.
        body = {'selector': {'_id': {'$gt': None}, **selector}, 'fields': fields, 'limit': limit}
        body['sort'] = [{'_id': 'asc'}]
        found = self._request_with('docs', 'POST', '_find', None, body, read_timeout=FIND_TIMEOUT)['docs']
        return [doc for doc in found if isinstance(doc, dict) and '_id' in doc]

    def view(self, viewname: str, **query: Any) -> dict[str, Any]:
        """Answer of a view, `_design/NAME/_view/NAME`; query values are given as Python objects.

        With `include_docs` a document that is nested too deep is named in the log, and is None in its row;
        `nesting.left_alone(rows)` tells which.
        """
        return self._view(viewname, query)

    def design_info(self, design: str) -> dict[str, Any]:
        """State of the design document's index; empty where the server has none to tell, as the embedded one."""
        index = self._request_with('view_index', 'GET', f'{design}/_info')['view_index']
        return index if isinstance(index, dict) else {}

    def longpoll(self, since: str | int, *, limit: int = 1, **query: Any) -> dict[str, Any]:
        """Wait until a document (that the filter in the query lets through) changes after the sequence `since`.

        Returns `results`, which hold that change and those that followed it until the answer was written, `limit` of
        them at most, or nothing where the server ended the feed for reasons of its own; and `last_seq`. Documents in
        them are as in `view`.
        Raises Unavailable when not even a heartbeat comes for FEED_SILENCE.
        """
        heartbeat = int(1000 * FEED_HEARTBEAT)
        return self._changes(FEED_SILENCE, since=since, limit=limit, feed='longpoll', heartbeat=heartbeat, **query)

    def changes(self, since: str | int, *, limit: int = 1, **query: Any) -> dict[str, Any]:
        """The same without waiting. Where `results` has less than `limit`, there were no others up to `last_seq`."""
        return self._changes(READ_TIMEOUT, since=since, limit=limit, **query)

    def _changes(self, read_timeout: float, *, selector: Any = None, **query: Any) -> dict[str, Any]:
        body = None if selector is None else {'selector': selector}
        method = 'GET' if selector is None else 'POST'
        answer = self._request_with('results', method, '_changes', query, body, read_timeout=read_timeout)
        if 'last_seq' not in answer:
            raise Unavailable(f'{self.url}/_changes: the answer has no last_seq')
        return answer

    def _view(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        # `stale` is a word, all others are JSON.
        parameters = {name: value if name == 'stale' else json.dumps(value) for name, value in query.items()}
        return self._request_with('rows', 'GET', path, parameters)

    def _rows_of(self, doc_ids: Iterable[str], query: dict[str, Any]) -> list[dict[str, Any]]:
        """Rows of `_all_docs` for some ids; none for what is no id, which would make the server refuse all.

        Without an id the server is not asked.
        """
        keys = [doc_id for doc_id in doc_ids if _is_text(doc_id)]
        if not keys:
            return []
        rows: list[dict[str, Any]] = self._request_with('rows', 'POST', '_all_docs', query, {'keys': keys})['rows']
        return rows

    def _request_with(self, field: str, method: str, path: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        """An answer that has this field; any other is of something that is no CouchDB, or is about to be one again."""
        answer: Any = self._request(method, path, *arguments, **options)
        if (
            not isinstance(answer, dict)
            or field not in answer
            or (field in LISTS and not isinstance(answer[field], list))
        ):
            raise Unavailable(f'{self.url}/{path}: the answer has no {field}')
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
        self._has_answered, self._folder = True, folder_in(response)
        try:
            answer = nesting.loads(response.content)
        except ValueError:
            answer = None
        if isinstance(answer, (dict, list)):
            self._told_time = response.headers.get('Date'), time.monotonic()
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
            text = f'{self.settings.server} cannot be reached: {_cause(error)}'
            nobody_listens = is_loopback(self.settings.server) and _is_refused(error)
            raise Unavailable(text, way_out=START_IT if nobody_listens else '') from None

    def _refusal(self, response: requests.Response, url: str, answer: Any) -> DatabaseError:
        status = response.status_code
        reason = answer.get('reason') or answer.get('error') if isinstance(answer, dict) else None
        says = f'{status} {reason or response.reason}'
        if status == 401:
            return LoginRefused(refusal(self.settings, says, folder_in(response)))
        if response.is_redirect:
            target = redact(response.headers['Location'])
            return Unavailable(f'{url}: {status}, redirects to {target}. If that is the database, set it as server.')
        if status == 413:
            return TooLarge(f'{url}: {says}')  # whoever says so
        if reason is None or status == 429 or status >= 500 or response.ok:
            # What is not CouchDB's JSON is a proxy's word, and no word on the database.
            kind = '' if reason else ", and the answer is not CouchDB's JSON"
            return Unavailable(f'{url}: {says}{kind}', retry_after(response))
        if status == 403 and LOCKED_OUT in says:
            return Unavailable(f'{url}: {says}\nSomebody at this address used a wrong password.', LOCKOUT_PAUSE)
        if status == 403:
            return Forbidden(
                f'{url}: {says}\nAsk the administrator of the database to let user {self.settings.username!r} do this.'
            )
        if status == 404 and reason in NO_DATABASE_REASONS:
            return NoDatabase(f'{self.url}: no such database. Make it with: python upload_design.py')
        kinds = {400: BadRequest, 404: NotFound, 409: Conflict, 412: Conflict}
        return kinds.get(status, DatabaseError)(f'{url}: {says}')


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size` at most, for one request each; taken from the iterable when they are asked for."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _path(doc_id: str) -> str:
    """The id as a path: its slashes quoted, but for the one behind `_design` and `_local`."""
    if _needs_body(doc_id):
        raise DatabaseError(f'{doc_id!r}: a document of this id can be written by _bulk_docs only')
    for prefix in ('_design/', '_local/'):
        if doc_id.startswith(prefix):
            return prefix + quote(doc_id.removeprefix(prefix), safe='')
    return quote(doc_id, safe='')


def _needs_body(doc_id: str) -> bool:
    """Whether an id can be no part of a URL: it has to stand in the body of a request.

    `.` and `..` are taken out of paths, quoted or not, by clients (RFC 3986, 5.2.4 and 6.2.2.3) and by proxies, so that
    another thing would be asked for; servers end at a length of some thousand characters.
    """
    return not _is_text(doc_id) or len(quote(doc_id)) > LONGEST_IN_PATH or doc_id.split('/')[-1] in ('', '.', '..')


def _is_text(doc_id: str) -> bool:
    """Whether an id can be sent: half a surrogate pair, as of a name that is not UTF-8, is no character."""
    return not any('\ud800' <= char <= '\udfff' for char in doc_id)


def _is_refused(error: BaseException | None) -> bool:
    """Whether a requests error is that nobody listens at the port, which stands behind those of urllib3."""
    if isinstance(error, requests.RequestException):
        error = getattr(error.args[0], 'reason', None) if error.args else None
    return error is not None and isinstance(error.__cause__, ConnectionRefusedError)


def _cause(error: Exception) -> str:
    """The innermost reason of a requests error, which else repeats the URL and the objects around it."""
    reason = getattr(error.args[0], 'reason', error.args[0]) if error.args else error
    text = str(reason) or type(error).__name__
    return redact(text.split(': ', 1)[1] if '>: ' in text or text.startswith('HTTPConnection') else text)
