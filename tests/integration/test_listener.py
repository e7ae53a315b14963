"""The loop against a real server: every document once, whatever happens meanwhile."""

from __future__ import annotations

import dataclasses
import logging
import platform
import re
import threading
import time
from collections import Counter
from typing import Any

import pytest
import requests

import listener
from edw import __version__, config
from edw.claiming.claimant import Claimant, Exchanged
from edw.config import Settings
from edw.database import client as couch
from edw.database.client import Database
from edw.errors import LoginRefused, NoDatabase, NoDesign, SettingsError, TooLarge, Unavailable, Unprocessable
from edw.listening.policy import BACK_OFF
from edw.model import documents
from tests.loops import STEP, Running, edit, names, once, seed
from tests.scripts import wait_until


def is_watching(loop: listener.Listener) -> bool:
    """Whether the feed has been asked and has not answered yet."""
    return loop._feed.is_polling


def test_result_is_appended_with_name_host_and_times(database: Database) -> None:
    (doc_id,) = seed(database, operator='note')
    assert once(lambda doc: {'file': 'f', 'log': doc['operator'], 'name': 'not this'}, database.settings) == 0
    doc = database.get(doc_id)
    (entry,) = doc['process']
    assert entry['name'] == 'first' and entry['file'] == 'f' and entry['log'] == 'note' and entry['hostname']
    assert entry['started'] <= entry['finished']
    assert 'claim' not in doc and 'failures' not in doc
    assert doc['operator'] == 'note' and doc['status'] == 'good'


@pytest.mark.parametrize('options', [{}, {'timeout': 60.0}], ids=['threads', 'processes'])
def test_the_entry_says_what_made_it(database: Database, options: dict[str, Any]) -> None:
    (doc_id,) = seed(database)
    once(dict, database.settings, version='2', packages=('requests',), **options)
    made_by = database.get(doc_id)['process'][0]['software']
    assert (made_by['edw'], made_by['step'], made_by['packages']) == (
        __version__,
        '2',
        {'requests': requests.__version__},
    )
    assert made_by['python'] == platform.python_version()


def test_two_steps_are_a_chain_and_longer_names_are_other_steps(database: Database) -> None:
    seed(database, 30)
    process = [{'name': name} for name in ('first', 'second', 'first_and_more')]
    database.put({'_id': 'other', 'status': 'good', 'process': process})
    once(lambda doc: {}, database.settings)
    once(lambda doc: {}, database.settings, name='second', after='first')
    docs = [row['doc'] for row in database.all_docs(include_docs=True) if row['id'].startswith('doc')]
    assert [names(doc) for doc in docs] == [['first', 'second']] * 30
    assert len(names(database.get('other'))) == 3


@pytest.mark.parametrize('workers', [1, 3])
def test_two_listeners_of_a_step_record_each_document_once(database: Database, workers: int) -> None:
    ids = seed(database, 200)
    calls: Counter[str] = Counter()
    lock = threading.Lock()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        with lock:
            calls[doc['_id']] += 1
        return {}

    def count(step: str) -> int:
        rows = database.view(database.settings.viewname, startkey=[step], endkey=[step, {}])['rows']
        return rows[0]['value'] if rows else 0

    with (
        Running(callback, database.settings, workers=workers),
        Running(callback, database.settings, workers=workers),
        Running(callback, database.settings, workers=workers, name='second', after='first'),
        Running(callback, database.settings, workers=workers, name='second', after='first'),
    ):
        wait_until(lambda: count('second') == 200)
    docs = database.existing(ids)
    assert all(names(doc) == ['first', 'second'] for doc in docs.values())
    assert not any('claim' in doc for doc in docs.values())
    assert set(calls.values()) == {2}  # once in each step


def test_one_that_is_outrun_backs_off_and_takes_over_what_is_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody faster takes a document before it, and then no more."""
    ids = seed(database, 10)
    is_faster = threading.Event()
    exchange = Claimant.exchange

    def outrun(self: Claimant, updates: list[Any], wanted: list[Any], known: set[str]) -> Exchanged:
        if wanted and is_faster.is_set():
            is_faster.clear()
            rows = database.bulk_docs([documents.claimed(doc, 'first', 'another', 1.0) for doc in wanted])
            assert all(row['ok'] for row in rows)
        return exchange(self, updates, wanted, known)

    def is_done(doc_id: str) -> bool:
        return names(database.get(doc_id)) == ['first']

    # The other one writes no heartbeat; its lease must not end here.
    with Running(lambda doc: {}, dataclasses.replace(database.settings, lease=300.0)) as running:
        wait_until(lambda: is_watching(running.loop) and all(map(is_done, ids)))
        monkeypatch.setattr(Claimant, 'exchange', outrun)
        is_faster.set()
        new = {'status': 'good', 'process': []}
        database.put({'_id': 'lost', **new})
        wait_until(lambda: not is_faster.is_set())
        put = time.time()
        database.put({'_id': 'left', **new})
        wait_until(lambda: is_done('left'))
        assert database.get('left')['process'][0]['started'] - put >= BACK_OFF / 2 - 0.5
        # The other one releases what it took.
        database.put({name: value for name, value in database.get('lost').items() if name != 'claim'})
        wait_until(lambda: is_done('lost'))


def test_documents_that_rest_after_a_failure_do_not_hold_up_others(database: Database) -> None:
    ids = seed(database, 20)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        if doc['_id'] in ids:
            # Each in a way of its own: that all fail alike would be the step's fault, not theirs.
            raise OSError('not yet' + 'x' * ids.index(doc['_id']))
        return {}

    with Running(callback, dataclasses.replace(database.settings, retry_pause=300.0)):
        wait_until(lambda: all('failures' in doc for doc in database.existing(ids).values()))
        database.put({'_id': 'new', 'status': 'good', 'process': []})
        wait_until(lambda: names(database.get('new')) == ['first'], limit=20)


def test_documents_that_come_later_wake_it(database: Database) -> None:
    seen = threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        seen.set()
        return {}

    with Running(callback, database.settings) as running:
        for number in range(5):
            wait_until(lambda: is_watching(running.loop))
            database.put({'_id': f'late{number}', 'status': 'good', 'process': []})
            assert seen.wait(10)
            seen.clear()
            wait_until(lambda number=number: database.get(f'late{number}')['process'])


def test_failures_are_recorded_tried_again_and_then_final(database: Database) -> None:
    poison, flaky, _ = seed(database, 3)
    attempts: Counter[str] = Counter()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        attempts[doc['_id']] += 1
        if doc['_id'] == poison or (doc['_id'] == flaky and attempts[flaky] < 3):
            raise ValueError(f'no luck with https://me:{database.settings.password}@host')
        return {}

    assert once(callback, database.settings) == 1
    doc = database.get(poison)
    assert doc['status'] == 'first failed' and doc['process'] == [] and 'claim' not in doc
    assert [failure['attempt'] for failure in doc['failures']] == [1, 2, 3]
    assert doc['failures'][0]['error'] == 'ValueError: no luck with https://host'
    assert set(doc['failures'][0]) == {*('process', 'error', 'traceback', 'hostname', 'time', 'attempt'), 'software'}
    trace = doc['failures'][0]['traceback']
    assert trace.endswith('ValueError: no luck with https://host') and database.settings.password not in trace
    doc = database.get(flaky)
    assert doc['status'] == 'good' and names(doc) == ['first'] and len(doc['failures']) == 2
    assert attempts == {poison: 3, flaky: 3, 'doc0002': 1}


def test_a_step_is_tried_again_without_a_pause(database: Database) -> None:
    (doc_id,) = seed(database)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        raise ValueError('no')

    assert once(callback, dataclasses.replace(database.settings, retry_pause=0)) == 1
    doc = database.get(doc_id)
    assert [failure['attempt'] for failure in doc['failures']] == [1, 2, 3] and 'claim' not in doc


def test_a_document_made_good_again_has_all_its_attempts(database: Database) -> None:
    (doc_id,) = seed(database)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        raise ValueError('no')

    once(callback, database.settings)
    edit(database, doc_id, status='good')
    once(callback, database.settings)
    doc = database.get(doc_id)
    assert [failure['attempt'] for failure in doc['failures']] == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize('result', [None, 'text', {'n': float('nan')}, {'when': object()}])
def test_a_result_that_is_no_entry_fails_the_step_and_no_other_document(database: Database, result: Any) -> None:
    seed(database, 5)
    once(lambda doc: result if doc['_id'] == 'doc0002' else {}, database.settings)
    docs = database.existing(f'doc{index:04d}' for index in range(5))
    assert [doc['status'] for _, doc in sorted(docs.items())] == ['good'] * 2 + ['first failed'] + ['good'] * 2


def test_trying_again_is_of_no_use(database: Database) -> None:
    (doc_id,) = seed(database)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        raise Unprocessable('there is no such thing')

    once(callback, database.settings)
    doc = database.get(doc_id)
    assert doc['status'] == 'first failed' and len(doc['failures']) == 1


def test_an_edit_while_the_step_runs_is_kept(database: Database) -> None:
    (doc_id,) = seed(database)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        edit(Database(database.settings), doc_id, operator='kept', conditions={'temperature': 1})
        return {}

    once(callback, database.settings)
    doc = database.get(doc_id)
    assert names(doc) == ['first'] and doc['operator'] == 'kept' and 'claim' not in doc


def test_a_status_set_while_the_step_runs_is_kept(database: Database) -> None:
    good, bad = seed(database, 2)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        edit(Database(database.settings), doc['_id'], status='set by hand')
        if doc['_id'] == bad:
            raise Unprocessable('no')
        return {}

    once(callback, database.settings)
    assert names(database.get(good)) == ['first']
    assert {database.get(doc_id)['status'] for doc_id in (good, bad)} == {'set by hand'}
    assert len(database.get(bad)['failures']) == 1


def test_a_result_for_another_chain_is_dropped(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    (doc_id,) = seed(database)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        edit(Database(database.settings), doc_id, process=[{'name': 'by_hand'}])
        return {}

    once(callback, database.settings)
    doc = database.get(doc_id)
    assert names(doc) == ['by_hand'] and 'claim' not in doc
    assert 'its process was edited' in caplog.text


def test_that_others_were_faster_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seed(database, 3)
    exchange = Claimant.exchange
    others = ['doc0001', 'doc0002']

    def others_first(self: Claimant, updates: Any, wanted: list[Any], known: set[str]) -> Any:
        for doc in wanted:
            if doc['_id'] in others:
                others.remove(doc['_id'])
                edit(database, doc['_id'], claim={'process': 'first', 'worker': 'somebody', 'since': 1.0})
        return exchange(self, updates, wanted, known)

    monkeypatch.setattr(Claimant, 'exchange', others_first)
    with caplog.at_level('INFO'):
        once(lambda doc: {}, database.settings)
    told = re.findall(r'others were first to claim or change (\S+)', caplog.text)
    assert told and 'claimed doc0000' in caplog.text and not others


def test_a_lost_claim_drops_the_result(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    ids = seed(database, 2)

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        other = Database(database.settings)
        current = other.get(doc['_id'])
        if doc['_id'] == ids[0]:
            other.put({**current, 'claim': {'process': 'first', 'worker': 'another', 'since': 0}})
        else:
            other.delete(current)
        return {}

    once(callback, database.settings)
    assert database.get(ids[0])['claim']['worker'] == 'another' and database.get(ids[0])['process'] == []
    assert ids[1] not in database.existing(ids)
    assert 'no longer claimed' in caplog.text and 'was deleted' in caplog.text


@pytest.mark.parametrize('lost', [1, 3])
def test_answers_of_exchanges_that_are_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    """The first ones to write claims, and after them those to write results, are written and never answered."""
    ids = seed(database, 3)
    bulk_docs = Database.bulk_docs
    left = {'claims': lost, 'results': lost}

    def unanswered(self: Database, docs: list[Any]) -> list[dict[str, Any]]:
        rows = bulk_docs(self, docs)
        what = 'claims' if 'claim' in docs[0] else 'results'
        if left[what]:
            left[what] -= 1
            raise Unavailable('the answer was lost')
        return rows

    calls: Counter[str] = Counter()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        calls[doc['_id']] += 1
        return {}

    monkeypatch.setattr(Database, 'bulk_docs', unanswered)
    once(callback, database.settings)
    docs = database.existing(ids)
    assert all(names(doc) == ['first'] and 'claim' not in doc for doc in docs.values())
    # Claims that are found need no further request, results are written again and recognised.
    assert left['claims'] < lost and left['results'] == 0 and set(calls.values()) == {1}
    assert 'no longer claimed' not in caplog.text


def test_stopping_finishes_what_runs_and_gives_back_the_rest(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    seed(database, 20)
    begun, go_on = threading.Event(), threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        if doc['_id'] >= 'doc0003':
            begun.set()
            assert go_on.wait(20)
        return {}

    with Running(callback, database.settings) as running:
        assert begun.wait(20)
        running.stop()
        wait_until(lambda: 'stopping, after the 1 that still run' in caplog.text)
        go_on.set()
    docs = [row['doc'] for row in database.all_docs(include_docs=True) if row['id'].startswith('doc')]
    assert not any('claim' in doc for doc in docs)
    assert [len(doc['process']) for doc in docs] == [1] * 4 + [0] * 16


def test_stopping_twice_gives_up_what_runs(database: Database) -> None:
    (doc_id,) = seed(database)
    begun, go_on = threading.Event(), threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        go_on.wait(60)
        return {}

    with Running(callback, database.settings) as running:
        assert begun.wait(20)
        running.stop()
        running.stop()
    assert database.get(doc_id)['process'] == [] and 'claim' not in database.get(doc_id)
    go_on.set()


def test_slow_callbacks_leave_work_for_others(database: Database) -> None:
    seed(database, 50)
    begun, go_on = threading.Event(), threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        assert go_on.wait(20)
        return {}

    with Running(callback, database.settings, workers=2):
        assert begun.wait(20)
        wait_until(lambda: database.view('_design/process/_view/claims')['rows'])
        assert database.view('_design/process/_view/claims')['rows'][0]['value'] == 2
        go_on.set()


def test_documents_out_of_reach_are_named(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    database.put({'_id': 'nolist', 'status': 'good', 'process': 'text'})
    database.put({'_id': 'noprocess', 'status': 'good'})
    database.put({'_id': 'noname', 'status': 'good', 'process': [{'file': 'f'}]})
    once(lambda doc: {}, database.settings)
    for text in (
        'nolist (process is not a list)',
        'noprocess (process is missing)',
        'noname (the last entry of process',
    ):
        assert text in caplog.text


def test_settings_of_the_callback_are_those_of_its_listener(database: Database) -> None:
    seed(database)
    seen = []
    once(lambda doc: seen.append(listener.settings()) or {}, database.settings)
    assert seen == [database.settings]
    assert listener.settings() == config.load()


def test_what_no_waiting_mends_ends_it(settings: Settings, database: Database) -> None:
    with pytest.raises(LoginRefused):
        once(lambda doc: {}, dataclasses.replace(settings, username='nobody'))
    with pytest.raises(NoDatabase):
        once(lambda doc: {}, dataclasses.replace(settings, dbname=f'{settings.dbname}-none'))
    database.delete(database.get('_design/process'))
    with pytest.raises(NoDesign, match=r'upload_design\.py'):
        once(lambda doc: {}, settings)


def test_the_database_may_vanish_while_it_listens(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # The embedded server falls silent where CouchDB ends the feed.
    monkeypatch.setattr(couch, 'FEED_HEARTBEAT', 0.5)
    monkeypatch.setattr(couch, 'FEED_SILENCE', 1.5)
    loop = listener.Listener(lambda doc: {}, listener.Step(**STEP), database.settings, workers=1, batch=9, once=False)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except NoDatabase as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: is_watching(loop))
    database._request('DELETE', '')
    thread.join(30)
    assert raised and not thread.is_alive()


@pytest.mark.parametrize(
    'step',
    [
        {'name': ''},
        {'name': None},
        {'after': ''},
        {'after': None},
        {'after': 1},
        {'after': 'first'},
        {'failed': ''},
        {'failed': 'good'},
        {'failed': None},
    ],
)
def test_a_step_that_cannot_be(settings: Settings, step: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        listener.run(lambda doc: {}, **{**STEP, **step}, settings=settings, once=True)


@pytest.fixture(autouse=True)
def all_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_one_signal_while_the_server_is_away_lets_callbacks_finish(database: Database) -> None:
    """Stopped during an outage: the callback's result is waited for, and written when the server is back."""
    (doc_id,) = seed(database)
    begun, go_on = threading.Event(), threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        assert go_on.wait(20)
        return {}

    with Running(callback, database.settings, workers=2) as running:
        assert begun.wait(20)
        away = threading.Event()
        request = running.loop._database._session.request

        def refuse(*arguments: Any, **options: Any) -> Any:
            if go_on.is_set():
                return request(*arguments, **options)
            away.set()
            raise couch.requests.ConnectionError('away')

        running.loop._database._session.request = refuse
        database.put({'_id': 'wakes', 'status': 'good', 'process': []})
        assert away.wait(20)
        running.stop()
        wait_until(lambda: running.loop._stopping)
        go_on.set()
    assert names(database.get(doc_id)) == ['first'] and 'claim' not in database.get(doc_id)
    assert database.get('wakes')['process'] == []


def test_a_document_that_was_lost_and_claimed_again_is_two_pieces_of_work(database: Database) -> None:
    (doc_id,) = seed(database)
    first, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        calls.append(doc['_rev'])
        first.set()
        assert go_on.wait(20)
        return {}

    with Running(callback, database.settings, workers=2):
        assert first.wait(20)
        doc = database.get(doc_id)
        database.put({field: value for field, value in doc.items() if field != 'claim'})  # set free by hand
        database.put({'_id': 'wakes', 'status': 'good', 'process': []})
        wait_until(lambda: len(calls) == 2)
        go_on.set()
        wait_until(lambda: names(database.get(doc_id)) == ['first'] and names(database.get('wakes')) == ['first'])
    assert 'claim' not in database.get(doc_id)


def test_a_batch_that_is_too_large_is_divided(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = seed(database, 20)
    request = Database._request

    def limited(self: Database, method: str, path: str, query: Any = None, body: Any = None, **options: Any) -> Any:
        if path == '_bulk_docs' and (len(body['docs']) > 3 or any('huge' in doc['_id'] for doc in body['docs'])):
            raise TooLarge('the request entity is too large')
        return request(self, method, path, query, body, **options)

    database.put({'_id': 'huge', 'status': 'good', 'process': []})
    monkeypatch.setattr(Database, '_request', limited)
    once(lambda doc: {}, database.settings)
    assert all(names(doc) == ['first'] for doc in database.existing(ids).values())
    assert database.get('huge')['process'] == []


def test_a_listener_whose_machine_slept_does_not_do_again_what_others_took_over(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept = 0.0
    monkeypatch.setattr(listener, 'passed', lambda: time.monotonic() + slept)
    begun: list[str] = []
    go_on = threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        begun.append(doc['_id'])
        assert len(begun) <= 100 or go_on.wait(30)
        return {}

    def waiting() -> list[str]:
        """What is claimed here, so that the hundred fast callbacks have more claimed than runs."""
        held = {doc_id for doc_id, doc in database.existing(ids).items() if 'claim' in doc}
        return sorted(held - set(begun))

    ids = seed(database, 400)
    with Running(callback, settings):
        wait_until(lambda: len(begun) == 101 and waiting())
        taken = waiting()
        # Others release its claims after the lease, and do the work.
        for doc_id in taken:
            doc = database.get(doc_id)
            del doc['claim']
            database.put({**doc, 'process': [{'name': 'first', 'pid': 0}]})
        slept = 3600.0
        wait_until(lambda: f'{len(taken)} documents that waited here are no longer claimed' in caplog.text)
        go_on.set()
        wait_until(lambda: all(doc['process'] for doc in database.existing(ids).values()))
    assert Counter(begun) == Counter(set(ids) - set(taken))
    assert all(database.get(doc_id)['process'] == [{'name': 'first', 'pid': 0}] for doc_id in taken)
    assert 'nothing was done for 36' in caplog.text
