"""Documents that are sent ahead to a node, and wait there for a place, while callbacks are short."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from edw.database.client import Database
from edw.engines.engine import NotRun, Running
from tests.farm.clusters import Cluster
from tests.farm.conftest import Listen
from tests.farm.test_nodes_die import done
from tests.loops import seed
from tests.scripts import wait_until

QUICK = 20  # documents, after which it is known that callbacks are short


def test_a_node_that_is_held_up_holds_up_nothing_else(cluster: Cluster, listen: Listen, database: Database) -> None:
    for _ in range(2):
        cluster.start_worker(1)
    listener = listen()
    listener.wait_for('has room for 2 callbacks')
    quick = seed(database, QUICK)
    seed(database, 1, first=QUICK, do='wait')
    quick += seed(database, 5 * QUICK, first=QUICK + 1)
    wait_until(lambda: done(database, quick))
    assert not done(database, [f'doc{QUICK:04d}'])
    cluster.go()
    wait_until(lambda: done(database, [f'doc{QUICK:04d}']))
    assert len(cluster.begun()) == len(quick) + 1
    assert listener.stop() == 0


def test_what_was_sent_ahead_costs_no_attempt_when_its_node_dies(
    cluster: Cluster, listen: Listen, database: Database
) -> None:
    places = 2
    first = cluster.start_worker(places)
    ids = seed(database, 4 * QUICK, do='sleep', seconds=0.1)
    listener = listen('-v')
    wait_until(lambda: len(cluster.begun()) >= QUICK)
    first.send(signal.SIGKILL)
    cluster.start_worker(places)
    wait_until(lambda: done(database, ids))
    listener.wait_for('WorkerGone: the farm lost the worker on')
    assert 'before there was a place' in listener.output, 'nothing was sent ahead'
    failed = [doc_id for doc_id in ids if 'failures' in database.get(doc_id)]
    assert len(failed) <= places
    assert all(cluster.begun(doc_id)[0].node == first.pid for doc_id in failed)
    begun_twice = [doc_id for doc_id in ids if len(cluster.begun(doc_id)) == 2]
    assert begun_twice == failed and len(cluster.begun()) == len(ids) + len(failed)
    assert listener.stop() == 0


def test_the_time_limit_counts_from_the_begin(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1)
    ids = seed(database, QUICK) + seed(database, 3, first=QUICK, do='sleep', seconds=1.5)
    listener = listen('--timeout', '2')
    wait_until(lambda: done(database, ids))
    assert not [doc_id for doc_id in ids if 'failures' in database.get(doc_id)]
    assert listener.stop() == 0


def test_what_was_sent_ahead_can_be_withdrawn(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1)
    quick = seed(database, QUICK)
    seed(database, 1, first=QUICK, do='wait')
    quick += seed(database, 5, first=QUICK + 1)
    listener = listen()
    wait_until(lambda: cluster.begun(f'doc{QUICK:04d}'))
    listener.send(signal.SIGTERM)
    listener.wait_for('stopping, after the 1 that still run')
    cluster.go()
    assert listener.end() == 0
    after = [database.get(doc_id) for doc_id in quick]
    assert not [doc for doc in after if 'claim' in doc or 'failures' in doc]
    assert sum(bool(doc['process']) for doc in after) + 1 == len(cluster.begun())


class _Stream:
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def send(self, *message: Any) -> None:
        self.said.append(message)


def test_it_costs_none_however_many_nodes_die_and_what_may_have_begun_unseen_costs_one_in_the_end() -> None:
    pytest.importorskip('distributed', reason='the Python package distributed (requirements-farm.txt) is not here')
    from edw.engines import tasks

    async def lose(place: int) -> Exception | str:
        """What becomes of one of four documents at workers with two places, all of which die at once."""
        workers: dict[str, tasks.Worker] = {}
        all_tasks = tasks.Tasks(workers, None, lambda what, *about: what(*about))
        all_tasks._seconds = 0.05
        for number in range(tasks.MOST_UNSEEN + 1):
            one = tasks.Worker(str(number), 2, stream=_Stream(), is_fit=True, ended=tasks.time.monotonic())
            running: list[Running] = []
            for index in range(4):
                running.append(all_tasks.submit({'_id': f'of {number}' if index != place else 'the same'}))
            workers[str(number)] = one
            all_tasks._fill()
            assert len(one.tasks) == 4
            all_tasks.lose(workers.pop(str(number)))
            await asyncio.sleep(0)
        return running[place].exception() or running[place].result().error

    assert 'WorkerGone' in str(asyncio.run(lose(1))) and not isinstance(asyncio.run(lose(1)), NotRun)
    assert isinstance(asyncio.run(lose(2)), NotRun)
