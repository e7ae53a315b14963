"""A thousand documents in flight from one listener, which takes few threads and little memory."""

from __future__ import annotations

import json
from pathlib import Path

from edw.database.client import Database
from tests.farm.clusters import Cluster
from tests.farm.conftest import Listen
from tests.loops import seed
from tests.scripts import ROOT, Scripts, wait_until

MANY = 1000
MOST_THREADS = 10
MOST_MEMORY = 150  # MB


def test_a_thousand_in_flight(cluster: Cluster, listen: Listen, scripts: Scripts, database: Database) -> None:
    cluster.start_worker(MANY, '--preload', str(ROOT / 'tests' / 'farm' / 'light_node.py'))
    listener = listen('-v')
    listener.wait_for(f'has room for {MANY} callbacks')
    ids = seed(database, MANY + 10)
    listener.wait_for('begins on', MANY, limit=240)
    assert number_in(listener.pid, 'Threads') < MOST_THREADS
    assert number_in(listener.pid, 'VmHWM') < MOST_MEMORY * 1024  # the most that it ever had, in KiB
    wait_until(lambda: [(farm['room'], farm['running']) for farm in farms_shown(scripts) or []] == [(MANY, MANY)])
    cluster.go()
    wait_until(lambda: all(doc['process'] for doc in database.existing(ids).values()), limit=240, every=1)
    assert listener.stop() == 0
    wait_until(lambda: farms_shown(scripts) == [])


def number_in(pid: int, name: str) -> int:
    """A figure that the kernel knows of a process."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{name}:'))


def farms_shown(scripts: Scripts) -> list[dict[str, object]] | None:
    """None where the server is too busy to answer in time."""
    done = scripts.call('show_status.py', '--json')
    return json.loads(done.stdout)['farms'] if done.returncode == 0 else None
