"""Documents listed one by one: what is wrong with each, since when, and how many more there are."""

from __future__ import annotations

from typing import Any

import pytest

from edw.database.client import Database
from edw.errors import EdwError, NoSuchStep
from edw.operating import listing

DONE = {'name': 'copy', 'finished': 5.0}
FAILED = {'process': 'copy', 'error': 'StepError: /x has the md5 1, not 2', 'kind': 'md5 differs', 'time': 9.0}


def put(database: Database, doc_id: str, **fields: Any) -> None:
    database.put({'_id': doc_id, 'run': 'r', 'status': 'good', 'process': [], 'datecreated': 1.0, **fields})


@pytest.fixture
def filled(database: Database) -> Database:
    put(database, 'new')
    put(database, 'tried', failures=[{**FAILED, 'process': 'analysis', 'time': 7.0}], process=[DONE])
    put(database, 'past', process=[DONE], failures=[FAILED])
    put(database, 'done', process=[DONE, {'name': 'analysis', 'finished': 6.0}])
    put(database, 'bad', status='failed copy', failures=[FAILED])
    put(database, 'odd', status='by hand')
    put(database, 'held', status='held', hold={'reason': 'fridge', 'time': 4.0})
    put(database, 'busy', process=[DONE], claim={'process': 'analysis', 'worker': 'here:1:a', 'since': 8.0})
    database.put({'_id': 'r', 'type': 'run', 'status': 'closed', 'process': []})
    put(database, 'other', run='r2', status='failed copy', failures=[FAILED])
    return database


def told(found: listing.Listing) -> list[tuple[str, float | None, str, str]]:
    return [(one.doc_id, one.time, one.state, one.what) for one in found.documents]


ERROR = 'md5 differs: /x has the md5 1, not 2'


def test_a_run_with_what_is_wrong_first(filled: Database) -> None:
    assert told(listing.of_run(filled, 'r')) == [
        ('r', None, 'closed', ''),
        ('bad', 9.0, 'failed in copy', ERROR),
        ('odd', None, 'by hand', ''),
        ('held', 4.0, 'held', 'fridge'),
        ('busy', 8.0, 'at analysis', 'claimed by here:1:a'),
        ('done', 6.0, 'past analysis', ''),
        ('new', 1.0, 'new', ''),
        ('past', 9.0, 'past copy', ''),
        ('tried', 7.0, 'past copy', f'last failure: {ERROR}'),
    ]
    with pytest.raises(EdwError, match="no documents of a run 'nosuch'"):
        listing.of_run(filled, 'nosuch')


def test_what_failed(filled: Database) -> None:
    assert sorted(one.doc_id for one in listing.failed(filled).documents) == ['bad', 'odd', 'other']
    assert sorted(one.doc_id for one in listing.failed(filled, 'copy').documents) == ['bad', 'other']
    assert [one.doc_id for one in listing.failed(filled, 'copy', 'r').documents] == ['bad']
    assert listing.failed(filled, 'analysis') == listing.Listing([], 0)
    with pytest.raises(NoSuchStep, match='Did you mean copy'):
        listing.failed(filled, 'cpoy')


def test_what_waits_for_a_step(filled: Database) -> None:
    assert [one.doc_id for one in listing.waiting(filled, 'analysis').documents] == ['tried', 'past']
    assert [one.doc_id for one in listing.waiting(filled, 'copy', 'r').documents] == ['new']
    assert listing.waiting(filled, 'copy', 'r2') == listing.Listing([], 0)
    with pytest.raises(NoSuchStep, match='Did you mean analysis'):
        listing.waiting(filled, 'anlysis')


def test_there_is_an_end(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, 'MOST', 2)
    assert [
        (len(found.documents), found.more)
        for found in (
            listing.of_run(filled, 'r'),
            listing.failed(filled),
            listing.failed(filled, 'copy'),
            listing.waiting(filled, 'analysis'),
        )
    ] == [(2, 7), (2, 1), (2, 0), (2, 0)]
