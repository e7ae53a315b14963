"""Callbacks on nodes: their ends, their log, and what they get."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from edw.database.client import Database
from tests.farm.clusters import Cluster, is_running
from tests.farm.conftest import Listen
from tests.farm.test_scheduler_away import untouched
from tests.loops import seed
from tests.programs import program
from tests.scripts import wait_until

DEADLY = ('hang', 'segfault', 'leave a child', 'kill', 'exit', 'raise')


def test_hanging_and_dying_callbacks_cost_their_attempts_only(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    cluster.start_worker(2)
    for what in (*DEADLY, 'work'):
        database.put({'_id': what, 'do': what, 'status': 'good', 'process': []})
    listener = listen('--timeout', '2')
    wait_until(lambda: all(database.get(what)['status'] == 'far failed' for what in DEADLY), limit=120)
    errors = {}
    for what in DEADLY:
        doc = database.get(what)
        assert [failure['attempt'] for failure in doc['failures']] == [1, 2, 3]
        (errors[what],) = {failure['error'] for failure in doc['failures']}
    assert errors == {  # the same words as with processes, in tests/acceptance/test_timeout.py
        'hang': 'TimeoutError: no result after 2 s',
        'segfault': 'ProcessDied: the process of the callback ended with signal 11 (SIGSEGV)',
        'leave a child': 'ProcessDied: the process of the callback ended with signal 9 (SIGKILL)',
        'kill': 'ProcessDied: the process of the callback ended with signal 9 (SIGKILL)',
        'exit': 'ProcessDied: the process of the callback ended with exit code 7',
        'raise': 'ValueError: on purpose',
    }
    (entry,) = database.get('work')['process']
    assert entry['software']['packages'].keys() == {'distributed'} and entry['software']['step'] == '1'
    assert database.get('raise')['failures'][0]['traceback'].endswith('ValueError: on purpose')
    assert listener.stop() == 0


def test_a_signal_lets_callbacks_finish_and_a_second_one_ends_them(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    cluster.start_worker(2)
    listener = listen('-v')
    ids = seed(database, 2, do='wait')
    listener.wait_for('begins on', 2)
    listener.send(signal.SIGTERM)
    listener.wait_for('stopping, after the 2 that still run')
    cluster.go()
    assert listener.end() == 0
    assert all(database.get(doc_id)['process'] for doc_id in ids)
    database.put({'_id': 'hangs', 'do': 'hang', 'status': 'good', 'process': []})
    listener = listen('-v')
    listener.wait_for('hangs begins on')
    wait_until(lambda: cluster.begun('hangs'))
    listener.send(signal.SIGTERM)
    listener.wait_for('stopping, after the 1 that still run')
    assert listener.stop() == 0
    wait_until(lambda: not is_running(cluster.begun('hangs')[0].pid))
    assert untouched(database, ['hangs'])


def test_what_runs_and_what_is_idle_ends_with_a_killed_listener(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    cluster.start_worker(2)
    listener = listen()
    seed(database, 6)
    wait_until(lambda: database.get('doc0005')['process'])
    database.put({'_id': 'hangs', 'do': 'hang', 'status': 'good', 'process': []})
    wait_until(lambda: cluster.begun('hangs'))
    assert cluster.children()
    listener.kill()
    wait_until(lambda: not cluster.children())
    assert not is_running(cluster.begun('hangs')[0].pid)


def test_a_task_that_is_never_answered_goes_back_uncounted(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    worker = cluster.start_worker(1)
    listener = listen('--timeout', '1')
    seed(database, 1, do='hang')
    wait_until(cluster.begun)
    worker.send(signal.SIGSTOP)  # before the time limit, which it would see to
    listener.wait_for('the farm never answered for doc0000')
    listener.wait_for('has room for 0 callbacks')  # that worker gets nothing more
    wait_until(lambda: untouched(database, ['doc0000']))
    (first,) = cluster.begun()
    worker.send(signal.SIGCONT)
    wait_until(lambda: database.get('doc0000')['status'] == 'far failed')
    failures = database.get('doc0000')['failures']
    assert [failure['attempt'] for failure in failures] == [1, 2, 3]  # all three were left
    assert {failure['error'] for failure in failures} == {'TimeoutError: no result after 1 s'}
    assert len(cluster.begun()) == 4 and not is_running(first.pid)
    assert listener.stop() == 0, listener.output


def test_a_document_that_is_skipped_goes_to_no_node(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1)
    listener = listen()
    for what in ('skip', 'work'):
        database.put({'_id': what, 'do': what, 'status': 'good', 'process': []})
    wait_until(lambda: database.get('skip')['process'] and database.get('work')['process'])
    (entry,) = database.get('skip')['process']
    assert entry['skipped'] == 'not for the farm' and not cluster.begun('skip') and cluster.begun('work')
    assert listener.stop() == 0


def test_entries_failures_and_the_log_name_the_node(cluster: Cluster, listen: Listen, database: Database) -> None:
    unshare = program('unshare', package='util-linux')
    renamed = (unshare, '--uts', 'sh', '-c', 'echo node7 >/proc/sys/kernel/hostname && exec "$@"', 'sh')
    if subprocess.run([*renamed, 'true'], capture_output=True, check=False).returncode:
        pytest.skip('a process cannot be given another host name here: that needs root')
    cluster.start_worker(1, first=renamed)
    listener = listen()
    for what in ('say', 'raise'):
        database.put({'_id': what, 'do': what, 'status': 'good', 'process': []})
    wait_until(lambda: database.get('raise')['status'] == 'far failed' and database.get('say')['process'])
    assert database.get('say')['process'][0]['hostname'] == 'node7' != os.uname().nodename
    assert {failure['hostname'] for failure in database.get('raise')['failures']} == {'node7'}
    listener.wait_for('say on node7: something is odd with')
    listener.wait_for('raise on node7: raise: the step raised', 3)
    listener.wait_for('ValueError: on purpose', 3)
    assert listener.stop() == 0
