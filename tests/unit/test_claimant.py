"""One exchange with the database: results written, claims won, whatever happens to the answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from edw.claiming.claimant import Claimant
from edw.claiming.heartbeat import Heartbeat
from edw.claiming.results import Refused, Update
from edw.database.client import Database
from edw.errors import Unavailable
from edw.model import documents
from edw.model.documents import Document
from edw.telling.presence import Presence
from tests.unit.memory import SETTINGS, MemoryDatabase, new

NAME = 'here:1:abc'


class NotedHeartbeat(Heartbeat):
    """Takes note of what it is told, without a process."""

    def __init__(self) -> None:
        super().__init__(SETTINGS, Presence(NAME, 'first'))
        self.told: list[bool] = []
        self.ended: bool | None = None

    def tell(self, holds_claims: bool) -> None:
        self.told.append(holds_claims)

    def end(self, holds_claims: bool) -> None:
        self.ended = holds_claims


def claimant(database: MemoryDatabase, heartbeat: Heartbeat | None = None) -> Claimant:
    return Claimant(cast(Database, database), 'first', 0, heartbeat or NotedHeartbeat())


def result(doc: Document, **entry: Any) -> Update:
    record = {'name': 'first', **entry}
    return Update(doc, lambda doc: documents.with_entry(doc, record), record)


def ids(docs: list[Any]) -> list[str]:
    return [doc['_id'] for doc in docs]


def stale(doc: Document) -> Document:
    """The document as it was before somebody else changed it."""
    return {**doc, '_rev': '1-stale'}


def test_claims_are_won_lost_or_refused() -> None:
    database = MemoryDatabase(new('a'), new('b'), new('c'))
    database.refused = {'c': 'forbidden'}
    a, b, c = database.docs.values()
    done = claimant(database).exchange([], [a, stale(b), c], set())
    assert (ids(done.won), done.lost, done.refused, done.written) == (['a'], ['b'], {'c': 'says the server'}, [])
    assert done.won[0] == database.get('a') and database.get('a')['claim']['worker'] == NAME


def test_results_and_claims_are_one_request() -> None:
    database = MemoryDatabase(new('a'), new('b'))
    one = claimant(database)
    (mine,) = one.exchange([], [database.get('a')], set()).won
    wanted = [database.get('b')]
    database.requests.clear()
    done = one.exchange([result(mine)], wanted, {'a'})
    assert database.requests == ['bulk_docs of 2']
    assert ids(done.won) == ['b'] and done.written == [database.get('a')]
    assert database.get('a')['process'] == [{'name': 'first'}] and 'claim' not in database.get('a')


def test_nothing_to_exchange_is_no_request() -> None:
    database = MemoryDatabase()
    assert claimant(database).exchange([], [], set()).won == []
    assert database.requests == []


def test_an_exchange_whose_answer_was_lost_is_made_again() -> None:
    database = MemoryDatabase(new('a'), new('b'), new('c'))
    one = claimant(database)
    (mine,) = one.exchange([], [database.get('a')], set()).won
    arguments: Any = ([result(mine)], [database.get('b'), stale(database.get('c'))], {'a'})
    for lost in range(3):
        database.answers_to_lose = 1
        with pytest.raises(Unavailable):
            one.exchange(*arguments)
        assert database.get('a')['process'] == [{'name': 'first'}], lost
    done = one.exchange(*arguments)
    assert ids(done.won) == ['b'] and done.lost == ['c']
    assert done.written == [database.get('a')] and len(database.get('a')['process']) == 1


def test_claims_of_an_exchange_that_was_never_made_again_are_found_by_the_next_one() -> None:
    database = MemoryDatabase(new('a'), new('b'))
    heartbeat = NotedHeartbeat()
    one = claimant(database, heartbeat)
    database.answers_to_lose = 1
    with pytest.raises(Unavailable):
        one.exchange([], [database.get('a')], set())
    assert ids(one.exchange([], [database.get('b')], set()).won) == ['a', 'b']
    one.end(holds_claims=False)
    assert heartbeat.ended is False


def test_at_the_end_a_claim_that_was_not_answered_counts_as_held() -> None:
    database = MemoryDatabase(new('a'))
    heartbeat = NotedHeartbeat()
    one = claimant(database, heartbeat)
    database.answers_to_lose = 1
    with pytest.raises(Unavailable):
        one.exchange([], [database.get('a')], set())
    one.end(holds_claims=False)
    assert heartbeat.ended is True


def test_there_is_a_heartbeat_before_the_first_claim() -> None:
    database = MemoryDatabase(new('a'))
    heartbeat = NotedHeartbeat()
    database.answers_to_lose = 1
    with pytest.raises(Unavailable):
        claimant(database, heartbeat).exchange([], [database.get('a')], set())
    assert heartbeat.told == [True]


def test_in_a_cluster_a_claim_that_missed_its_quorum_is_not_won() -> None:
    database = MemoryDatabase(new('a'), new('b'), nodes=3)
    database.accepted = {'a'}
    one = claimant(database)
    done = one.exchange([], list(database.docs.values()), set())
    assert ids(done.won) == ['b'] and done.lost == [] and done.refused == {}
    one.tell(holds_claims=False)  # a dispute needs heartbeats, too


def test_in_a_cluster_a_claim_without_an_answer_is_not_made_twice() -> None:
    database = MemoryDatabase(new('a'), nodes=3)
    one = claimant(database)
    wanted = [database.get('a')]
    database.answers_to_lose = 1
    with pytest.raises(Unavailable):
        one.exchange([], wanted, set())
    revision = database.get('a')['_rev']
    done = one.exchange([], wanted, set())
    assert done.won == [] and list(done.refused) == ['a'] and database.get('a')['_rev'] == revision


def test_what_is_left_over_is_looked_for_only_after_claims_and_until_it_is_answered() -> None:
    database = MemoryDatabase(new('a'))
    one = claimant(database)
    database.put(documents.claimed(database.get('a'), 'first', NAME, 1.0))
    assert one.left_over(set()) == []
    one.exchange([], [stale(database.get('a'))], set())
    database.views_to_refuse = 1
    with pytest.raises(Unavailable):
        one.left_over(set())
    assert ids(one.left_over(set())) == ['a'] and one.left_over(set()) == []
    assert one.held() == {'a'}


def test_a_document_that_was_deleted_in_this_moment_is_held_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    database = MemoryDatabase()
    rows = [{'id': 'gone', 'key': ['first', NAME]}, {'id': 'gone too', 'key': ['first', NAME], 'doc': None}]
    monkeypatch.setattr(database, 'view', lambda viewname, **query: {'rows': rows})
    assert claimant(database).held() == set()


def test_a_release_whose_answer_was_lost_is_no_lost_claim(caplog: pytest.LogCaptureFixture) -> None:
    database = MemoryDatabase(new('a'))
    one = claimant(database)
    (mine,) = one.exchange([], [database.get('a')], set()).won
    release = [Update(mine, documents.released)]
    database.answers_to_lose = 1
    with pytest.raises(Unavailable):
        one.exchange(release, [], {'a'})
    assert one.exchange(release, [], {'a'}).written == [database.get('a')]
    assert 'claim' not in database.get('a') and 'no longer claimed' not in caplog.text


def test_what_became_of_each_result() -> None:
    database = MemoryDatabase(*(new(doc_id) for doc_id in ('edited', 'lost', 'deleted', 'cut', 'refused')))
    one = claimant(database)
    won = {doc['_id']: doc for doc in one.exchange([], list(database.docs.values()), set()).won}
    database.put({**database.get('edited'), 'comment': 'kept'})
    database.put({**database.get('lost'), 'claim': {'process': 'first', 'worker': 'another', 'since': 0}})
    del database.docs['deleted']
    database.put({**database.get('cut'), 'process': [{'name': 'by_hand'}]})
    database.refused = {'refused': 'too_large'}
    written = one.exchange([result(doc) for doc in won.values()], [], set(won)).written
    by_id = dict(zip(won, written, strict=True))
    assert by_id['edited'] == database.get('edited')
    assert database.get('edited')['comment'] == 'kept' and database.get('edited')['process'] == [{'name': 'first'}]
    assert by_id['lost'] is None and database.get('lost')['process'] == []
    assert by_id['deleted'] is None and 'deleted' not in database.docs
    assert database.get('cut')['process'] == [{'name': 'by_hand'}] and 'claim' not in database.get('cut')
    assert isinstance(by_id['refused'], Refused) and 'too_large' in by_id['refused'].reason
