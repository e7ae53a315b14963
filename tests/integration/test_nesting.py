"""A document that is nested too deep, on a real server: it is named and left alone, all others are read and written."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

import listener
from edw.database import nesting
from edw.database.client import Database
from edw.database.nesting import DEEPEST, TOO_DEEP, left_alone
from edw.errors import TooDeep
from edw.listening.steps import Step
from tests.conftest import Server

LEVELS = 1000


def put_deep(server: Server, database: Database, doc_id: str) -> None:
    """Past the client, which would not write it."""
    body = f'{{"_id": "{doc_id}", "status": "good", "process": [], "x": {"[" * LEVELS}{"]" * LEVELS}}}'
    answer = server.request(
        'PUT', f'{database.settings.dbname}/{doc_id}', data=body, headers={'Content-Type': 'application/json'}
    )
    assert answer.status_code == 201, answer.text


@pytest.fixture
def deep(server: Server, database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with the documents a and z, and between them one that is nested too deep."""
    monkeypatch.setattr(nesting, '_named', set())
    for doc_id in ('a', 'z'):
        database.put({'_id': doc_id, 'status': 'good', 'process': [], 'x': [[]]})
    put_deep(server, database, 'deep')
    return database


def test_what_waits_is_read_but_for_the_deep_one(deep: Database, caplog: pytest.LogCaptureFixture) -> None:
    rows = deep.view(deep.settings.viewname, startkey=[0], endkey=[0, {}], reduce=False, include_docs=True)['rows']
    assert [(row['id'], row['doc'] is None) for row in rows] == [('a', False), ('deep', True), ('z', False)]
    assert left_alone(rows) == ['deep'] and caplog.text.count('deep is nested deeper than 200 levels') == 1
    rows = deep.all_docs(include_docs=True, keys=['a', 'deep', 'none'])
    assert left_alone(rows) == ['deep']
    # Without documents in it, an answer knows nothing of their depth.
    assert left_alone(deep.all_docs()) == []


def test_existing_ones_and_a_single_one(deep: Database) -> None:
    assert set(deep.existing(['a', 'deep', 'z', 'none'])) == {'a', 'z'}
    assert deep.conflicts(['a', 'deep', 'z']) == {}
    assert deep.leaves('deep') == [] and len(deep.leaves('a')) == 1
    with pytest.raises(TooDeep, match='deep is nested deeper'):
        deep.get('deep')


def test_the_feed_goes_on(deep: Database) -> None:
    rows: dict[str, dict[str, Any]] = {}
    since: str | int = 0
    while not rows.keys() >= {'a', 'deep', 'z'}:
        # CouchDB answers with what one shard has, and then with that of the next.
        answer = deep.longpoll(since, limit=100, include_docs='true')
        rows |= {row['id']: row for row in answer['results']}
        since = answer['last_seq']
    assert left_alone(list(rows.values())) == ['deep']
    assert rows['a']['doc'] and rows['z']['doc']


def test_one_that_nobody_could_read_again_is_not_written(deep: Database) -> None:
    too_deep: list[object] = []
    for _ in range(DEEPEST):
        too_deep = [too_deep]
    with pytest.raises(TooDeep, match='new is not written: nested deeper than 200 levels'):
        deep.put({'_id': 'new', 'x': too_deep})
    rows = deep.bulk_docs([{'_id': 'b'}, {'_id': 'new', 'x': too_deep}, {'_id': 'c'}, {'_id': 'a'}])
    assert [row.get('error') for row in rows] == [None, TOO_DEEP, None, 'conflict']
    assert [row['id'] for row in rows] == ['b', 'new', 'c', 'a']
    assert set(deep.existing(['b', 'c', 'new'])) == {'b', 'c'}
    assert deep.bulk_docs([{'_id': 'new', 'x': too_deep}])[0]['error'] == TOO_DEEP


def test_the_limit_itself_is_read_and_written(database: Database) -> None:
    value: list[object] = []
    for _ in range(DEEPEST - 2):
        value = [value]
    database.put({'_id': 'x', 'value': value})
    doc = database.get('x')
    assert doc['value'] == value
    rows = database.all_docs(include_docs=True, key='x')
    assert rows[0]['doc'] == doc and database.bulk_docs([doc])[0].get('rev')


@pytest.mark.parametrize('batch', [1, 500])
def test_a_listener_names_it_and_goes_on(deep: Database, caplog: pytest.LogCaptureFixture, batch: int) -> None:
    options = {'name': 'first', 'after': 0, 'failed': 'f', 'settings': deep.settings, 'once': True, 'batch': batch}
    assert listener.run(lambda doc: {}, **options) == 0
    assert [bool(deep.get(doc_id)['process']) for doc_id in ('a', 'z')] == [True, True]
    assert caplog.text.count('deep is nested deeper than 200 levels: it is left alone') == 1
    assert left_alone(deep.all_docs(include_docs=True, keys=['deep'])) == ['deep']


def test_a_listener_that_waits_for_changes_meets_it(
    server: Server, deep: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes with the feed, and others after it."""
    done: queue.SimpleQueue[str] = queue.SimpleQueue()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        done.put(doc['_id'])
        return {}

    step = Step('first', 0, 'f')
    loop = listener.Listener(callback, step, deep.settings, workers=1, batch=9, once=False)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        assert {done.get(timeout=20), done.get(timeout=20)} == {'a', 'z'}
        put_deep(server, deep, 'deeper')
        deep.put({'_id': 'later', 'status': 'good', 'process': []})
        assert done.get(timeout=20) == 'later'
    finally:
        loop.stop()
        thread.join(20)
    assert 'deeper is nested deeper' in caplog.text
