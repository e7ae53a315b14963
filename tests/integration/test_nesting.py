"""A document that is nested too deep, on a real server: it is named and left alone, all others are read and written."""

from __future__ import annotations

import pytest

from edw.database import nesting
from edw.database.client import Database
from edw.database.nesting import DEEPEST, TOO_DEEP, left_alone
from edw.errors import TooDeep
from tests.conftest import Server

LEVELS = 1000


@pytest.fixture
def deep(server: Server, database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with the documents a and z, and between them one that is nested too deep."""
    monkeypatch.setattr(nesting, '_named', set())
    for doc_id in ('a', 'z'):
        database.put({'_id': doc_id, 'status': 'good', 'process': [], 'x': [[]]})
    # Past the client, which would not write it.
    body = f'{{"_id": "deep", "status": "good", "process": [], "x": {"[" * LEVELS}{"]" * LEVELS}}}'
    answer = server.request(
        'PUT', f'{database.settings.dbname}/deep', data=body, headers={'Content-Type': 'application/json'}
    )
    assert answer.status_code == 201, answer.text
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
    answer = deep.longpoll(0, limit=100, include_docs=True)
    assert left_alone(answer['results']) == ['deep']
    assert {row['id'] for row in answer['results'] if row['doc']} >= {'a', 'z'}
    assert deep.longpoll(0, limit=100)['last_seq']


def test_one_that_nobody_could_read_again_is_not_written(deep: Database) -> None:
    too_deep: list[object] = []
    for _ in range(DEEPEST):
        too_deep = [too_deep]
    with pytest.raises(TooDeep, match='new is nested deeper than 200 levels: it is not written'):
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
