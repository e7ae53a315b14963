"""Streams between a listener and nodes that are cut while both live."""

from __future__ import annotations

import contextlib
import signal

from edw.database.client import Database
from tests.chaos.proxy import Proxy
from tests.farm.clusters import Cluster, behind, is_running
from tests.farm.conftest import Listen
from tests.farm.slurm import free_port
from tests.farm.test_chaos import overlaps
from tests.loops import seed
from tests.scripts import wait_until


def test_a_stream_that_is_cut_costs_no_attempt(cluster: Cluster, listen: Listen, database: Database) -> None:
    port = free_port()
    with contextlib.closing(Proxy(port)) as proxy:
        worker = cluster.start_worker(2, at=behind(port, proxy.port))
        listener = listen()
        ids = seed(database, 3, do='wait')
        for number in (2, 4, 6):
            wait_until(lambda number=number: len(cluster.begun()) == number)
            assert not any(is_running(event.pid) for event in cluster.begun()[:-2])
            if number < 6:
                proxy.cut()
        cluster.go()
        wait_until(lambda: all(database.get(doc_id)['process'] for doc_id in ids))
        assert not any('failures' in database.get(doc_id) for doc_id in ids)
        assert not overlaps(cluster) and worker.is_running()
        assert listener.stop() == 0
    assert 'WorkerGone' not in listener.output and 'Traceback' not in listener.output


def test_a_node_that_cannot_be_reached_any_more_keeps_no_document(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    port = free_port()
    with contextlib.closing(Proxy(port)) as proxy:
        cluster.start_worker(1, at=behind(port, proxy.port))
        listener = listen()
        (doc_id,) = seed(database, 1, do='wait')
        wait_until(cluster.begun)
    proxy.cut()  # for good: nobody takes connections in its place
    wait_until(lambda: not is_running(cluster.begun()[0].pid))
    listener.wait_for('has room for 0 callbacks')
    cluster.start_worker(1)
    cluster.go()
    wait_until(lambda: database.get(doc_id)['process'], limit=120)  # not before it is sure that nothing runs there
    assert 'failures' not in database.get(doc_id) and len(cluster.begun()) == 2
    listener.send(signal.SIGTERM)
    assert listener.end() == 0
