"""Requests that fail because of what is in them, while the server answers all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from edw.config import Settings
from edw.database.bulk import UNANSWERED
from edw.database.client import Database
from edw.errors import Unstorable
from edw.listening import in_flight
from tests.faults.gateway import RESET, Answer, Gateway, Request
from tests.loops import names, once, seed

MOST = 10  # documents of a write that get through


def large(answer: Answer) -> Callable[[Request], Answer | None]:
    return lambda request: answer if request.docs is not None and len(request.docs) > MOST else None


@pytest.mark.parametrize(
    'answer',
    [
        Answer(429, b'{"error":"too_many_requests","reason":"x"}'),
        Answer(504),
        Answer(413),
        Answer(500, b'{"error":"badarith"}'),
        RESET,
    ],
    ids=['429', '504', '413', '500', 'reset'],
)
def test_a_write_that_is_too_large_is_divided_until_it_gets_through(
    database: Database, gateway: Gateway, through: Settings, answer: Answer
) -> None:
    ids = seed(database, 50)
    gateway.answers = large(answer)
    assert once(lambda doc: {}, through) == 0
    assert all(names(doc) == ['first'] for doc in database.existing(ids).values())
    # Found out once, and remembered.
    sizes = [len(request.docs) for request in gateway.requests if request.docs]
    assert sum(size > MOST for size in sizes) < 12


@pytest.mark.parametrize('answer', [Answer(500, b'{"error":"badarith","reason":"x"}'), RESET], ids=['500', 'reset'])
def test_one_that_never_gets_through_fails_and_the_others_are_written(
    database: Database, gateway: Gateway, through: Settings, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(in_flight, 'FIRST_OFFER', 0.05)
    monkeypatch.setattr(in_flight, 'PATIENCE', 0.2)
    ids = seed(database, 20)
    bad = ids[7]

    def answers(request: Request) -> Answer | None:
        is_bad = any(doc['_id'] == bad and doc['process'] for doc in request.docs or ())
        return answer if is_bad else None

    gateway.answers = answers
    later = iter(range(1000))

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        if doc['_id'] != bad and next(later) < 30:  # something goes on being written meanwhile
            database.put({'_id': f'later{next(later)}', 'status': 'good', 'process': []})
        return {}

    assert once(callback, through) == 1
    for doc in database.existing(ids).values():
        assert (doc['status'] == 'first failed') == (doc['_id'] == bad)
    assert UNANSWERED in database.get(bad)['failures'][0]['error']


def test_an_outage_is_no_matter_of_size(
    database: Database, gateway: Gateway, through: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ids = seed(database, 30)
    left = [6]

    def answers(request: Request) -> Answer | None:
        if any(other.docs for other in gateway.requests) and left[0]:
            left[0] -= 1
            return RESET
        return None

    gateway.answers = answers
    assert once(lambda doc: {}, through) == 0
    assert all(names(doc) == ['first'] for doc in database.existing(ids).values())
    assert 'trying again until it answers' in caplog.text and 'at a time' not in caplog.text


@pytest.mark.parametrize('value', [10**309, -(10**400), 1e308, float('inf'), float('nan'), {'a': [10**309]}])
def test_what_no_database_keeps_is_not_sent(database: Database, value: Any) -> None:
    rows = database.bulk_docs([{'_id': 'a'}, {'_id': 'bad', 'x': value}, {'_id': 'b'}])
    assert [row.get('error') for row in rows] == [None, Unstorable.word, None]
    with pytest.raises(Unstorable, match='bad is not written: a number'):
        database.put({'_id': 'bad', 'x': value})
    assert set(database.existing(['a', 'b', 'bad'])) == {'a', 'b'}


@pytest.mark.parametrize('value', [10**309, -1e308, [[10**309]]])
def test_a_result_with_such_a_number_is_a_failed_attempt(database: Database, value: Any) -> None:
    ids = seed(database, 2)
    settings = dataclasses.replace(database.settings, retry_pause=0.0)
    assert once(lambda doc: {'x': value if doc['_id'] == ids[0] else 1}, settings) == 1
    docs = database.existing(ids)
    assert 'no database can keep: a number of 1e+308' in docs[ids[0]]['failures'][0]['error']
    assert names(docs[ids[1]]) == ['first']


def test_a_result_that_is_nested_beyond_a_hundred_is_a_failed_attempt(database: Database) -> None:
    (doc_id,) = seed(database)
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]
    assert once(lambda doc: {'x': nested}, dataclasses.replace(database.settings, retry_pause=0.0)) == 1
    assert 'nested deeper than 100 levels' in database.get(doc_id)['failures'][0]['error']
