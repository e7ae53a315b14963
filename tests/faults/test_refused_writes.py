"""The server refuses single documents for a while: finished work is kept, and offered again until it is taken."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from edw.config import Settings
from edw.database.client import Database
from edw.listening import in_flight
from tests.faults.gateway import Gateway
from tests.loops import Running, names, once, seed
from tests.scripts import wait_until

PASSING = ['os_process_error', 'timeout', 'internal_server_error', 'unknown_error']


def refusal(error: str) -> dict[str, Any]:
    return {'error': error, 'reason': 'says the gateway'}


@pytest.mark.parametrize('error', [*PASSING, 'forbidden', 'unauthorized'])
def test_a_result_that_is_refused_for_a_while_is_written_later(
    database: Database, gateway: Gateway, through: Settings, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    monkeypatch.setattr(in_flight, 'FIRST_OFFER', 0.05)
    ids = seed(database, 3)
    refused: Counter[str] = Counter()
    runs: Counter[str] = Counter()

    def refuses(doc: dict[str, Any]) -> dict[str, Any] | None:
        if doc['_id'] == ids[1] and 'claim' not in doc and refused[doc['_id']] < 3:
            refused[doc['_id']] += 1
            return refusal(error)
        return None

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        runs[doc['_id']] += 1
        return {}

    gateway.refuses = refuses
    assert once(callback, through) == 0
    assert refused == {ids[1]: 3} and set(runs.values()) == {1}
    for doc in database.existing(ids).values():
        assert names(doc) == ['first'] and 'claim' not in doc and 'failures' not in doc


def test_a_failure_that_is_refused_for_a_while_is_recorded_later(
    database: Database, gateway: Gateway, through: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, 'FIRST_OFFER', 0.05)
    (doc_id,) = seed(database)
    left = [3]

    def refuses(doc: dict[str, Any]) -> dict[str, Any] | None:
        if doc.get('failures') and left[0]:
            left[0] -= 1
            return refusal('timeout')
        return None

    gateway.refuses = refuses
    once(lambda doc: 1 / 0, dataclasses.replace(through, retry_pause=0.0))
    doc = database.get(doc_id)
    assert [failure['attempt'] for failure in doc['failures']] == [1, 2, 3] and doc['status'] == 'first failed'


def test_one_that_is_forbidden_while_others_pass_fails_in_the_end(
    database: Database, gateway: Gateway, through: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, 'FIRST_OFFER', 0.05)
    monkeypatch.setattr(in_flight, 'PATIENCE', 0.3)
    first, second = seed(database, 2)
    forbidden = refusal('forbidden')
    gateway.refuses = lambda doc: forbidden if doc['_id'] == second and doc['process'] else None
    with Running(lambda doc: {}, through):
        wait_until(lambda: names(database.get(first)) == ['first'])
        # Nothing else is written while it waits, so that nothing tells whether it is about this result.
        refused = sum(doc['_id'] == second for request in gateway.requests for doc in request.docs or ())
        wait_until(
            lambda: (
                sum(doc['_id'] == second for request in gateway.requests for doc in request.docs or ()) > refused + 4
            )
        )
        assert 'claim' in database.get(second)
        database.put({'_id': 'later', 'status': 'good', 'process': []})
        wait_until(lambda: database.get(second)['status'] == 'first failed')
    doc = database.get(second)
    assert 'says the gateway' in doc['failures'][0]['error'] and 'claim' not in doc


def test_one_that_is_too_large_for_a_failure_gets_the_status_alone(
    database: Database, gateway: Gateway, through: Settings
) -> None:
    (doc_id,) = seed(database)
    gateway.refuses = lambda doc: refusal('too_large') if doc['process'] or 'failures' in doc else None
    assert once(lambda doc: {}, through) == 1
    doc = database.get(doc_id)
    assert doc['status'] == 'first failed' and 'claim' not in doc and 'failures' not in doc


@pytest.mark.parametrize('refuses_releases', [False, True])
def test_at_the_end_claims_are_released_like_any_others(
    database: Database, gateway: Gateway, through: Settings, refuses_releases: bool
) -> None:
    (doc_id,) = seed(database)

    def refuses(doc: dict[str, Any]) -> dict[str, Any] | None:
        return refusal('timeout') if doc['process'] or ('claim' not in doc and refuses_releases) else None

    gateway.refuses = refuses
    with Running(lambda doc: {}, through) as running:
        wait_until(lambda: any(doc['process'] for request in gateway.requests for doc in request.docs or ()))
        running.stop()
    if refuses_releases:
        assert 'claim' in database.get(doc_id)
        # Its peers release what it could not, as soon as the server lets them.
        gateway.refuses = lambda doc: None
        with Running(lambda doc: {}, through):
            wait_until(lambda: names(database.get(doc_id)) == ['first'])
    else:
        assert 'claim' not in database.get(doc_id) and names(database.get(doc_id)) == []


def test_claims_that_are_refused_are_said_once(
    database: Database, gateway: Gateway, through: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    seed(database, 3)
    gateway.refuses = lambda doc: refusal('forbidden')
    once(lambda doc: {}, through)
    assert caplog.text.count('cannot be claimed now, and perhaps others: says the gateway') == 1
    assert len(gateway.requests) < 30
