"""Database access: each answer that is not a yes is the right exception, and says the way out."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edw.config import Settings
from edw.database import client as couch
from edw.database.client import Database
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
from tests.socket_server import answering, http


def at(settings: Settings, url: str) -> Database:
    return Database(dataclasses.replace(settings, server=url))


@pytest.mark.parametrize(
    ('answer', 'error', 'says'),
    [
        (http('401 Unauthorized', b'{"reason": "Name or password is incorrect."}'), LoginRefused, 'EDW_PASSWORD'),
        (http('403 Forbidden', b'{"reason": "no"}'), Forbidden, 'administrator'),
        (http('403 Forbidden', b'{"reason": "Account is temporarily locked"}'), Unavailable, 'wrong password'),
        (http('404 Not Found', b'{"reason": "Database does not exist."}'), NoDatabase, 'upload_design.py'),
        (http('404 Not Found', b'{"reason": "missing"}'), NotFound, 'missing'),
        (http('409 Conflict', b'{"reason": "c"}'), Conflict, '409'),
        (http('400 Bad Request', b'{"reason": "bad"}'), BadRequest, 'bad'),
        (http('405 Method Not Allowed', b'{"reason": "bad"}'), DatabaseError, 'bad'),
        (http('400 Bad Request', b'<html>'), Unavailable, "not CouchDB's JSON"),
        (http('413 Too Large', b'<html>'), TooLarge, '413'),
        (http('429 Too Many Requests', b'{"reason": "slow"}', 'Retry-After: 3'), Unavailable, 'slow'),
        (http('500 Internal Server Error', b'{"reason": "x"}'), Unavailable, '500'),
        (http('502 Bad Gateway', b'<html>'), Unavailable, '502'),
        (http('503 Service Unavailable', b''), Unavailable, '503'),
        (http('504 Gateway Timeout', b''), Unavailable, '504'),
        (http('200 OK', b'<html>log in to the guest network</html>'), Unavailable, "not CouchDB's JSON"),
        (http('200 OK', b'{"update_seq": '), Unavailable, "not CouchDB's JSON"),
        (http('200 OK', b'{"update', length=100), Unavailable, 'cannot be reached'),
        (
            http('302 Found', b'', 'Location: http://elsewhere.invalid/'),
            Unavailable,
            'redirects to http://elsewhere.invalid/',
        ),
        (b'', Unavailable, 'cannot be reached'),
        (b'SSH-2.0-OpenSSH\r\n', Unavailable, 'cannot be reached'),
    ],
)
def test_answers(settings: Settings, answer: bytes, error: type[Exception], says: str) -> None:
    with answering(answer) as url, pytest.raises(error, match=says.replace('.', r'\.')) as raised:
        at(settings, url).info()
    assert type(raised.value) is error
    assert settings.password not in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


def test_a_basic_login_that_is_refused_for_another_reason(settings: Settings) -> None:
    refused = http('401 Unauthorized', b'{"reason": "no"}')
    # Twice, because between them it is asked whether there are sessions.
    with answering(refused, refused) as url, pytest.raises(LoginRefused, match='EDW_PASSWORD') as raised:
        at(settings, url).info()
    assert settings.password not in str(raised.value) and len(str(raised.value).splitlines()) <= 2


def test_retry_after_is_kept(settings: Settings) -> None:
    with answering(http('429 Too Many Requests', b'{}', 'Retry-After: 3')) as url, pytest.raises(Unavailable) as raised:
        at(settings, url).info()
    assert raised.value.retry_after == 3


def test_nobody_listens(settings: Settings) -> None:
    with socket.create_server(('127.0.0.1', 0)) as listening:
        url = f'http://127.0.0.1:{listening.getsockname()[1]}'
    with pytest.raises(Unavailable, match='refused') as raised:
        at(settings, url).info()
    assert raised.value.way_out.endswith('start it: python local_couchdb.py')


def test_a_server_that_breaks_off_is_there(settings: Settings) -> None:
    with answering(b'') as url, pytest.raises(Unavailable) as raised:
        at(settings, url).info()
    assert raised.value.way_out == ''


def test_silence_is_failed_status(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couch, 'FEED_SILENCE', 0.2)
    with answering(None) as url, pytest.raises(Unavailable, match='timed out'):
        at(settings, url).longpoll(0)


def test_netrc_is_the_login_where_there_is_no_username(
    settings: Settings, empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = dataclasses.replace(settings, username='', password='')
    monkeypatch.setenv('NETRC', '/dev/null')
    with pytest.raises(LoginRefused, match='netrc'):
        Database(bare).info()
    netrc = tmp_path / 'netrc'
    netrc.write_text(f'machine 127.0.0.1 login {settings.username} password {settings.password}\n')
    netrc.chmod(0o600)
    monkeypatch.setenv('NETRC', str(netrc))
    assert 'update_seq' in Database(bare).info()


def test_the_environment_is_asked_for_a_proxy_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    welcome = http('200 OK', b'{"update_seq": 7}')
    with answering(http('404 Not Found', b'{}'), welcome, welcome, seen=seen) as proxy:
        monkeypatch.setenv('http_proxy', proxy)
        monkeypatch.setenv('no_proxy', '127.0.0.1')
        database = at(settings, 'http://database.invalid:5984')
        assert database.info()['update_seq'] == 7
        monkeypatch.delenv('http_proxy')
        assert database.info()['update_seq'] == 7
        asked = f'GET http://database.invalid:5984/{settings.dbname} HTTP/1.1'
        assert seen == ['POST http://database.invalid:5984/_session HTTP/1.1', asked, asked]
        monkeypatch.setenv('http_proxy', proxy)
        with pytest.raises(NoDatabase):
            Database(settings).info()  # which is at 127.0.0.1


def test_wrong_password_and_no_database(settings: Settings) -> None:
    with pytest.raises(NoDatabase):
        Database(settings).info()
    with pytest.raises(LoginRefused, match=settings.username):
        Database(dataclasses.replace(settings, password='wrong')).info()


@pytest.mark.parametrize('doc_id', ['a/b?c&d=e', 'ü \ufff0"\'', 'x+y%20z', '#', '_local/x/y'])
def test_ids_of_any_kind(empty_database: Database, doc_id: str) -> None:
    empty_database.put({'_id': doc_id, 'value': 1})
    assert empty_database.get(doc_id)['value'] == 1


@pytest.mark.parametrize('doc_id', ['.', '..', '%2E', 'a/..', 'a/', 'ü' * 2_000, 'x' * 10_000])
def test_ids_that_can_be_no_part_of_a_url(empty_database: Database, doc_id: str) -> None:
    """HTTP clients and proxies take `.` and `..` out of a path, quoted or not: the database itself would answer."""
    assert empty_database.bulk_docs([{'_id': doc_id, 'value': 1}])[0]['ok']
    assert empty_database.get(doc_id)['value'] == 1
    assert [doc['value'] for doc in empty_database.leaves(doc_id)] == [1]


@pytest.mark.parametrize('doc_id', ['', '.', '..', '_design/', '_design/..', '_design/.', '\udcff', '_local/\ud800'])
def test_ids_that_are_not_there(empty_database: Database, doc_id: str) -> None:
    with pytest.raises(NotFound):
        empty_database.get(doc_id)
    assert empty_database.existing([doc_id]) == {}


@pytest.mark.parametrize('doc_id', ['', '.', '..', '_design/..', '\udcff'])
def test_nothing_else_is_written_or_deleted_in_their_place(empty_database: Database, doc_id: str) -> None:
    with pytest.raises(DatabaseError, match='can be written by _bulk_docs only'):
        empty_database.put({'_id': doc_id})
    with pytest.raises(DatabaseError):
        empty_database.delete({'_id': doc_id, '_rev': '1-a'})
    assert empty_database.info()


@pytest.mark.parametrize('answer', [b'{}', b'[]', b'[1]', b'{"rows": 1}'])
@pytest.mark.parametrize(
    'ask',
    [
        lambda database: database.info(),
        lambda database: database.copies(),
        lambda database: database.get('x'),
        lambda database: database.put({'_id': 'x'}),
        lambda database: database.existing(['x']),
        lambda database: database.conflicts(['x']),
        lambda database: database.leaves('.'),
        lambda database: database.all_docs(),
        lambda database: database.longpoll(0),
        lambda database: database.design_info('_design/x'),
        lambda database: database.bulk_docs([{'_id': 'x'}]),
    ],
)
def test_json_of_something_else_is_no_answer(
    settings: Settings, answer: bytes, ask: Callable[[Database], object]
) -> None:
    with answering(http('200 OK', answer)) as url, pytest.raises(Unavailable, match='the answer '):
        ask(at(settings, url))


@pytest.mark.parametrize('copies', ['"abc"', '0', '-1', '1.5', 'true', 'null', '[]', '1e999'])
def test_a_number_of_copies_that_is_none(settings: Settings, copies: str) -> None:
    answer = http('200 OK', f'{{"update_seq": 1, "cluster": {{"n": {copies}}}}}'.encode())
    with answering(answer) as url, pytest.raises(DatabaseError, match='copies of each document') as raised:
        at(settings, url).copies()
    assert type(raised.value) is DatabaseError


def test_an_old_revision_is_a_conflict(empty_database: Database) -> None:
    first = empty_database.put({'_id': 'a/b'})
    empty_database.put({'_id': 'a/b', '_rev': first['rev']})
    with pytest.raises(Conflict):
        empty_database.put({'_id': 'a/b', '_rev': first['rev']})


def test_bulk_rows_and_existing(empty_database: Database) -> None:
    empty_database.put({'_id': 'a'})
    rows = empty_database.bulk_docs([{'_id': 'a'}, {'_id': 'b'}])
    assert rows[0]['error'] == 'conflict' and rows[1]['ok']
    empty_database.delete({'_id': 'b', '_rev': rows[1]['rev']})
    assert set(empty_database.existing(['a', 'b', 'c'])) == {'a'}
    assert empty_database.create() is False
