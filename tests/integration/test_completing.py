"""Runs are complete when all of their files are, and again when one of these was done again."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from typing import Any

import pytest

import listen_run_complete
import make_metadata
from edw.completing.completeness import Progress, completed, progress
from edw.completing.completer import Completer
from edw.database.client import Database
from edw.database.retry import Retry
from edw.errors import EdwError
from edw.model.documents import Document
from edw.operating import annotations, reprocessing, status
from edw.operating.annotations import Said
from edw.registering import catalogue, runs
from tests.loops import once
from tests.scripts import ROOT, Process, wait_until

RUN = 'ma22a000'
FIRST: dict[str, Any] = {'name': 'first', 'after': 0, 'failed': 'first failed'}
SECOND: dict[str, Any] = {'name': 'second', 'after': 'first', 'failed': 'second failed'}
SUMMARY: dict[str, Any] = {'name': 'summary', 'after': 'run_complete', 'failed': 'summary failed'}


def files(database: Database, number: int, first: int = 0, run: str = RUN) -> None:
    docs = [
        {'_id': runs.file_id(run, index), 'run': run, 'status': 'good', 'process': []}
        for index in range(first, first + number)
    ]
    assert all(row.get('ok') for row in database.bulk_docs(docs))


@pytest.fixture
def completer(database: Database) -> Completer:
    return Completer(database, 'first', Retry(threading.Event().wait))


def run_document(database: Database) -> Document:
    return database.get(RUN)


def test_a_run_is_complete_when_it_is_closed_and_all_files_are_past_the_step(
    database: Database, completer: Completer
) -> None:
    files(database, 3)
    once(lambda doc: {}, database.settings, **FIRST)
    assert completer.check([RUN]) == 0  # not closed
    assert catalogue.close_run(database, RUN, 1000.0) and not catalogue.close_run(database, RUN, 2000.0)
    files(database, 1, first=3)
    assert completer.check_all() == 0  # one comes late
    once(lambda doc: {}, database.settings, **FIRST)
    assert completer.check_all() == 1 and completer.check_all() == 0
    (entry,) = run_document(database)['process']
    assert (entry['name'], entry['after'], entry['files'], entry['failed']) == ('run_complete', 'first', 4, 0)


def test_steps_of_files_and_steps_of_runs_see_only_their_own(database: Database, completer: Completer) -> None:
    files(database, 2)
    catalogue.close_run(database, RUN, 1000.0)
    seen: list[str] = []
    once(lambda doc: seen.append(doc['_id']) or {}, database.settings, **FIRST)
    once(lambda doc: seen.append(doc['_id']) or {}, database.settings, **SUMMARY)
    assert sorted(seen) == [f'{RUN}_000', f'{RUN}_001']
    completer.check_all()
    once(lambda doc: seen.append(doc['_id']) or {}, database.settings, **SECOND)
    once(lambda doc: seen.append(doc['_id']) or {}, database.settings, **SUMMARY)
    assert seen[-1] == RUN and len(seen) == 5
    found = status.read(database)
    assert (found.documents, found.finished, found.waiting) == (2, 2, 0)
    assert [step.name for step in found.steps] == ['first', 'second', 'summary']
    assert runs.highest_run(database) == RUN


def test_a_failed_file_is_not_waited_for_and_makes_the_run_complete_anew_when_it_was_mended(
    database: Database, completer: Completer
) -> None:
    files(database, 3)
    catalogue.close_run(database, RUN, 1000.0)
    broken = {f'{RUN}_001'}

    def callback(doc: Document) -> dict[str, Any]:
        if doc['_id'] in broken:
            raise ValueError('broken')
        return {}

    once(callback, database.settings, **FIRST)
    assert completer.check_all() == 1 and run_document(database)['process'][0]['failed'] == 1
    once(lambda doc: {}, database.settings, **SUMMARY)
    broken.clear()
    database.put(reprocessing.requeued(database.get(f'{RUN}_001')))
    assert completer.check_all() == 0  # it is on its way
    once(callback, database.settings, **FIRST)
    assert completer.check_all() == 1
    doc = run_document(database)
    assert [entry['name'] for entry in doc['process']] == ['run_complete'] and doc['process'][0]['failed'] == 0
    assert [entry['name'] for entry in doc['superseded'][0]['entries']] == ['run_complete', 'summary']


def test_a_file_that_is_done_again_makes_the_run_complete_anew(database: Database, completer: Completer) -> None:
    files(database, 2)
    catalogue.close_run(database, RUN, 1000.0)
    once(lambda doc: {}, database.settings, **FIRST)
    once(lambda doc: {}, database.settings, **SECOND)
    assert completer.check_all() == 1
    # A later step alone changes nothing for this run.
    database.put(reprocessing.cut_before(database.get(f'{RUN}_000'), 'second', 1.0, 'here'))
    once(lambda doc: {}, database.settings, **SECOND)
    assert completer.check_all() == 0
    database.put(reprocessing.cut_before(database.get(f'{RUN}_000'), 'first', 1.0, 'here'))
    assert completer.check_all() == 0
    once(lambda doc: {}, database.settings, **FIRST)
    assert completer.check_all() == 1


def test_a_file_that_is_done_again_while_a_step_is_at_the_run(database: Database, completer: Completer) -> None:
    files(database, 2)
    catalogue.close_run(database, RUN, 1000.0)
    once(lambda doc: {}, database.settings, **FIRST)
    assert completer.check_all() == 1
    since = database.info()['update_seq']

    def summary(_: Document) -> dict[str, Any]:
        own = Database(database.settings)
        own.put(reprocessing.cut_before(own.get(f'{RUN}_000'), 'first', 1.0, 'here'))
        once(lambda doc: {}, database.settings, **FIRST)
        assert completer.check(completer.changed(since)[0]) == 0  # it is claimed
        return {}

    assert once(summary, database.settings, **SUMMARY) == 0
    assert completer.check(completer.changed(since)[0]) == 1
    doc = run_document(database)
    assert [entry['name'] for entry in doc['process']] == ['run_complete']
    assert [entry['name'] for entry in doc['superseded'][0]['entries']] == ['run_complete', 'summary']


def test_a_file_that_failed_in_a_later_step_is_past_this_one(database: Database, completer: Completer) -> None:
    files(database, 1)
    catalogue.close_run(database, RUN, 1000.0)
    once(lambda doc: {}, database.settings, **FIRST)
    once(lambda doc: 1 / 0, database.settings, **SECOND)
    assert progress(database, RUN, 'first').failed == 0 and completer.check_all() == 1


def test_held_files_and_held_runs_are_waited_for(database: Database, completer: Completer) -> None:
    files(database, 2)
    catalogue.close_run(database, RUN, 1000.0)
    said = Said('anna', 1.0)
    database.put(annotations.hold(database.get(f'{RUN}_001'), 'why', said))
    once(lambda doc: {}, database.settings, **FIRST)
    assert completer.check_all() == 0
    database.put(annotations.release(database.get(f'{RUN}_001')))
    once(lambda doc: {}, database.settings, **FIRST)
    database.put(annotations.hold(database.get(RUN), 'why', said))
    assert completer.check_all() == 0
    database.put(annotations.release(database.get(RUN)))
    assert completer.check_all() == 1


def test_the_listener_follows_the_feed(database: Database, completer: Completer) -> None:
    files(database, 2)
    since = database.info()['update_seq']
    catalogue.close_run(database, RUN, 1000.0)
    files(database, 1, run='ma22b000')
    concerned, since = completer.changed(since)
    assert concerned == {RUN, 'ma22b000'}
    once(lambda doc: {}, database.settings, **FIRST)
    concerned, since = completer.changed(since)
    assert completer.check(concerned) == 1
    assert completer.changed(since)[0] == {RUN} and completer.changed(completer.changed(since)[1])[0] == set()


def test_a_listener_wakes_when_the_last_file_is_past_the_step(scripts: Any, database: Database) -> None:
    files(database, 1)
    catalogue.close_run(database, RUN, 1000.0)
    with_feed = scripts.start('listen_run_complete.py', '--after', 'first')
    with_feed.wait_for('listening for closed runs')
    once(lambda doc: {}, database.settings, **FIRST)
    with_feed.wait_for(f'run {RUN} is complete: 1 file')


def test_closing_by_hand(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    config = ['--config', str(database.settings.file)]
    with pytest.raises(EdwError, match='no documents of a run'):
        make_metadata.main(['--close', 'nosuchrun', *config])
    files(database, 1)
    for said in ('is closed', 'was closed already'):
        assert make_metadata.main(['--close', RUN, *config]) == 0
        assert said in capsys.readouterr().out
    database.put({'_id': 'ma22c000', 'run': 'ma22c000', 'status': 'good', 'process': []})
    with pytest.raises(EdwError, match='is that of a file'):
        make_metadata.main(['--close', 'ma22c000', *config])


@pytest.mark.parametrize('process', [None, 'x', [None], [{'name': 'other'}]])
def test_an_odd_run_document_ends_nothing(process: Any) -> None:
    found = Progress(1, 1, 0, 's')
    doc = {'_id': RUN, 'type': 'run', 'status': 'good', 'process': process}
    version = completed(doc, found, 'first', time.time(), 'here')
    assert version is None or version['process'][0]['name'] == 'run_complete'


def test_once(database: Database) -> None:
    files(database, 1)
    catalogue.close_run(database, RUN, 1000.0)
    once(lambda doc: {}, database.settings, **FIRST)
    assert listen_run_complete.main(['--once', '--after', 'first', '--config', str(database.settings.file)]) == 0
    assert run_document(database)['status'] == 'good'


def test_the_original_pattern_beside_runs_that_are_documents(database: Database, completer: Completer) -> None:
    """A view query per change, a PUT per document, the next run by the last id: none of them meets a run's document."""
    environment = {
        **os.environ,
        'BENCH_DATABASE': database.url,
        'EDW_USERNAME': database.settings.username,
        'EDW_PASSWORD': database.settings.password,
    }
    command = [sys.executable, '-m', 'bench.contenders.original', '0']
    original = Process(command, cwd=ROOT, env=environment)
    numbers = itertools.count()

    def acquire(run: str = RUN) -> None:
        doc = {'_id': runs.file_id(run, next(numbers)), 'run': run, 'original_file': '/raw/x', 'md5sum': 'x'}
        database.put({**doc, 'status': 'good', 'process': []})

    def is_listening() -> bool:
        acquire()  # the embedded server says nothing before the first change that passes, or a heartbeat
        return 'listening' in original.output

    try:
        wait_until(is_listening)
        catalogue.close_run(database, 'ma22a001', 1000.0)  # waits to be complete all the time
        complete = {'name': 'run_complete', 'finished': 1.0}
        database.put({**catalogue.run_document(RUN, 1000.0), 'status': 'good', 'process': [complete]})
        acquire()
        acquire('ma22a001')
        original.wait_for(' ma22a001_')
    finally:
        original.kill()
    assert f' {RUN}\n' not in original.output and ' ma22a001\n' not in original.output
    assert database.get('ma22a001')['process'] == [] and database.get(RUN)['process'] == [complete]
    (last,) = database.all_docs(descending=True, limit=1, startkey='{')
    assert last['id'].startswith('ma22a001_') and runs.highest_run(database) == 'ma22a001'
