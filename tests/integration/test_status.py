"""The status, out of views of real documents; and being told of changes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import queue
import threading
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edw import config
from edw.database import changes as follow
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, LoginRefused, NotFound, Unavailable
from edw.model.listeners import heartbeat_id
from edw.model.timeline import timeline
from edw.operating import checks, display, status, tables
from edw.operating.status import FailureKind, RunStatus, StepStatus
from tests.conftest import Server
from tests.integration.test_any_document import document, name
from tests.scripts import LIMIT
from tests.socket_server import answering, http

NOW = float(int(time.time()))  # the embedded server's index does not keep all digits of a fraction
LISTENER = 'sps1:77:ab12cd34'
LEASE = 30.0  # seconds
unique = itertools.count()


def entry(step: str, finished: float) -> dict[str, Any]:
    return {'name': step, 'hostname': 'sps1', 'started': finished - 2, 'finished': finished}


def put(database: Database, *docs: dict[str, Any]) -> None:
    rows = database.bulk_docs(list(docs))
    assert all(row.get('ok') for row in rows), rows


def good(doc_id: str, *process: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {'_id': doc_id, 'run': doc_id[:8], 'status': 'good', 'process': list(process), **fields}


def test_an_empty_database(database: Database) -> None:
    found = status.read(database)
    assert (found.documents, found.finished, found.failed, found.others) == (0, 0, 0, {})
    assert not (found.steps or found.listeners or found.failures or found.conflicts or found.unplaced)
    assert status.runs(database, 5) == [] and status.throughput(database, 1) == {}


@pytest.mark.parametrize('read_at_first', [1, 3, 1000])
def test_runs_are_in_the_order_of_their_newest_files(
    database: Database, monkeypatch: pytest.MonkeyPatch, read_at_first: int
) -> None:
    monkeypatch.setattr(status, 'NEWEST_HOURS', read_at_first)
    hour = 3600 * (NOW // 3600)
    made = {
        'long': [hour - 20 * 3600 + 900 * number for number in range(60)],  # the last one in the hour of the others
        'zz_old': [hour - 90 * 3600],
        'b': [hour - 4000, hour - 3000],
        'a': [hour - 3500, hour - 2000],
        'c': [hour - 2000],
        'no_time': [None],
        'older': [None, 'yesterday', 1e300, -5],
    }
    put(
        database,
        *(good(f'{run}{number}', run=run, datecreated=at) for run in made for number, at in enumerate(made[run])),
    )
    order = ['c', 'a', 'b', 'long', 'zz_old', 'older', 'no_time']
    for limit in range(8):
        assert [run for run, _ in status.last_runs(database, limit)] == order[:limit]
    assert status.last_runs(database, 4)[3] == ('long', hour - 20 * 3600 + 900 * 59)
    assert [run.run for run in status.runs(database, 2, skip=4)] == order[4:6]
    assert status.runs(database, 9, skip=9) == []
    assert status.count_runs(database) == 7


def test_new_documents_and_no_chain_yet(database: Database) -> None:
    put(database, good('ma22a000_000', datecreated=NOW - 70), good('ma22a000_001', datecreated=NOW))
    found = status.read(database)
    assert found.steps == [StepStatus('', 0, 2, NOW - 70, 0, None, 0, 0, 0)]
    assert checks.is_left_alone(found.steps[0], NOW)
    assert display.FIRST_STEP in tables.plain(tables.console(), tables.overview(found, 'here', LEASE, 200))


def test_steps_failures_and_everything_odd(database: Database, server: Server) -> None:
    first, second = entry('first', NOW - 7200), entry('second', NOW - 30)
    gone = {'process': 'second', 'error': 'StepError: x.root: gone', 'hostname': 'sps1', 'attempt': 3}
    put(
        database,
        *(good(f'ma22a000_{number:03d}', datecreated=NOW - number) for number in range(3)),
        good('ma22a000_100', claim={'process': 'first', 'worker': LISTENER, 'since': NOW - 9}),
        good('ma22a000_101', claim={'process': 'first', 'worker': LISTENER, 'since': NOW - 8}),
        good('ma22a000_102', claim={'process': None, 'worker': {}}),
        good('ma22a001_000', first),
        good('ma22a001_001', {'name': 'first'}),
        good('ma22a001_002', first, second),
        good('ma22a001_003', first, second),
        {**good('ma22a001_004', first), 'status': 'no second', 'failures': [{**gone, 'time': NOW - 50}]},
        {**good('ma22a001_005', first), 'status': 'no second', 'failures': [{**gone, 'time': NOW - 40}]},
        {**good('ma22a001_006', first), 'status': 'no second', 'failures': [{'process': 'second', 'error': 'E: 1'}]},
        {**good('ma22a001_007', first), 'status': 'failed long ago'},
        {'_id': 'ma22a002_000', 'run': 'ma22a002', 'status': 'acquiring'},
        {'_id': 'listed', 'status': ['good']},
        {'_id': 'nowhere', 'status': 'good', 'process': 'none'},
    )
    database.put({'_id': heartbeat_id(LISTENER), 'counter': 3, 'time': NOW - 1})
    twice = [{'_id': 'twice', '_rev': f'1-{letter}', 'status': 'bad'} for letter in 'ab']
    answer = server.request('POST', f'{database.settings.dbname}/_bulk_docs', json={'docs': twice, 'new_edits': False})
    assert answer.ok
    found = status.read(database)
    assert (found.documents, found.finished, found.failed) == (18, 2, 5)
    assert found.steps == [
        StepStatus('first', 0, 3, NOW - 2, 2, NOW - 9, 0, 8, 0, listeners=1),
        StepStatus('second', 'first', 2, NOW - 7200, 0, None, 2, 2, 3, 60 * ((NOW - 30) // 60)),
        StepStatus('null', None, 0, None, 1, None, 0, 0, 0, listeners=1),
    ]
    assert {(seen.name, seen.step, seen.claims, seen.since, seen.heartbeat) for seen in found.listeners} == {
        (LISTENER, 'first', 2, NOW - 9, NOW - 1),
        ('{}', 'null', 1, None, None),
    }
    assert found.failures[0] == FailureKind(
        'second', 'StepError', 2, NOW - 40, 'ma22a001_005', 'StepError: x.root: gone'
    )
    assert {(kind.step, kind.kind, kind.count, kind.newest) for kind in found.failures[1:]} == {
        ('second', 'E', 1, None),
        (None, 'failed long ago', 1, None),
        (None, 'bad', 1, None),
    }
    assert found.others == {'acquiring': 1, '["good"]': 1}
    assert found.conflicts == ['twice'] and found.unplaced == ['nowhere (process is not a list)']
    assert [checks.is_left_alone(step, NOW) for step in found.steps] == [False, False, False]
    assert checks.is_left_alone(dataclasses.replace(found.steps[1], done_newest=NOW - 300), NOW)
    assert json.loads(json.dumps(status.as_json(found)))['steps'][1]['after'] == 'first'

    assert status.runs(database, 2) == [
        RunStatus('ma22a000', 6, {'new': 6}, 0, newest=NOW),
        RunStatus('ma22a002', 1, {'acquiring': 1}, 0),
    ]
    assert status.runs(database, 9, skip=2) == [
        RunStatus('ma22a001', 8, {'failed long ago': 1, 'first': 2, 'second': 2, 'no second': 3}, 4),
    ]
    assert status.rows_of_run(database, 'ma22a001')[:3] == [
        {'id': 'ma22a001_000', 'status': 'good', 'last_step': 'first'},
        {'id': 'ma22a001_001', 'status': 'good', 'last_step': 'first'},
        {'id': 'ma22a001_002', 'status': 'good', 'last_step': 'second'},
    ]
    assert status.rows_of_run(database, 'ma22a0') == []
    assert status.throughput(database, 1) == {'first': [], 'second': [(60 * ((NOW - 30) // 60), 2)]}
    assert sum(count for _, count in status.throughput(database, 3)['first']) == 7


def test_a_step_that_was_never_done_stands_where_its_documents_are(database: Database) -> None:
    failed = [{'process': 'third', 'error': 'StepError: no', 'time': NOW}]
    put(
        database,
        good('a', entry('first', NOW), claim={'process': 'second', 'worker': LISTENER, 'since': NOW}),
        good('b', entry('first', NOW - 5)),
        {**good('c', entry('first', NOW), entry('second', NOW)), 'status': 'no third', 'failures': failed},
        good('d', entry('first', NOW), entry('second', NOW - 9)),
    )
    steps = status.read(database).steps
    assert [(step.name, step.after, step.waiting, step.running, step.failed) for step in steps] == [
        ('first', 0, 0, 0, 0),
        ('second', 'first', 1, 1, 0),
        ('third', 'second', 1, 0, 1),
    ]


def test_runs_and_how_far_each_is(database: Database) -> None:
    complete, summary = entry('run_complete', NOW - 9), entry('run_summary', NOW)
    runs: dict[str, dict[str, Any]] = {
        'closed': {'status': 'closed', 'process': []},
        'complete': {'status': 'good', 'process': [complete]},
        'summarised': {'status': 'good', 'process': [complete, summary]},
        'gains': {'status': 'good', 'process': [complete, summary, entry('gains', NOW)]},
        'held': {'status': 'held', 'process': [complete], 'hold': {'status': 'good'}},
        'no run summary': {'status': 'no run summary', 'process': [complete]},
        'open': {'status': 'good', 'process': [complete]},  # of a file that has the name of the run
    }
    for number, (state, doc) in enumerate(runs.items()):
        run = f'ma22a{number:03d}'
        put(database, {**doc, '_id': run, 'type': 'file' if state == 'open' else 'run'}, good(f'{run}_000', run=run))
    put(database, {**good('ma22a007_000'), 'status': 'held'}, {**good('_'), 'run': '_all_docs', '_id': 'odd'})
    found = status.read(database).runs
    states = {run.run: (run.state, run.is_bad) for run in found}
    assert states == {
        **{f'ma22a{number:03d}': (state, state.startswith('no ')) for number, state in enumerate(runs)},
        'ma22a007': ('held', False),
        '_all_docs': ('open', False),
    }
    assert [run.documents for run in found] == [1] * 9
    shown = tables.plain(tables.console(), tables.overview(status.read(database), 'here', LEASE, 200))
    lines = [line.split() for line in shown.splitlines() if line.startswith('ma22a')]
    assert [line[:3] for line in lines[:2]] == [['ma22a007', 'held', '1'], ['ma22a006', 'open', '1']]


def test_more_kinds_of_failure_than_are_listed(database: Database) -> None:
    kinds = status.KINDS + 5
    put(database, *({'_id': f'x{number}', 'status': f'bad {number}'} for number in range(kinds)))
    found = status.read(database)
    assert (len(found.failures), found.failed) == (status.KINDS, kinds)
    assert f'{kinds} documents failed' in checks.judged(found, LEASE, None)[0]


def test_a_secret_in_a_document_is_not_shown(database: Database) -> None:
    password = database.settings.password
    error = f'OSError: sftp://me:hidden@host/x and {password}'
    put(database, {'_id': 'x', 'status': 'bad', 'failures': [{'process': 'a', 'error': error}], 'process': []})
    found = status.read(database)
    shown = [
        json.dumps(status.as_json(found)),
        tables.plain(tables.console(), tables.overview(found, 'here', LEASE, 200)),
        checks.judged(found, LEASE, None)[0],
        str(timeline(database.get('x'))),
    ]
    for text in shown:
        assert 'sftp://host/x' in text and 'hidden' not in text and password not in text


@pytest.mark.parametrize('beat', [10**400, 1e300, -1e300, 'now', True, None, []])
def test_a_heartbeat_at_no_time(database: Database, beat: object) -> None:
    put(database, good('x', claim={'process': 'first', 'worker': LISTENER, 'since': NOW}))
    with contextlib.suppress(EdwError):  # a server that refuses such a number cannot give it
        database.put({'_id': heartbeat_id(LISTENER), 'counter': beat, 'time': beat})
    found = status.read(database)
    json.dumps(status.as_json(found), allow_nan=False)
    assert len(tables.plain(tables.console(), tables.overview(found, 'here', LEASE, 80)).splitlines()) > 3
    assert checks.judged(found, LEASE, 60.0)[0].isprintable()


def test_no_view_no_status(empty_database: Database) -> None:
    with pytest.raises(NotFound):
        status.read(empty_database)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(docs=st.lists(st.tuples(name, document), min_size=20, max_size=40))
def test_any_documents_have_a_status(database: Database, docs: list[tuple[str, dict[str, Any]]]) -> None:
    run = next(unique)
    put(database, *({**doc, '_id': f'{run}/{number}?{doc_id}'} for number, (doc_id, doc) in enumerate(docs)))
    found = status.read(database)
    free = status.views.total(database, 'lastproc')
    assert sum(step.waiting for step in found.steps) + found.finished == free
    json.dumps(status.as_json(found), allow_nan=False)
    for width in (40, 200):
        text = tables.plain(tables.console(), tables.overview(found, 'here', LEASE, width))
        assert all(line.isprintable() for line in text.splitlines())
    assert checks.judged(found, LEASE, 60.0)[0].isprintable()
    for row in database.all_docs(include_docs=True, limit=20):
        shown = tables.plain(tables.console(), tables.history(row['doc'], timeline(row['doc'])))
        assert all(line.isprintable() for line in shown.splitlines())


def test_a_burst_of_changes_is_told_once_and_nothing_is_missed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, 'BURST_PAUSE', 0.3)
    told: queue.SimpleQueue = queue.SimpleQueue()
    ended = threading.Event()
    since = database.info()['update_seq']
    put(database, *(good(f'{number}') for number in range(500)))
    follow.in_thread(database.settings, since, Outage(), told.put, told.put, ended)
    first = told.get(timeout=LIMIT)
    assert first == database.info()['update_seq'] and told.empty()
    put(database, good('late'))
    assert told.get(timeout=LIMIT) != first
    ended.set()
    put(database, good('later'))


INFO = http('200 OK', b'{"update_seq":"9-x"}')
CHANGE = http('200 OK', b'{"results":[{"seq":"5-x","id":"a","changes":[]}],"last_seq":"5-x"}')
QUIET = http('200 OK', b'{"results":[],"last_seq":"4-x"}')
BROKEN = http('503 Service Unavailable', b'')


@pytest.mark.parametrize('answers', [(CHANGE, INFO), (BROKEN, CHANGE, BROKEN, INFO), (QUIET, CHANGE, INFO)])
def test_an_outage_is_waited_out(
    answers: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follow, 'BURST_PAUSE', 0.01)
    monkeypatch.setattr(follow, 'ENDED_PAUSE', 0.01)
    caplog.set_level(logging.WARNING)
    told: queue.SimpleQueue = queue.SimpleQueue()
    ended = threading.Event()
    with answering(*answers) as url:
        settings = dataclasses.replace(config.load(), server=url)
        thread = follow.in_thread(settings, '3-x', Outage(), told.put, told.put, ended)
        assert told.get(timeout=LIMIT) == '9-x'
        ended.set()
    thread.join(LIMIT)
    assert not thread.is_alive() and told.empty()


BUSY = http('429 Too Many Requests', b'{"error":"too_many_requests","reason":"5 queries a second"}', 'Retry-After: 0')
NO_ROWS = http('200 OK', b'{"rows":[]}')
NO_DOCUMENT = http('404 Object Not Found', b'{"error":"not_found","reason":"missing"}')


def test_a_server_that_allows_few_queries_a_second_is_asked_until_it_has_answered_all() -> None:
    # Listeners, claims, waits, failures, steps and the rest, farms, runs: 14 requests, of which each is refused once.
    told, rows = [BUSY, NO_DOCUMENT], [BUSY, NO_ROWS]
    answers = told + 2 * rows + told + 8 * rows + told + rows
    with answering(*answers) as url:
        settings = dataclasses.replace(config.load(), server=url)
        found = status.read(Database(settings, Retry(threading.Event().wait, Outage(), patience=LIMIT)))
    assert (found.documents, found.steps) == (0, [])


def test_patience_has_an_end() -> None:
    with answering(BUSY) as url:
        settings = dataclasses.replace(config.load(), server=url)
        with pytest.raises(Unavailable, match='5 queries a second'):
            Database(settings, Retry(lambda seconds: True, Outage())).info()


def test_what_no_waiting_mends_is_told(database: Database) -> None:
    told: queue.SimpleQueue[EdwError] = queue.SimpleQueue()
    settings = dataclasses.replace(database.settings, username='nobody')
    follow.in_thread(settings, 0, Outage(), told.put, told.put, threading.Event())
    assert isinstance(told.get(timeout=LIMIT), LoginRefused)
