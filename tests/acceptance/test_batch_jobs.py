"""Listeners as batch jobs: they end in time, by themselves or by a signal, and say which job they were."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from edw.config import Settings
from edw.database.client import Database
from tests.scripts import ROOT, Scripts

STEP = ROOT / 'tests' / 'acceptance' / 'dangerous_step.py'


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    for name in ('SLURM_JOB_ID', 'SLURM_ARRAY_TASK_ID', 'SGE_TASK_ID'):
        monkeypatch.delenv(name, raising=False)


def put(database: Database, *ids: str, do: str = 'work') -> None:
    for doc_id in ids:
        database.put({'_id': doc_id, 'do': do, 'status': 'good', 'process': []})


def test_no_more_than_the_limit_is_taken(scripts: Scripts, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SLURM_JOB_ID', '17')
    put(database, 'a', 'b', 'c')
    done = scripts.run(STEP, '--limit', '2')
    assert done.returncode == 0, done.stderr
    docs = [database.get(doc_id) for doc_id in 'abc']
    assert [len(doc['process']) for doc in docs] == [1, 1, 0] and not any('claim' in doc for doc in docs)
    assert docs[0]['process'][0]['job'] == '17'


def test_when_its_time_is_over_it_finishes_what_runs(scripts: Scripts, database: Database) -> None:
    put(database, 'x', do='hang')
    for seconds in (4, 16, 48):  # a busy machine may need more than the first to start the callback's process
        process = scripts.start(STEP, '--for', str(seconds), '--timeout', str(seconds + 2))
        with contextlib.suppress(AssertionError):
            process.wait_for('hanging')
            break
    put(database, 'y')
    assert process.end() == 0, process.output
    assert 'stopping, after the 1 that still run' in process.output
    assert len(database.get('x')['failures']) == 1 and 'claim' not in database.get('x')
    assert database.get('y')['process'] == []


@pytest.mark.parametrize('options', [(), ('--once',)])
def test_its_time_is_over_while_the_server_is_away(
    scripts: Scripts, settings: Settings, options: tuple[str, ...]
) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        nobody = f'http://127.0.0.1:{free.getsockname()[1]}'
    scripts.config.write_text(scripts.config.read_text().replace(settings.server, nobody))
    # As a process, which is ended if it never ends by itself.
    process = scripts.start('listen_newfiles.py', '--for', '1', *options)
    assert process.end(30) == 0, process.output
    assert 'trying again until it answers' in process.output and 'stopping' in process.output


@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGXCPU])
def test_what_batch_systems_send_is_a_clean_stop(scripts: Scripts, database: Database, number: signal.Signals) -> None:
    put(database, 'x', do='hang')
    process = scripts.start(STEP, '--timeout', '3', start_new_session=True)
    process.wait_for('hanging')
    for _ in range(3):  # the second one, which comes after a second, does not break off what runs
        os.killpg(process.pid, number)
    assert process.end() == 0, process.output
    assert database.get('x')['failures'][0]['error'] == 'TimeoutError: no result after 3 s'


def test_an_option_that_a_thread_does_not_have(scripts: Scripts) -> None:
    done = scripts.call('listen_newfiles.py', '--engine', 'threads', '--timeout', '3')
    assert done.returncode == 2 and '--timeout goes with --engine processes' in done.stderr


def test_a_script_without_a_guard_is_told_so(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    script = tmp_path / 'unguarded.py'
    script.write_text(
        'import listener\n\n\ndef callback(doc):\n    return {}\n\n\n'
        "raise SystemExit(listener.main(callback, name='x', after=0, failed='f', engine='processes'))\n",
        encoding='utf-8',
    )
    put(database, 'a')
    done = scripts.run(script)
    assert done.returncode == 2 and 'if __name__ == "__main__"' in done.stderr and 'Traceback' not in done.stderr
    assert 'failures' not in database.get('a') and 'claim' not in database.get('a')
