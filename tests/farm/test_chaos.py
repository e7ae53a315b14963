"""Workers are killed all the time, and the scheduler once: each document is recorded once, and none is lost."""

from __future__ import annotations

import itertools
import random
import signal
import threading
from collections import Counter

from edw.database.client import Database
from tests.farm.clusters import Cluster, is_running
from tests.farm.conftest import Listen
from tests.loops import seed
from tests.scripts import Scripts, wait_until

DOCUMENTS = 500
WORKERS = 4
EVERY = 2.0  # seconds between two workers that are killed
SECONDS = 0.2  # that a callback takes


def test_workers_and_the_scheduler_die(cluster: Cluster, listen: Listen, scripts: Scripts, database: Database) -> None:
    text = scripts.config.read_text()
    scripts.config.write_text(text.replace('attempts = 3', 'attempts = 100'))  # none is to fail for good
    for _ in range(WORKERS):
        cluster.start_worker(2)
    listener = listen()
    ids = seed(database, DOCUMENTS, do='sleep', seconds=SECONDS)
    choose, over = random.Random(1), threading.Event()

    def trouble() -> None:
        for number in itertools.count():
            if over.wait(EVERY):
                return
            if number == 5:
                cluster.scheduler.kill()
                cluster.start_scheduler()
                for _ in range(WORKERS):  # most of the others end with their scheduler
                    cluster.start_worker(2)
            at_work = {event.node for event in cluster.journal()}
            victims = [worker for worker in cluster.workers if worker.is_running() and worker.pid in at_work]
            if len(victims) > 1:  # or nothing would ever be done where a worker takes long to start
                choose.choice(victims).send(signal.SIGKILL)
                cluster.start_worker(2)

    trouble_maker = threading.Thread(target=trouble)
    trouble_maker.start()
    try:
        wait_until(lambda: is_done(database, ids), limit=400, every=1)
    finally:
        over.set()
        trouble_maker.join()
    assert listener.stop() == 0, listener.output
    begun = Counter(event.doc_id for event in cluster.begun())
    failures = 0
    for doc_id in ids:
        doc = database.get(doc_id)
        assert doc['status'] == 'good' and len(doc['process']) == 1 and 'claim' not in doc, doc
        failed = doc.get('failures', [])
        failures += len(failed)
        assert all('WorkerGone' in failure['error'] for failure in failed), failed
        assert [failure['attempt'] for failure in failed] == list(range(1, len(failed) + 1))
        assert begun[doc_id] >= 1
    assert failures, 'no worker was killed while it worked'
    assert not overlaps(cluster), 'two callbacks worked on one document at once'
    assert 'Traceback' not in listener.output
    wait_until(lambda: not any(is_running(event.pid) for event in cluster.journal()))


def is_done(database: Database, ids: list[str]) -> bool:
    """Also failed for good, which is looked at afterwards."""
    rows = database.all_docs(include_docs=True, startkey=ids[0], endkey=ids[-1])
    return all(row['doc']['process'] or row['doc']['status'] != 'good' for row in rows)


def overlaps(cluster: Cluster) -> list[str]:
    """Documents with which a callback began, while one that ended later was at work on it."""
    at_work: dict[str, tuple[int, float]] = {}
    found = []
    for event in cluster.journal():
        if event.word == 'begins':
            at_work[event.doc_id] = event.pid, event.time
        elif at_work.get(event.doc_id, (event.pid,))[0] != event.pid:
            found.append(event.doc_id)
    return found
