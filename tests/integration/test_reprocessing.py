"""Selecting and requeuing documents on a server, beside others who write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import listener
import local_couchdb
from edw import config
from edw.database import views
from edw.database.client import Database
from edw.errors import EdwError
from edw.model import documents
from edw.model.documents import GOOD, Document
from edw.model.provenance import Made
from edw.operating import reprocessing
from edw.operating.reprocessing import Outcome, cut_before, requeue, requeued
from edw.selecting import planning
from edw.selecting.selection import NO_DOCUMENT, Selection, select_documents
from tests.conftest import Server

CHAIN = [{'name': 'first', 'file': 'a'}, {'name': 'second', 'file': 'b'}]
FAILURE = {'process': 'second', 'error': 'StepError: no', 'hostname': 'h', 'time': 1.5, 'attempt': 3}
CLAIM = {'process': 'second', 'worker': 'h:1:abc', 'since': 1.5}
cut = partial(cut_before, now=9.5, hostname='here')

DOCS: dict[str, dict[str, Any]] = {
    'r0_0': {'run': 'r0', 'status': GOOD, 'process': CHAIN},
    'r0_1': {'run': 'r0', 'status': 'second failed', 'process': CHAIN[:1], 'failures': [FAILURE]},
    'r0_2': {'run': 'r0', 'status': 'first failed', 'process': [], 'failures': [{**FAILURE, 'process': 'first'}]},
    'r1_0': {'run': 'r1', 'status': 'failed move to sps', 'process': []},  # by the original scripts
    'r1_1': {'run': 'r1', 'status': 'second failed', 'process': CHAIN[:1], 'failures': [None, FAILURE, 'text']},
    'r1_2': {'run': 'r1', 'status': 'second failed', 'process': 'none', 'failures': [FAILURE]},
    'r1_3': {'run': 'r1', 'status': 'acquiring'},
    'r10_0': {'run': 'r10', 'status': GOOD, 'process': CHAIN[:1], 'claim': CLAIM},
    'x': {'status': 'second failed', 'process': CHAIN[:1], 'failures': [FAILURE]},
    'y': {'run': ['r0'], 'status': {'failed': True}, 'failures': [FAILURE]},
}


@pytest.fixture
def filled(database: Database) -> Database:
    assert all(row.get('ok') for row in database.bulk_docs([{'_id': doc_id, **doc} for doc_id, doc in DOCS.items()]))
    return database


def seed(database: Database, number: int, **fields: Any) -> list[str]:
    docs = [{'_id': f'doc{index:04d}', 'run': 'r', 'status': GOOD, 'process': [], **fields} for index in range(number)]
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    return [doc['_id'] for doc in docs]


def edit(database: Database, doc_id: str, **fields: Any) -> None:
    """What an operator does: read, change, write."""
    database.put({**database.get(doc_id), **fields})


def edited_after_reading(
    database: Database, docs: Iterator[Document], doc_id: str, **fields: Any
) -> Iterator[Document]:
    """The documents, one of which is changed by somebody else before the first is taken from here."""
    read = list(docs)
    edit(database, doc_id, **fields)
    yield from read


@pytest.mark.parametrize(
    ('selection', 'ids'),
    [
        (Selection(failed=True), ['r0_1', 'r0_2', 'r1_0', 'r1_1', 'r1_2', 'x']),
        (Selection(failed=True, step='second'), ['r0_1', 'r1_2', 'x']),
        (Selection(failed=True, step='first'), ['r0_2']),
        (Selection(failed=True, step='secon'), []),
        (Selection(failed=True, run='r1'), ['r1_0', 'r1_1', 'r1_2']),
        (Selection(failed=True, step='second', run='r1'), ['r1_2']),
        (Selection(failed=True, status='failed move to sps'), ['r1_0']),
        (Selection(status='second failed'), ['r0_1', 'r1_1', 'r1_2', 'x']),
        (Selection(status=GOOD), ['r0_0', 'r10_0']),
        (Selection(status='no such'), []),
        (Selection(run='r1'), ['r1_0', 'r1_1', 'r1_2', 'r1_3']),
        (Selection(run='r1', status='acquiring'), ['r1_3']),
        (Selection(id_range=('r0_1', 'r1_0')), ['r0_1', 'r0_2', 'r10_0', 'r1_0']),
        (Selection(id_range=('A', 'r0_0')), ['r0_0']),  # the design document is between them
        (Selection(id_range=('r0_0', 'x'), run='r0', failed=True), ['r0_1', 'r0_2']),
        (Selection(ids=('x', 'nowhere', 'r0_0', 'x')), ['x', 'r0_0']),
        (Selection(ids=('x', 'r0_0'), failed=True), ['x']),
    ],
)
@pytest.mark.parametrize('batch', [2, 500])
def test_selections(
    filled: Database, monkeypatch: pytest.MonkeyPatch, selection: Selection, ids: list[str], batch: int
) -> None:
    monkeypatch.setattr(reprocessing, 'BATCH', batch)
    selected = [doc['_id'] for doc in select_documents(filled, selection)]
    assert sorted(selected) == sorted(ids) and len(set(selected)) == len(selected)


def test_the_view_and_the_document_tell_the_same(filled: Database) -> None:
    rows = filled.view(f'{filled.settings.design}/_view/failed', reduce=False)['rows']
    docs = filled.existing(DOCS)
    expected = {
        doc_id: [documents.failed_step(doc), documents.failure_kind(doc)]
        for doc_id, doc in docs.items()
        if reprocessing.is_failed(doc)
    }
    assert {row['id']: row['key'][:2] for row in rows} == expected


FAILURES: list[Any] = [
    {'process': 'copy', 'error': 'StepError: a: b', 'kind': 'md5 differs', 'time': 1.0},
    {'process': 'copy', 'error': 'StepError: a: b', 'time': 1.0},
    {'process': 'copy', 'error': 'StepError: a', 'kind': '', 'time': 1.0},
    {'process': 'copy', 'error': 'StepError: a', 'kind': 7},
    {'process': 'copy', 'error': ': a' * 40},
    {'process': 'copy', 'kind': 'only that'},
    {'process': 3, 'kind': 'of no step'},
    {},
    'text',
]


def test_the_kind_of_a_failure_is_its_own_or_the_type_of_its_error(database: Database) -> None:
    docs = [{'_id': f'x{number}', 'status': 'f', 'failures': [one]} for number, one in enumerate(FAILURES)]
    database.bulk_docs(docs)
    rows = {row['id']: row['key'] for row in views.rows(database, views.FAILED, reduce=False)}
    assert {doc['_id']: rows[doc['_id']][1] for doc in docs} == {
        doc['_id']: documents.failure_kind(doc) for doc in docs
    }
    assert documents.failure_kind(docs[0]) == 'md5 differs' and documents.failure_kind(docs[1]) == 'StepError'
    for kind, step, ids in (
        ('md5 differs', None, ['x0']),
        ('md5 differs', 'copy', ['x0']),
        ('StepError', 'copy', ['x1', 'x2', 'x3']),
        ('StepError', 'other', []),
        ('f', None, ['x6', 'x7', 'x8']),
    ):
        selection = Selection(failed=True, kind=kind, step=step)
        assert sorted(doc['_id'] for doc in select_documents(database, selection)) == ids


def test_what_was_named_and_is_not_selected_is_told(filled: Database) -> None:
    missed: dict[str, str] = {}
    selection = Selection(ids=('x', 'r0_0', 'nowhere', 'r0_2'), failed=True, step='second')
    assert [doc['_id'] for doc in select_documents(filled, selection, missed.__setitem__)] == ['x']
    assert missed == {
        'r0_0': 'has not failed',
        'nowhere': NO_DOCUMENT,
        'r0_2': 'has not failed in second',
    }


def test_a_document_that_changed_since_its_row_was_read_is_looked_at_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('edw.selecting.selection.BATCH', 2)
    ids = seed(database, 5, status='first failed')
    selected = select_documents(database, Selection(failed=True))
    assert next(selected)['_id'] == ids[0]
    # The ids have been read, and the documents of the first batch.
    edit(database, ids[2], status=GOOD)
    database.delete(database.get(ids[3]))
    assert [doc['_id'] for doc in selected] == [ids[1], ids[4]]


def test_failed_documents_are_requeued(filled: Database) -> None:
    before = filled.existing(DOCS)
    result = requeue(filled, select_documents(filled, Selection(failed=True)), requeued)
    assert sorted(result.done) == ['r0_1', 'r0_2', 'r1_0', 'r1_1', 'x']
    assert result.unchanged == result.claimed == result.conflicts == [] and not result.is_complete
    assert result.refused == ['r1_2: its process is missing or no list; correct the document by hand']
    for doc_id, doc in filled.existing(DOCS).items():
        if doc_id in result.done:
            assert doc == {**before[doc_id], 'status': GOOD, '_rev': doc['_rev']} and doc['_rev'].startswith('2-')
        else:
            assert doc == before[doc_id]


def test_a_run_is_cut_back_and_done_again(filled: Database) -> None:
    result = requeue(filled, select_documents(filled, Selection(run='r0')), partial(cut, step='second'))
    # Of r0_2 there is nothing to cut: its status alone is changed.
    assert sorted(result.done) == ['r0_0', 'r0_1', 'r0_2'] and result.is_complete
    doc = filled.get('r0_0')
    assert doc['process'] == CHAIN[:1] and doc['status'] == GOOD
    assert doc['superseded'] == [{'time': 9.5, 'hostname': 'here', 'from': 'second', 'entries': CHAIN[1:]}]
    step = {'name': 'second', 'after': 'first', 'failed': 'f', 'settings': filled.settings, 'once': True}
    assert listener.run(lambda doc: {'file': 'anew'}, **step) == 0
    doc = filled.get('r0_0')
    assert [entry['file'] for entry in doc['process']] == ['a', 'anew']
    assert doc['superseded'][0]['entries'] == CHAIN[1:]
    assert [failure['attempt'] for failure in filled.get('r0_1')['failures']] == [3]


def test_what_is_as_wanted_is_not_written(filled: Database) -> None:
    change = partial(cut, step='second')
    docs = filled.existing(['r0_0', 'r0_1'])
    assert requeue(filled, docs.values(), change).done == ['r0_0', 'r0_1']
    sequence = filled.info()['update_seq']
    again = requeue(filled, filled.existing(docs).values(), change)
    assert again == Outcome(unchanged=['r0_0', 'r0_1']) and again.is_complete
    assert filled.info()['update_seq'] == sequence


def test_a_claimed_document_is_left_alone_unless_forced(filled: Database) -> None:
    docs = [filled.get('r10_0')]
    change = partial(cut, step='first')
    assert requeue(filled, docs, change) == Outcome(claimed=['r10_0'])
    assert filled.get('r10_0') == docs[0]
    assert requeue(filled, docs, change, force=True) == Outcome(done=['r10_0'])
    doc = filled.get('r10_0')
    assert 'claim' not in doc and doc['process'] == [] and doc['superseded'][0]['entries'] == CHAIN[:1]


@pytest.mark.parametrize('force', [False, True])
def test_a_change_between_reading_and_writing_is_not_undone(database: Database, force: bool) -> None:
    ids = seed(database, 4, status='first failed')
    docs = select_documents(database, Selection(failed=True))
    late = edited_after_reading(database, docs, ids[1], note='look at this', status='under discussion')
    result = requeue(database, late, requeued, force)
    assert result == Outcome(done=[ids[0], *ids[2:]], conflicts=[ids[1]]) and not result.is_complete
    doc = database.get(ids[1])
    assert doc['status'] == 'under discussion' and doc['note'] == 'look at this'


def test_a_claim_between_reading_and_writing_wins(database: Database) -> None:
    (doc_id,) = seed(database, 1, process=CHAIN)
    docs = select_documents(database, Selection(ids=(doc_id,)))
    late = edited_after_reading(database, docs, doc_id, claim=CLAIM)
    assert requeue(database, late, partial(cut, step='first'), force=True) == Outcome(conflicts=[doc_id])
    assert database.get(doc_id)['claim'] == CLAIM


def test_many_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reprocessing, 'BATCH', 7)
    ids = seed(database, 30, status='first failed')
    batches: list[int] = []
    result = requeue(database, select_documents(database, Selection(failed=True)), requeued, on_batch=batches.append)
    assert sorted(result.done) == ids and batches == [7, 7, 7, 7, 2]
    assert all(doc['status'] == GOOD for doc in database.existing(ids).values())


def test_what_the_server_refuses_is_told_and_the_rest_goes_on(database: Database) -> None:
    ids = seed(database, 3, status='first failed')
    refuse = "function(doc) { if (doc._id === 'doc0001') throw({forbidden: 'not this one'}); }"
    database.put({'_id': '_design/site', 'validate_doc_update': refuse})
    result = requeue(database, select_documents(database, Selection(failed=True)), requeued)
    if not result.refused:
        pytest.skip('the embedded server does not know validation functions')
    assert result == Outcome(done=[ids[0], ids[2]], refused=['doc0001: not this one'])
    assert database.get('doc0001')['status'] == 'first failed'


def test_a_server_that_goes_away_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reprocessing, 'BATCH', 3)
    folder, login = tmp_path / 'couchdb', ('tester', 'cold-detector')
    with ExitStack() as running:
        url = running.enter_context(local_couchdb.running(folder, *login))
        file = tmp_path / 'edw.ini'
        file.write_text(Server(url, *login).settings_text('x'))
        database = Database(config.load(file))
        database.create()
        ids = seed(database, 8, status='first failed')

        def change(doc: Document) -> Document:
            if doc['_id'] == ids[4]:
                running.close()
            return requeued(doc)

        plan = planning.plan(database, Selection(ids=tuple(ids)), requeued, False, lambda: None)
        assert list(plan.revisions) == ids
        with pytest.raises(EdwError, match=r'cannot be reached.*\n3 of 8 documents were gone through before that'):
            planning.write(database, plan, change, False, lambda count: None)
    port = int(url.rpartition(':')[2])
    with local_couchdb.running(folder, *login, port):
        rest = Selection(ids=tuple(ids), status='first failed')
        assert requeue(database, select_documents(database, rest), requeued).done == ids[3:]


@pytest.fixture
def versions(database: Database) -> Database:
    """Documents that several versions of a step have made, and one that waits for it."""
    made = {'v1': '1', 'v2': '2', 'v10': '10', 'old': None, 'odd': 3, 'none': ['x']}
    docs = []
    for number, (doc_id, version) in enumerate(made.items()):
        entry = {'name': 'second', 'finished': 1000.5 + 60 * number, 'software': {'step': version, 'commit': 'abcd123'}}
        if version is None:
            entry = {'name': 'second'}
        docs.append({'_id': doc_id, 'run': f'r{number % 2}', 'status': GOOD, 'process': [{'name': 'first'}, entry]})
    docs.append({'_id': 'waits', 'run': 'r0', 'status': GOOD, 'process': [{'name': 'first'}]})
    docs.append({'_id': 'x', 'status': GOOD, 'process': [{'name': 'second_and_more', 'software': {'step': '1'}}]})
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    return database


@pytest.mark.parametrize(
    ('selection', 'ids'),
    [
        (Selection(made=Made('second', version_below='3')), {'v1', 'v2', 'old', 'odd', 'none'}),
        (Selection(made=Made('second', version_below='2')), {'v1', 'old', 'odd', 'none'}),
        (Selection(made=Made('second', version_below='3'), run='r1'), {'v2', 'old', 'none'}),
        (Selection(made=Made('second', version_below='3'), ids=('v1', 'v10')), {'v1'}),
        (Selection(made=Made('second', version_below='3'), status='bad'), set()),
        (Selection(made=Made('second', commit='abcd')), {'v1', 'v2', 'v10', 'odd', 'none'}),
        (Selection(made=Made('second', commit='ffff')), set()),
        (Selection(made=Made('second', before=1100.0)), {'v1', 'v2', 'old'}),
        (Selection(made=Made('second', before=1060.5)), {'v1', 'old'}),
        (Selection(made=Made('third', version_below='3')), set()),
    ],
)
def test_what_older_software_has_made(versions: Database, selection: Selection, ids: set[str]) -> None:
    assert {doc['_id'] for doc in select_documents(versions, selection)} == ids


def test_what_was_cut_is_not_found_again(versions: Database) -> None:
    selection = Selection(made=Made('second', version_below='3'))
    change = partial(cut, step='second')
    assert len(requeue(versions, select_documents(versions, selection), change).done) == 5
    assert list(select_documents(versions, selection)) == []
