"""The clock of a machine is set while its listeners work: by an hour, forward and back.

Made by libfaketime, which reads the offset of the time of day from a file, again at each call. The monotonic clock is
left alone, as the system does.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import local_couchdb
from edw import config
from edw.database import design
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.listeners import heartbeat_id
from tests.conftest import SETTINGS
from tests.programs import missing, program
from tests.scripts import ROOT, Process, Scripts, wait_until
from upload_design import DESIGN_FILE

STEP = ROOT / 'tests' / 'acceptance' / 'waiting_step.py'
LIBRARIES = '/usr/lib/*/faketime/libfaketime.so.1', '/usr/local/lib/faketime/libfaketime.so.1'
HOUR = 3600  # seconds
# libfaketime 0.9.10 takes the end of a time.sleep, which is one of the monotonic clock, for one of the time of day.
SLEEP = 'import threading, time; time.sleep = lambda seconds: threading.Event().wait(seconds)'


class Clock:
    """The time of day of processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / 'offset'
        self.set(0)
        found = next((file for pattern in LIBRARIES for file in sorted(Path('/').glob(pattern[1:]))), None)
        if found is None:
            missing('libfaketime.so.1 is not here', 'faketime')
        (folder / 'sitecustomize.py').write_text(SLEEP)
        self.environment = {
            'PYTHONPATH': os.pathsep.join([str(folder), str(ROOT)]),
            'LD_PRELOAD': str(found),
            'FAKETIME_TIMESTAMP_FILE': str(self._file),
            'FAKETIME_NO_CACHE': '1',
            'FAKETIME_DONT_FAKE_MONOTONIC': '1',
        }

    def set(self, hours: int) -> None:
        """Set it, so many hours from what it is."""
        new = self._file.with_suffix('.new')
        new.write_text(f'{hours * HOUR:+d}\n')
        new.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def add(database: Database, *names: str) -> None:
    database.bulk_docs([{'_id': name, 'status': 'good', 'process': []} for name in names])


def begun(journal: Path) -> list[str]:
    """The documents that callbacks have begun with, in order."""
    return [line.split()[1] for line in journal.read_text().splitlines() if line.startswith('begins')]


def counter(database: Database, worker: str) -> int:
    try:
        return database.get(heartbeat_id(worker))['counter']
    except NotFound:
        return 0


def live_on(database: Database, workers: set[str]) -> None:
    """Wait until each has shown that it is alive for longer than a lease."""
    beats = database.settings.lease / database.settings.heartbeat + 2
    ends = {worker: counter(database, worker) + beats for worker in workers}
    wait_until(lambda: all(counter(database, worker) >= end for worker, end in ends.items()))


def holders(database: Database, *names: str) -> set[str]:
    claims = [database.get(name).get('claim') for name in names]
    return {claim['worker'] for claim in claims if claim}


def is_done(database: Database, *names: str) -> bool:
    docs = [database.get(name) for name in names]
    return all(doc['process'] and 'claim' not in doc for doc in docs)


def check_that_all_was_done_once(database: Database, journal: Path, *names: str) -> None:
    assert sorted(begun(journal)) == sorted(names)
    docs = [database.get(name) for name in names]
    assert all(len(doc['process']) == 1 and doc['status'] == 'good' and 'failures' not in doc for doc in docs)
    assert all(0 <= entry['finished'] - entry['started'] < HOUR / 2 for doc in docs for entry in doc['process'])


def check_that_nothing_was_noticed(*listeners: Process) -> None:
    for listener in listeners:
        for words in ('no heartbeat', 'released', 'no longer claimed', 'nothing was done', 'Traceback', 'error'):
            assert words not in listener.output, listener.output


def test_a_listener_whose_clock_is_set_keeps_its_claims_and_goes_on(
    scripts: Scripts, database: Database, journal: Path, clock: Clock
) -> None:
    names = [f'x{number}' for number in range(6)]
    add(database, *names)
    # Both hold documents: the one looks after the other.
    first = scripts.listen(STEP, '-v', '--batch', '1', env={**os.environ, **clock.environment})
    second = scripts.listen(STEP, '-v', '--batch', '1')
    wait_until(lambda: len(holders(database, *names)) == 2 and len(begun(journal)) == 2)
    workers = holders(database, *names)
    for hours in (-1, 1):
        clock.set(hours)
        live_on(database, workers)
        assert holders(database, *names) == workers and len(begun(journal)) == 2
    journal.with_suffix('.go').touch()
    wait_until(lambda: is_done(database, *names))
    # What comes later is found, too.
    assert second.stop() == 0, second.output
    for number, hours in enumerate((-1, 0, 1)):
        clock.set(hours)
        add(database, f'y{number}')
        wait_until(lambda name=f'y{number}': is_done(database, name))
    assert first.stop() == 0, first.output
    check_that_all_was_done_once(database, journal, *names, 'y0', 'y1', 'y2')
    check_that_nothing_was_noticed(first, second)


@pytest.mark.parametrize('hours', [-1, 1])
def test_leases_and_time_limits_end_whatever_the_clock_says(
    scripts: Scripts, database: Database, journal: Path, clock: Clock, hours: int
) -> None:
    add(database, 'x')
    listener = scripts.listen(STEP, '--timeout', '3', env={**os.environ, **clock.environment})
    wait_until(lambda: begun(journal) == ['x'])
    database.put({'_id': 'y', 'status': 'good', 'process': [], 'claim': {'process': 'waiting', 'worker': 'dead:1:a'}})
    clock.set(hours)
    wait_until(lambda: begun(journal)[:2] == ['x', 'x'])
    assert [failure['attempt'] for failure in database.get('x')['failures']] == [1]
    listener.wait_for('dead:1:a has written no heartbeat for 3 s: its claims are released: 1')
    journal.with_suffix('.go').touch()
    wait_until(lambda: is_done(database, 'x', 'y'))
    assert listener.stop() == 0, listener.output


@pytest.fixture
def server_with_its_clock(tmp_path: Path, clock: Clock) -> Iterator[tuple[Database, Scripts]]:
    """An embedded server of its own, on a machine with this clock."""
    login = 'tester', f'secret-{secrets.token_hex(8)}'
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as its:
            for name, value in clock.environment.items():
                its.setenv(name, value)
            url = stack.enter_context(local_couchdb.running(tmp_path / 'couchdb', *login))
        file = tmp_path / 'edw.ini'
        file.write_text(SETTINGS.format(server=url, dbname='edwtest', username=login[0], password=login[1]))
        database = Database(config.load(file))
        database.create()
        design.upload(database, design.read(DESIGN_FILE))
        yield database, stack.enter_context(Scripts(file))


def test_a_server_whose_clock_is_set_harms_nobody(
    server_with_its_clock: tuple[Database, Scripts], journal: Path, clock: Clock
) -> None:
    database, scripts = server_with_its_clock
    names = [f'x{number}' for number in range(4)]
    add(database, *names)
    first, second = (scripts.listen(STEP, '-v', '--batch', '1') for _ in range(2))
    wait_until(lambda: len(holders(database, *names)) == 2 and len(begun(journal)) == 2)
    workers = holders(database, *names)
    for hours in (-1, 1):
        clock.set(hours)
        live_on(database, workers)
        assert holders(database, *names) == workers
    journal.with_suffix('.go').touch()
    wait_until(lambda: is_done(database, *names))
    clock.set(0)
    add(database, 'y')
    wait_until(lambda: is_done(database, 'y'))
    assert first.stop() == second.stop() == 0
    check_that_all_was_done_once(database, journal, *names, 'y')
    check_that_nothing_was_noticed(first, second)


def test_a_machine_that_has_slept_checks_its_peers(scripts: Scripts, database: Database, journal: Path) -> None:
    """Its clocks differ by two hours: CLOCK_BOOTTIME has gone on, CLOCK_MONOTONIC has not."""
    slept = [program('unshare', package='util-linux'), '--time', '--boottime', str(2 * HOUR)]
    if subprocess.run([*slept, 'true'], capture_output=True, check=False).returncode:
        pytest.skip('no time namespace may be made here')
    claim = {'process': 'waiting', 'worker': 'dead:1:a'}
    database.bulk_docs(
        [{'_id': name, 'status': 'good', 'process': [], **({'claim': claim} if name == 'y' else {})} for name in 'xy']
    )
    listener = Process([*slept, sys.executable, str(STEP), '--config', str(scripts.config)])
    try:
        listener.wait_for('dead:1:a has written no heartbeat for 3 s: its claims are released: 1')
        journal.with_suffix('.go').touch()
        wait_until(lambda: is_done(database, 'x', 'y'))
        assert 'nothing was done' not in listener.output
    finally:
        listener.kill()
