"""Leaves of one document: lost claims are deleted, and what holds anything else stays for people to choose from.

Replication from another site is made with `new_edits: false`, as replicators write. Where a test is of a cluster, the
client is told that there are two copies: a server that has one answers the same requests in the same way.
"""

from __future__ import annotations

import shlex
from typing import Any

import pytest

import listener
from edw.claiming import cluster, results
from edw.claiming.claimant import Claimant
from edw.claiming.heartbeat import Heartbeat
from edw.claiming.results import Update
from edw.config import Settings
from edw.database.client import Database
from edw.model import documents
from edw.model.documents import Document
from edw.operating import conflicts, tables
from edw.telling.presence import Presence
from tests.conftest import Server
from tests.scripts import wait_until

HERE, THERE, FAR = 'here:1:aa', 'there:2:bb', 'far:3:cc'
RECORD = {'name': 'first', 'hostname': 'here', 'finished': 5.0}


@pytest.fixture
def of_cluster(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(Database, 'copies', lambda self: 2)
    return database


def made(database: Database, doc_id: str = 'a') -> Document:
    database.bulk_docs([{'_id': doc_id, 'status': 'good', 'process': [], 'md5sum': 'x'}])
    return database.get(doc_id)


def replicated(database: Database, parents: list[Document], version: Document, digest: str) -> Document:
    """A version that came by replication, made elsewhere of the newest of `parents`."""
    ids = [digest, *(doc['_rev'].partition('-')[2] for doc in parents)]
    start = int(parents[0]['_rev'].partition('-')[0]) + 1
    doc = {**version, '_rev': f'{start}-{digest}', '_revisions': {'start': start, 'ids': ids}}
    database._request('POST', '_bulk_docs', body={'docs': [doc], 'new_edits': False})
    return {field: value for field, value in doc.items() if field != '_revisions'}


def revisions(database: Database, doc_id: str = 'a') -> set[str]:
    return {leaf['_rev'] for leaf in database.leaves(doc_id)}


def far_results(doc: Document) -> Document:
    """What another site makes of a document: the first step's result, and a claim for the second."""
    return documents.claimed(documents.with_entry(doc, {'name': 'first', 'hostname': 'far'}), 'second', FAR, 2.0)


def claimant(database: Database) -> Claimant:
    class Silent(Heartbeat):
        def tell(self, holds_claims: bool) -> None:
            pass

    return Claimant(database, 'first', 0, Silent(database.settings, Presence(HERE, 'first')))


def result(doc: Document) -> Update:
    return Update(doc, lambda doc: documents.with_entry(doc, RECORD), RECORD)


@pytest.mark.parametrize('digest', ['0' * 32, 'f' * 32])
def test_a_leaf_with_results_of_another_site_outlasts_a_result_that_is_written_here(
    of_cluster: Database, digest: str
) -> None:
    """Whichever of the two is the one that readers see."""
    free = made(of_cluster)
    one = claimant(of_cluster)
    (mine,) = one.exchange([], [free], set()).won
    far = replicated(of_cluster, [{'_rev': f'2-{"e" * 32}'}, free], far_results(free), digest)
    (written,) = one.exchange([result(mine)], [], {'a'}).written
    assert isinstance(written, dict)
    assert revisions(of_cluster) == {written['_rev'], far['_rev']}


def test_lost_claims_are_deleted_with_the_result(of_cluster: Database) -> None:
    free = made(of_cluster)
    one = claimant(of_cluster)
    (mine,) = one.exchange([], [free], set()).won
    replicated(of_cluster, [free], documents.claimed(free, 'first', THERE, 2.0), '0' * 32)
    assert len(revisions(of_cluster)) == 2
    (written,) = one.exchange([result(mine)], [], {'a'}).written
    assert isinstance(written, dict) and revisions(of_cluster) == {written['_rev']}


def attempt(doc: Document) -> Update:
    failure = {'process': 'first', 'error': 'E', 'time': 3.0, 'attempt': 1}
    return Update(doc, lambda doc: documents.with_failure(doc, failure), failure, is_failure=True)


def test_a_lost_claim_is_known_by_the_ancestor_that_it_was_made_on(of_cluster: Database) -> None:
    """Where it comes to light only when the document as it was claimed here has failures in it."""
    free = made(of_cluster)
    one = claimant(of_cluster)
    (mine,) = one.exchange([], [free], set()).won
    (mine,) = [doc for doc in one.exchange([attempt(mine)], [], {'a'}).written if isinstance(doc, dict)]
    lost = replicated(of_cluster, [free], documents.claimed(free, 'first', THERE, 2.0), '0' * 32)
    edited = replicated(of_cluster, [free], {**documents.claimed(free, 'first', THERE, 2.0), 'comment': 'c'}, '1' * 32)
    assert {lost['_rev'], edited['_rev']} < revisions(of_cluster)
    (written,) = one.exchange([result(mine)], [], {'a'}).written
    assert isinstance(written, dict) and revisions(of_cluster) == {written['_rev'], edited['_rev']}


def test_without_the_ancestor_the_document_as_it_was_claimed_tells(of_cluster: Database) -> None:
    """Compaction throws bodies of ancestors away. What cannot be shown to be a claim alone stays."""
    free = made(of_cluster)
    one = claimant(of_cluster)
    (mine,) = one.exchange([], [free], set()).won
    replicated(of_cluster, [free], documents.claimed(free, 'first', THERE, 2.0), '0' * 32)
    edited = replicated(of_cluster, [free], {**documents.claimed(free, 'first', THERE, 2.0), 'comment': 'c'}, '1' * 32)
    compact(of_cluster, free)
    (written,) = one.exchange([result(mine)], [], {'a'}).written
    assert isinstance(written, dict) and revisions(of_cluster) == {written['_rev'], edited['_rev']}


def compact(database: Database, ancestor: Document) -> None:
    def is_gone() -> bool:
        database._request('POST', '_compact', body={})
        return database.revision('a', ancestor['_rev']) is None

    wait_until(is_gone, every=0.1)


def test_a_disputed_claim_deletes_no_results_of_another_site(of_cluster: Database) -> None:
    """That one's listeners write their heartbeats elsewhere: here they look dead."""
    free = made(of_cluster)
    far = replicated(of_cluster, [free], far_results(free), '0' * 32)
    own = replicated(of_cluster, [free], documents.claimed(free, 'first', HERE, 2.0), 'f' * 32)
    assert cluster.settle(of_cluster, 'a', own['_rev'], lambda listener: True)
    assert far['_rev'] in revisions(of_cluster)
    assert of_cluster.get('a').get('claim') is None  # and is seen, and free
    assert '_revisions' not in of_cluster.get('a')


@pytest.mark.parametrize('is_claim', [True, False])
def test_a_disputed_claim_offers_no_finished_document_again_when_its_ancestor_is_compacted_away(
    of_cluster: Database, is_claim: bool
) -> None:
    """As CouchDB does by itself within a burst. An edit of a claim has no proof: it stays, and is not seen."""
    free = made(of_cluster)
    claimed = replicated(of_cluster, [free], documents.claimed(free, 'first', THERE, 2.0), 'e' * 32)
    done = replicated(of_cluster, [claimed, free], documents.with_entry(claimed, RECORD), '0' * 32)
    own = replicated(of_cluster, [free], documents.claimed(free, 'first', HERE, 2.0), 'f' * 32)
    compact(of_cluster, free)
    disputes = cluster.Disputes(of_cluster)
    disputes.add([own], are_claims=is_claim)
    disputes.settle(lambda listener: False)
    assert len(disputes) == 0
    assert of_cluster.get('a')['_rev'] == done['_rev']
    assert revisions(of_cluster) == ({done['_rev']} if is_claim else {done['_rev'], own['_rev']})


def test_disputed_claims_of_dead_listeners_are_deleted(of_cluster: Database) -> None:
    free = made(of_cluster)
    replicated(of_cluster, [free], documents.claimed(free, 'first', THERE, 2.0), '0' * 32)
    own = replicated(of_cluster, [free], documents.claimed(free, 'first', HERE, 2.0), 'f' * 32)
    assert not cluster.settle(of_cluster, 'a', own['_rev'], lambda listener: False)
    assert cluster.settle(of_cluster, 'a', own['_rev'], lambda listener: True)
    (left,) = of_cluster.leaves('a')
    assert 'claim' not in left


def test_a_claim_with_results_of_another_site_is_released_and_not_deleted(of_cluster: Database) -> None:
    free = made(of_cluster)
    replicated(of_cluster, [free], {**free, 'comment': 'edited'}, '0' * 32)
    far = replicated(of_cluster, [free], far_results(free), 'f' * 32)
    assert cluster.release_all(of_cluster, 'second', FAR, lambda listener: listener == FAR) == 1
    left = {leaf['_rev']: leaf for leaf in of_cluster.leaves('a')}
    assert len(left) == 2 and far['_rev'] not in left  # it has a child
    assert sorted(len(leaf['process']) for leaf in left.values()) == [0, 1]
    assert not any('claim' in leaf for leaf in left.values())


def test_a_result_is_taken_back_for_an_edit_of_the_same_moment_alone(of_cluster: Database) -> None:
    """Not for a leaf that was made elsewhere: that knows nothing of the steps that were done here."""
    free = made(of_cluster)
    (mine,) = claimant(of_cluster).exchange([], [free], set()).won
    replicated(of_cluster, [free], documents.released(far_results(free)), '0' * 32)
    version = documents.with_entry(mine, RECORD)
    (row,) = of_cluster.bulk_docs([version])
    missed = {**row, 'accepted': True}
    written = results.by_row(of_cluster, result(mine), version, missed, 0)
    assert isinstance(written, dict) and written['_rev'] == row['rev'] and row['rev'] in revisions(of_cluster)
    replicated(of_cluster, [mine, free], {**mine, 'comment': 'of this moment'}, '1' * 32)
    again = results.by_row(of_cluster, result(mine), version, missed, 0)
    assert row['rev'] not in revisions(of_cluster)
    assert isinstance(again, dict) and again['comment'] == 'of this moment'


@pytest.mark.parametrize('digest', ['0' * 32, 'f' * 32])
def test_on_a_single_node_a_listener_neither_chooses_nor_deletes(
    database: Database, settings: Settings, digest: str
) -> None:
    """The version that readers see is processed, and the conflict is there for people to see."""
    free = made(database)
    edited = database.put({**free, 'comment': 'here'})['rev']
    other = replicated(database, [free], documents.with_entry(free, {'name': 'first', 'hostname': 'far'}), digest)
    seen = database.get('a')

    def callback(doc: Document) -> dict[str, Any]:
        return {'log': doc.get('comment', 'none')}

    step, after = ('first', 0) if seen['_rev'] == edited else ('second', 'first')
    assert listener.run(callback, name=step, after=after, failed='no', settings=settings, once=True) == 0
    left = {leaf['_rev']: leaf for leaf in database.leaves('a')}
    hidden = other['_rev'] if seen['_rev'] == edited else edited
    assert len(left) == 2 and hidden in left
    done = database.get('a')
    assert done['_rev'] != hidden and done['process'][-1]['name'] == step
    assert database.conflicts(['a']) == {'a': [hidden]}


def test_the_versions_are_shown_side_by_side(database: Database) -> None:
    free = made(database, 'a/b c')
    here = database.put({**documents.with_entry(free, RECORD), 'comment': 'http://me:hush-hush@host/'})['rev']
    far = replicated(database, [free], documents.with_entry(free, {'name': 'other', 'hostname': 'far'}), '0' * 32)
    made(database, 'z')
    (found,) = conflicts.conflicts(database)
    assert (found.doc_id, found.revisions) == ('a/b c', [here, far['_rev']])
    rows = dict(found.rows)
    assert rows['status'] == ['good', 'good'] and rows['last step'] == ['first', 'other']
    assert rows['last event'][0].endswith('done first on here') and 'md5sum' not in rows
    assert '"far"' in rows['process 1'][1] and rows['comment'][1] == '-'
    shown = tables.plain(tables.console(), tables.conflict(found, width=200)) + str(found)
    assert 'hush-hush' not in shown and database.settings.password not in shown
    assert conflicts.conflict(database, 'z') is None


def test_the_command_deletes_the_version_that_it_names(database: Database, server: Server) -> None:
    free = made(database, "a/b 'c'")
    database.put(documents.with_entry(free, RECORD))
    far = replicated(database, [free], documents.with_entry(free, {'name': 'other'}), '0' * 32)
    (found,) = conflicts.conflicts(database)
    curl, *words, url = shlex.split(found.deletions[0])
    assert [curl, *words] == ['curl', '-u', server.username, '-X', 'DELETE']
    assert url.startswith(f'{server.url}/')
    assert server.request('DELETE', url.removeprefix(f'{server.url}/')).ok
    assert database.get("a/b 'c'")['_rev'] == far['_rev'] and conflicts.conflicts(database) == []


def test_any_json_can_be_compared() -> None:
    for odd in (None, 1, 'x', [], [None, 3], {}, {'a': [1]}):
        versions = [{'_id': 'a', '_rev': '1-a', **dict.fromkeys(('status', 'process', 'failures', 'claim', 'b'), odd)}]
        assert conflicts.compared([*versions, {'_id': 'a', '_rev': '1-b', 'process': [1], 'b': 2}])
