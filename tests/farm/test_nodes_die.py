"""Workers of a farm that die, or are stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from edw.database.client import Database
from tests.farm.clusters import Cluster, is_running
from tests.farm.conftest import Listen
from tests.loops import seed
from tests.scripts import Process, wait_until


def done(database: Database, ids: list[str]) -> bool:
    return all(database.get(doc_id)['process'] for doc_id in ids)


def test_documents_go_through_a_farm(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(2)
    listener = listen()
    ids = seed(database, 20, do='say')
    wait_until(lambda: done(database, ids))
    entry = database.get(ids[0])['process'][0]
    assert entry['sps'] == database.settings.sps and entry['password'] == ''
    listener.wait_for(f'something is odd with {database.settings.sps}', 20)
    assert listener.stop() == 0, listener.output
    wait_until(lambda: not cluster.children())  # idle ones end with their listener


def kill(cluster: Cluster, worker: Process) -> None:
    worker.send(signal.SIGKILL)


def terminate(cluster: Cluster, worker: Process) -> None:
    worker.send(signal.SIGTERM)


def retire(cluster: Cluster, worker: Process) -> None:
    code = f'from distributed import Client; Client({cluster.address!r}).retire_workers(names=["w0"])'
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60, capture_output=True)


def begun_on_one(cluster: Cluster, listen: Listen, database: Database) -> tuple[Process, Process]:
    """A node and a listener, whose callback runs there, and waits."""
    worker = cluster.start_worker(1)
    listener = listen()
    seed(database, 1, do='wait')
    wait_until(cluster.begun)
    return worker, listener


@pytest.mark.parametrize('stop', [kill, terminate, retire])
def test_a_worker_that_ends_costs_one_attempt_of_what_it_ran(
    cluster: Cluster, listen: Listen, database: Database, stop: Callable[[Cluster, Process], None]
) -> None:
    worker, listener = begun_on_one(cluster, listen, database)
    (first,) = cluster.begun()
    cluster.start_worker(1)  # where Dask would begin it again at once
    listener.wait_for('has room for 2 callbacks')
    listener.send(signal.SIGSTOP)  # it cannot take back what Dask would begin elsewhere by itself
    stop(cluster, worker)
    wait_until(lambda: not worker.is_running())
    asked(cluster, 'client.submit(int).result(30)')  # the other worker had done all that it was to do before
    assert len(cluster.begun()) == 1 and not is_running(first.pid)
    listener.send(signal.SIGCONT)
    wait_until(lambda: database.get('doc0000').get('failures'))
    wait_until(lambda: len(cluster.begun()) == 2)
    cluster.go()
    wait_until(lambda: done(database, ['doc0000']))
    doc = database.get('doc0000')
    (failure,) = doc['failures']
    assert failure['attempt'] == 1 and failure['hostname'] == os.uname().nodename
    assert failure['error'].startswith('WorkerGone: ') and failure['error'].endswith('while the callback ran')
    assert len(doc['process']) == 1 and [event.word for event in cluster.journal()] == ['begins', 'begins', 'ends']
    assert listener.stop() == 0


def test_what_had_not_begun_goes_back_uncounted(cluster: Cluster, listen: Listen, database: Database) -> None:
    worker = cluster.start_worker(1)
    listener = listen('-v')
    listener.wait_for('has room for 1 callbacks')
    worker.send(signal.SIGSTOP)  # what is sent there now does not begin
    seed(database, 1)
    listener.wait_for('claimed doc0000')
    worker.send(signal.SIGKILL)
    listener.wait_for('doc0000 is released, and waits again')
    wait_until(lambda: 'claim' not in database.get('doc0000'))
    assert 'failures' not in database.get('doc0000')
    cluster.start_worker(1)
    wait_until(lambda: done(database, ['doc0000']))
    assert 'failures' not in database.get('doc0000') and len(cluster.begun()) == 1


def test_a_document_that_kills_its_node_fails_like_any_other(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    listener = listen()
    seed(database, 1, do='kill the node')
    for attempt in (1, 2, 3):
        cluster.start_worker(1)
        wait_until(lambda attempt=attempt: len(database.get('doc0000').get('failures', [])) == attempt)
    assert database.get('doc0000')['status'] == 'far failed' and len(cluster.begun()) == 3
    assert listener.stop() == 0


def test_a_result_that_is_lost_with_its_node_is_not_computed_again_unseen(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    worker, listener = begun_on_one(cluster, listen, database)
    cluster.start_worker(1)
    listener.wait_for('has room for 2 callbacks')
    # The callback ends, but what is to tell of it does not, and then is gone with the result.
    worker.send(signal.SIGSTOP)
    cluster.go()
    wait_until(lambda: len(cluster.journal()) == 2)
    worker.send(signal.SIGKILL)
    wait_until(lambda: done(database, ['doc0000']))
    (failure,) = database.get('doc0000')['failures']
    assert failure['attempt'] == 1 and 'WorkerGone' in failure['error']
    assert [event.word for event in cluster.journal()] == ['begins', 'ends', 'begins', 'ends']
    assert listener.stop() == 0


def test_a_result_that_was_sent_before_its_node_died_counts(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    worker, listener = begun_on_one(cluster, listen, database)
    listener.send(signal.SIGSTOP)  # it hears nothing while the callback ends, and the node does, too
    cluster.go()
    running = 'sum(len(guest._running) for guest in dask_worker.plugins["edw"]._guests)'
    wait_until(lambda: asked(cluster, f'client.run(lambda dask_worker: {running})').endswith(': 0}\n'), every=1)
    worker.send(signal.SIGKILL)
    wait_until(lambda: not workers_of(cluster))
    listener.send(signal.SIGCONT)
    wait_until(lambda: done(database, ['doc0000']))
    assert 'failures' not in database.get('doc0000') and len(cluster.begun()) == 1
    assert listener.stop() == 0


def asked(cluster: Cluster, what: str) -> str:
    """What a client of Dask's own says of the cluster."""
    code = f'from distributed import Client; client = Client({cluster.address!r}); print({what})'
    done = subprocess.run([sys.executable, '-c', code], check=True, timeout=60, capture_output=True, text=True)
    return done.stdout


def workers_of(cluster: Cluster) -> list[str]:
    return asked(cluster, '" ".join(client.ncores())').split()
