"""A step that is not for all documents: what it skips is done without a callback, and the chain goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import listener
from edw import files
from edw.completing.completer import Completer
from edw.completing.files_of_run import files_of_run
from edw.database.client import Database
from edw.database.retry import Retry
from edw.errors import SettingsError, TryLater, Unprocessable
from edw.model.provenance import Made
from edw.model.timeline import timeline
from edw.operating import reprocessing
from edw.registering import catalogue
from edw.selecting import wanted
from edw.selecting.finding import find
from edw.selecting.rows import row_of
from edw.selecting.selection import Selection, select_documents
from edw.selecting.wanted import Wanted
from tests.loops import Running, edit, names, once, seed
from tests.scripts import Scripts, wait_until

REASON = 'no calibration'
SECOND: dict[str, Any] = {'name': 'second', 'after': 'first', 'failed': 'second failed'}
RUN = 'ma22a000'


def only_calibration(doc: dict[str, Any]) -> bool | str:
    return doc.get('condition') == 'calibration' or REASON


def write_it(doc: dict[str, Any]) -> dict[str, Any]:
    assert doc['condition'] == 'calibration'
    return {'file': f'/sps/{doc["_id"]}.root'}


def two(database: Database) -> None:
    """One for the step, and one not."""
    for doc_id, condition in (('for it', 'calibration'), ('not for it', 'background')):
        doc = {'_id': doc_id, 'run': RUN, 'status': 'good', 'process': [], 'original_file': f'/raw/{doc_id}.root'}
        database.put({**doc, 'condition': condition})


@pytest.mark.parametrize('options', [{}, {'timeout': 60.0}], ids=['threads', 'processes'])
def test_what_is_skipped_says_why_and_the_chain_goes_on(database: Database, options: dict[str, Any]) -> None:
    two(database)
    assert once(write_it, database.settings, when=only_calibration, **options) == 0
    doc = database.get('not for it')
    (entry,) = doc['process']
    assert entry.keys() == {'name', 'hostname', 'skipped', 'started', 'finished', 'software'}
    assert (entry['name'], entry['skipped']) == ('first', REASON) and 0 <= entry['finished'] - entry['started'] < 60
    assert 'claim' not in doc and 'failures' not in doc and doc['status'] == 'good'
    assert 'skipped' not in database.get('for it')['process'][0]
    assert once(lambda doc: {}, database.settings, **SECOND) == 0
    assert {tuple(names(database.get(doc_id))) for doc_id in ('for it', 'not for it')} == {('first', 'second')}


def test_a_function_that_no_process_would_find_may_say_when(database: Database) -> None:
    two(database)
    assert once(write_it, database.settings, when=lambda doc: only_calibration(doc), timeout=60.0) == 0
    assert database.get('not for it')['process'][0]['skipped'] == REASON


def test_a_skipped_document_wakes_the_next_step(database: Database) -> None:
    with (
        Running(write_it, database.settings, when=only_calibration),
        Running(lambda doc: {}, database.settings, **SECOND),
    ):
        two(database)
        wait_until(lambda: names(database.get('not for it')) == ['first', 'second'])


@pytest.mark.parametrize('answer', [False, None, '', 1, ['no']])
def test_what_is_neither_true_nor_a_reason_is_an_error_of_the_step(database: Database, answer: Any) -> None:
    (doc_id,) = seed(database)
    settings = database.settings
    assert once(write_it, settings, when=lambda doc: answer) == 1
    doc = database.get(doc_id)
    assert doc['status'] == 'first failed' and doc['process'] == [] and len(doc['failures']) == settings.attempts
    assert f'`when` returned {answer!r}, neither True nor the reason' in doc['failures'][-1]['error']


def test_what_it_raises_counts_as_what_a_callback_raises(database: Database) -> None:
    error: BaseException = Unprocessable('no condition')

    def when(doc: dict[str, Any]) -> bool:
        raise error

    (doc_id,) = seed(database)
    assert once(write_it, database.settings, when=when) == 1
    (failure,) = database.get(doc_id)['failures']
    assert failure['error'] == 'Unprocessable: no condition' and failure['software']['step'] == '1'
    edit(database, doc_id, status='good')
    error = ValueError('odd')
    once(write_it, database.settings, when=when)
    assert database.get(doc_id)['failures'][-1]['traceback'].endswith('ValueError: odd')
    edit(database, doc_id, status='good', failures=[])
    error = TryLater('the catalogue is away')
    assert once(write_it, database.settings, when=when) == 1  # put off
    assert database.get(doc_id)['failures'] == [] and database.get(doc_id)['status'] == 'good'


def test_it_gets_a_copy_and_the_settings_of_the_listener(database: Database) -> None:
    (doc_id,) = seed(database)
    found = []

    def when(doc: dict[str, Any]) -> str:
        found.append(listener.settings())
        doc['process'].append('not written')
        return 'no'

    once(write_it, database.settings, when=when)
    assert found == [database.settings] and names(database.get(doc_id)) == ['first']


def test_what_is_no_function_is_refused_at_the_start(database: Database) -> None:
    with pytest.raises(SettingsError, match='`when` is a function'):
        once(write_it, database.settings, when='calibration')


def test_while_a_step_waits_what_it_skips_is_no_sign_that_it_can_go_on(database: Database) -> None:
    """A disk that is full is not found to be there by documents that need it not."""
    away, tried = threading.Event(), []
    away.set()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        tried.append(doc['_id'])
        if away.is_set():
            raise TryLater('the disk is full')
        return {}

    with Running(callback, database.settings, when=only_calibration, first_rest=0.1) as running:
        database.put({'_id': 'a', 'status': 'good', 'process': [], 'condition': 'calibration'})
        wait_until(lambda: running.loop._policy.wait.waits)
        seed(database, 30)  # all skipped
        wait_until(lambda: all(names(database.get(f'doc{number:04d}')) for number in range(30)), limit=120)
        assert running.loop._policy.wait.waits and set(tried) == {'a'}
        away.clear()
        wait_until(lambda: names(database.get('a')) == ['first'])
        wait_until(lambda: not running.loop._policy.wait.waits)


def test_a_run_is_complete_with_what_was_skipped(database: Database) -> None:
    two(database)
    once(write_it, database.settings, when=only_calibration)
    catalogue.close_run(database, RUN, 1.0)
    assert Completer(database, 'first', Retry(threading.Event().wait)).check([RUN]) == 1
    run = database.get(RUN)
    assert (run['process'][0]['past'], run['process'][0]['failed']) == (2, 0)
    found = files_of_run(database, run, 'first')
    assert (list(found.files), found.left_out, found.skipped) == (['for it'], [], 1)
    assert found.words == '; left out: 1 that were skipped'


def test_selected_are_files_that_steps_have_left(database: Database) -> None:
    two(database)
    once(write_it, database.settings, when=only_calibration)
    asked = Wanted(runs=wanted.union([RUN]), step='first')
    assert [row_of(doc, 'first').path for doc in find(database, asked)] == ['/sps/for it.root']
    rows = [row_of(doc, None) for doc in find(database, Wanted(runs=wanted.union([RUN])))]
    # Without a step the file is the one that is there.
    assert [(row.path, row.step) for row in rows] == [('/sps/for it.root', 'first'), ('/raw/not for it.root', None)]


def test_reprocessing_has_what_was_skipped_asked_again(database: Database) -> None:
    two(database)
    once(write_it, database.settings, when=only_calibration)
    edit(database, 'not for it', condition='calibration')
    asked = Selection(made=Made('first', version_below='2'))
    docs = list(select_documents(database, asked))
    assert {doc['_id'] for doc in docs} == {'for it', 'not for it'}
    reprocessing.requeue(database, docs, lambda doc: reprocessing.cut_before(doc, 'first', time.time(), 'here'))
    once(write_it, database.settings, when=only_calibration, version='2')
    doc = database.get('not for it')
    assert doc['process'][0]['file'] == '/sps/not for it.root' and doc['process'][0]['pass'] == 2
    assert doc['superseded'][0]['entries'][0]['skipped'] == REASON
    (cut,) = (event for event in timeline(doc) if event.what == 'superseded')
    assert cut.text == f'skipped: {REASON}'


def test_people_see_why(scripts: Scripts, database: Database) -> None:
    two(database)
    once(write_it, database.settings, when=only_calibration)
    done = scripts.call('show_status.py', '--doc', 'not for it')
    assert done.returncode == 0 and 'skipped' in done.stdout and REASON in done.stdout
    done = scripts.call('list_files.py', RUN, '--step', 'first', '--paths')
    assert done.stdout == '/sps/for it.root\n'


def test_the_analysis_takes_the_file_that_is_there_where_the_step_before_was_skipped(
    scripts: Scripts, database: Database
) -> None:
    assert scripts.call('make_metadata.py', '--events', '50', '--seed', '7').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once', '-q').returncode == 0
    doc_id = 'ma22a000_000'
    # Another step was put between, and the next one starts after it.
    doc = database.get(doc_id)
    moved = doc['process'][0]
    database.put({**doc, 'process': [{**moved, 'name': 'bring'}, {'name': 'move_to_sps', 'skipped': 'is there'}]})
    assert scripts.call('listen_analysis1.py', '--once', '-q', '--engine', 'threads').returncode == 0
    entry = database.get(doc_id)['process'][-1]
    assert Path(entry['file']).parent == Path(moved['file']).parent and entry['md5sum'] == files.md5_of(entry['file'])
    # And where no step has left one, that is an error of the document.
    database.put({'_id': 'none', 'status': 'good', 'process': [{'name': 'move_to_sps', 'skipped': 'why not'}]})
    assert scripts.call('listen_analysis1.py', '--once', '-q', '--engine', 'threads').returncode == 1
    assert 'no step before has left a file' in database.get('none')['failures'][0]['error']
