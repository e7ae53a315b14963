"""A scheduler that goes away, for a while or for good, or was never there; workers that come and go."""

from __future__ import annotations

import signal
import time

import pytest

from edw.database.client import Database
from tests.farm.clusters import Cluster, is_running
from tests.farm.conftest import STEP, Listen
from tests.loops import seed
from tests.scripts import Scripts, wait_until


def held(database: Database, ids: list[str]) -> list[str]:
    return [doc_id for doc_id in ids if 'claim' in database.get(doc_id)]


def untouched(database: Database, ids: list[str]) -> bool:
    docs = [database.get(doc_id) for doc_id in ids]
    return not any('claim' in doc or 'failures' in doc or doc['process'] for doc in docs)


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_a_scheduler_that_ends_and_comes_back(
    cluster: Cluster, listen: Listen, database: Database, how: signal.Signals
) -> None:
    cluster.start_worker(2)
    listener = listen()
    ids = seed(database, 5, do='wait')
    wait_until(lambda: len(cluster.begun()) == 2)
    pids = [event.pid for event in cluster.begun()]
    cluster.scheduler.send(how)
    wait_until(lambda: not cluster.scheduler.is_running())
    listener.wait_for('is away, and waited for')
    wait_until(lambda: not any(is_running(pid) for pid in pids))  # the worker ends, and they with it
    wait_until(lambda: not held(database, ids))
    time.sleep(4)  # a time during which nothing is to happen
    assert untouched(database, ids)
    cluster.start_scheduler()
    cluster.start_worker(2)
    cluster.go()
    wait_until(lambda: all(database.get(doc_id)['process'] for doc_id in ids))
    assert not any('failures' in database.get(doc_id) for doc_id in ids)
    assert listener.stop() == 0
    assert sum('is away' in line for line in listener.output.splitlines()) == 1, listener.output
    assert sum('is back' in line for line in listener.output.splitlines()) == 1, listener.output
    assert 'waits again' not in listener.output and 'Traceback' not in listener.output


def test_a_listener_ends_though_its_scheduler_is_away(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1)
    listener = listen()
    ids = seed(database, 2, do='wait')
    wait_until(cluster.begun)
    cluster.scheduler.kill()
    listener.wait_for('is away, and waited for')
    assert listener.stop() == 0, listener.output
    assert untouched(database, ids)


def test_a_listener_ends_though_its_scheduler_does_not_answer(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    cluster.start_worker(1)
    listener = listen()
    ids = seed(database, 2, do='wait')
    wait_until(cluster.begun)
    cluster.scheduler.send(signal.SIGSTOP)
    listener.send(signal.SIGTERM)
    listener.wait_for('stopping, after the 1 that still run')
    assert listener.stop() == 0, listener.output
    assert untouched(database, ids)


def test_a_scheduler_that_does_not_answer_is_away(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1)
    listener = listen()
    listener.wait_for('has room for 1 callbacks')
    cluster.scheduler.send(signal.SIGSTOP)
    listener.wait_for('is away, and waited for')
    ids = seed(database, 2)
    cluster.scheduler.send(signal.SIGCONT)
    wait_until(lambda: all(database.get(doc_id)['process'] for doc_id in ids))
    listener.wait_for('is back')
    assert listener.stop() == 0


def test_nothing_is_claimed_before_there_are_workers(cluster: Cluster, listen: Listen, database: Database) -> None:
    listener = listen()
    ids = seed(database, 3, do='wait')
    listener.wait_for('listening for')
    time.sleep(2)  # a time during which nothing is to happen
    assert untouched(database, ids)
    worker = cluster.start_worker(1)
    wait_until(cluster.begun, limit=30)  # sooner than the next sweep
    assert len(held(database, ids)) == 1
    other = cluster.start_worker(2)
    listener.wait_for('has room for 3 callbacks')
    wait_until(lambda: len(cluster.begun()) == 3)
    assert len(held(database, ids)) == 3
    cluster.go()
    wait_until(lambda: all(database.get(doc_id)['process'] for doc_id in ids))
    assert worker.stop() == 0
    listener.wait_for('has room for 2 callbacks')
    other.stop()
    listener.wait_for('has room for 0 callbacks')
    database.put({'_id': 'last', 'status': 'good', 'process': []})
    time.sleep(2)  # a time during which nothing is to happen
    assert untouched(database, ['last'])
    assert listener.stop() == 0


def test_a_farm_that_was_never_there(scripts: Scripts, database: Database, cluster: Cluster) -> None:
    cluster.scheduler.kill()
    ids = seed(database, 1)
    listener = scripts.listen(STEP, '--farm', cluster.address)
    listener.wait_for('is away, and waited for')
    assert untouched(database, ids)
    cluster.start_scheduler()
    cluster.start_worker(1)
    wait_until(lambda: database.get(ids[0])['process'])
    assert listener.stop() == 0


def test_a_scheduler_file_that_is_written_later_and_anew(
    scripts: Scripts, database: Database, cluster: Cluster
) -> None:
    cluster.scheduler.kill()
    cluster.file.unlink(missing_ok=True)
    listener = scripts.listen(STEP, '--farm', str(cluster.file))
    listener.wait_for('no scheduler has written its file')
    for number in (1, 2):
        cluster.port = 0  # another one each time
        cluster.start_scheduler()
        cluster.start_worker(1)
        listener.wait_for('has room for 1 callbacks', number)
        database.put({'_id': str(number), 'status': 'good', 'process': []})
        wait_until(lambda number=number: database.get(str(number))['process'])
        cluster.scheduler.kill()
    assert listener.stop() == 0
