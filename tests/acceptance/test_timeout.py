"""Callbacks in processes: those that hang or die cost an attempt, and nothing else."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import listener
from edw.database.client import Database
from edw.errors import SettingsError
from tests.integration import sshd
from tests.programs import program
from tests.scripts import ROOT, Process, Scripts, wait_until

DEADLY = ('hang', 'segfault', 'kill', 'leave a child', 'exit', 'raise')
STEP = ROOT / 'tests' / 'acceptance' / 'dangerous_step.py'


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))


def callback_processes(process: Process) -> list[str]:
    """Ids of the processes that the callbacks of a listener run in."""
    return [line.split()[0] for line in children(process.pid).splitlines() if 'spawn' in line]


def test_hanging_and_dying_callbacks_cost_their_attempts_only(scripts: Scripts, database: Database) -> None:
    scripts.config.write_text(scripts.config.read_text().replace('attempts = 3', 'attempts = 2'))
    for what in (*DEADLY, 'work', 'work again'):
        database.put({'_id': what, 'do': what, 'status': 'good', 'process': []})
    done = scripts.run(STEP, '--once', '--timeout', '2', '--workers', '2')
    assert done.returncode == 1, done.stderr
    errors = {}
    for what in DEADLY:
        doc = database.get(what)
        assert doc['status'] == 'too dangerous' and doc['process'] == [] and 'claim' not in doc
        assert [failure['attempt'] for failure in doc['failures']] == [1, 2]
        (errors[what],) = {failure['error'] for failure in doc['failures']}
    assert errors == {
        'hang': 'TimeoutError: no result after 2 s',
        'segfault': 'ProcessDied: the process of the callback ended with signal 11 (SIGSEGV)',
        'leave a child': 'ProcessDied: the process of the callback ended with signal 9 (SIGKILL)',
        'kill': 'ProcessDied: the process of the callback ended with signal 9 (SIGKILL)',
        'exit': 'ProcessDied: the process of the callback ended with exit code 7',
        'raise': 'ValueError: with ***',
    }
    for what in ('work', 'work again'):
        assert database.get(what)['process'][0]['dbname'] == database.settings.dbname
    assert database.settings.password not in done.stderr


def test_a_second_signal_ends_a_callback_that_hangs(scripts: Scripts, database: Database) -> None:
    database.put({'_id': 'x', 'do': 'hang', 'status': 'good', 'process': []})
    process = scripts.start(STEP, '--timeout', '600')
    process.wait_for('hanging')  # a document that is taken, but not begun with, is released at once
    process.send(signal.SIGTERM)
    process.wait_for('stopping, after the 1 that still run')
    assert process.stop() == 0, process.output
    doc = database.get('x')
    assert 'claim' not in doc and doc['status'] == 'good' and doc['process'] == []


@pytest.mark.parametrize('what', ['hang', 'hold the lock'])
def test_processes_end_with_a_killed_listener(scripts: Scripts, database: Database, what: str) -> None:
    database.put({'_id': 'x', 'do': what, 'status': 'good', 'process': []})
    process = scripts.start(STEP, '--timeout', '600')
    process.wait_for('hanging')
    wait_until(lambda: 'multiprocessing.spawn' in children(process.pid))
    pids = callback_processes(process)
    process.kill()
    wait_until(lambda: not any(is_running(pid) for pid in pids))


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A control group that freezes whatever is put into it: even a SIGKILL waits until it is thawed."""
    group = Path(f'/sys/fs/cgroup/freezer/edw-test-{os.getpid()}')
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f'no control group of the kind "freezer" (version 1) can be made: {error.strerror}')
    yield group
    (group / 'freezer.state').write_text('THAWED')
    wait_until(lambda: not (group / 'cgroup.procs').read_text())
    group.rmdir()


def check_left_behind(database: Database, process: Process, pid: str, limit: int) -> None:
    """The attempt at x is recorded after its time limit, another process does y, and the listener ends."""
    process.wait_for(f'process {pid} cannot be killed')
    wait_until(lambda: 'failures' in database.get('x'))
    assert database.get('x')['failures'][0]['error'] == f'TimeoutError: no result after {limit} s'
    database.put({'_id': 'y', 'do': 'work', 'status': 'good', 'process': []})
    wait_until(lambda: database.get('y')['process'])
    process.send(signal.SIGTERM)
    wait_until(lambda: not process.is_running())  # though its child is there, and holds its output open
    assert is_running(pid)


def test_a_callback_that_cannot_be_killed_is_left_behind(scripts: Scripts, database: Database, frozen: Path) -> None:
    database.put({'_id': 'x', 'do': 'hang', 'status': 'good', 'process': []})
    process = scripts.start(STEP, '--timeout', '3', '--workers', '1')
    process.wait_for('hanging')
    (pid,) = callback_processes(process)
    (frozen / 'cgroup.procs').write_text(pid)
    (frozen / 'freezer.state').write_text('FROZEN')
    check_left_behind(database, process, pid, 3)
    (frozen / 'freezer.state').write_text('THAWED')
    assert process.end() == 0


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, sshd.Server]]:
    """A folder of another machine, mounted by sshfs, that holds the file `x.root`; and the server that has it."""
    sshfs, server = program('sshfs', package='sshfs'), program('sshd', package='openssh-server')
    there, folder = tmp_path / 'there', tmp_path / 'mounted'
    for made in (there, folder, tmp_path / 'sshd'):
        made.mkdir()
    (there / 'x.root').write_bytes(bytes(1000))
    with sshd.server(server, tmp_path / 'sshd', tmp_path / 'home') as started:
        source = f'{getpass.getuser()}@127.0.0.1:{there}'
        done = subprocess.run(
            [sshfs, '-p', str(started.port), source, str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f'this user may mount nothing by FUSE here: {done.stderr.strip()}')
        try:
            yield folder, started
        finally:
            subprocess.run(['fusermount3', '-u', '-z', str(folder)], check=True)


def test_a_callback_that_reads_from_a_mount_that_hangs_is_left_behind(
    scripts: Scripts, database: Database, mounted: tuple[Path, sshd.Server]
) -> None:
    """Such a process is in uninterruptible sleep, which no signal ends."""
    folder, server = mounted
    sessions = server.sessions()
    for session in sessions:
        session.suspend()
    try:
        database.put({'_id': 'x', 'do': 'read', 'file': f'{folder}/x.root', 'status': 'good', 'process': []})
        process = scripts.start(STEP, '--timeout', '2', '--workers', '1')
        process.wait_for('hanging')
        (pid,) = callback_processes(process)
        wait_until(lambda: psutil.Process(int(pid)).status() == psutil.STATUS_DISK_SLEEP)
        check_left_behind(database, process, pid, 2)
        assert 'claim' not in database.get('x')
    finally:
        for session in sessions:
            session.resume()
    wait_until(lambda: not is_running(pid))
    assert process.end() == 0


def children(pid: int) -> str:
    return subprocess.run(
        ['ps', '--ppid', str(pid), '-o', 'pid=,args='], capture_output=True, text=True, check=False
    ).stdout


def is_running(pid: str) -> bool:
    return bool(subprocess.run(['ps', '-p', pid, '-o', 'pid='], capture_output=True, check=False).stdout)


def test_a_callback_that_no_other_process_finds(database: Database) -> None:
    with pytest.raises(SettingsError, match='top level'):
        listener.run(lambda doc: {}, name='x', after=0, failed='f', settings=database.settings, once=True, timeout=1)


@pytest.mark.parametrize('text', ['0', '-1', 'nan', 'inf', 'soon'])
def test_bad_time_limits(scripts: Scripts, text: str) -> None:
    done = scripts.call('listen_newfiles.py', '--timeout', text)
    assert done.returncode == 2 and 'number of seconds' in done.stderr
