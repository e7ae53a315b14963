"""Listeners that die, stop and come back: their documents go to others, and each result is recorded once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from edw import config
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.listeners import heartbeat_id
from tests.scripts import ROOT, Process, Scripts, wait_until

STEP = ROOT / 'tests' / 'acceptance' / 'waiting_step.py'
IN_TIME = 5.0  # seconds for everything but the lease and the heartbeat


def begun_by(journal: Path, doc_id: str = 'x') -> list[int]:
    """Process ids that have begun with a document, in order."""
    lines = (line.split() for line in journal.read_text().splitlines())
    return [int(pid) for word, doc, pid in lines if (word, doc) == ('begins', doc_id)]


def heartbeats_of(process: Process) -> list[int]:
    """Process ids of the heartbeats of a listener: one, but for the moment in which another is started."""
    listed = subprocess.run(['ps', '-eo', 'pid=,ppid=,args='], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in listed.splitlines() if 'edw.heartbeat' in line]
    return [int(fields[0]) for fields in found if int(fields[1]) == process.pid]


def new_document(database: Database, doc_id: str = 'x') -> None:
    database.put({'_id': doc_id, 'status': 'good', 'process': []})


def settled(database: Database, doc_id: str = 'x') -> bool:
    doc = database.get(doc_id)
    return bool(doc['process']) and 'claim' not in doc


def test_a_killed_listener_gives_its_documents_back_at_once(
    scripts: Scripts, database: Database, journal: Path
) -> None:
    new_document(database)
    first = scripts.listen(STEP)
    wait_until(lambda: begun_by(journal) == [first.pid])
    second = scripts.listen(STEP)
    first.kill()
    first.wait_for('is gone: its claims are released: 1')
    wait_until(lambda: begun_by(journal) == [first.pid, second.pid], limit=IN_TIME)
    journal.with_suffix('.go').touch()
    wait_until(lambda: settled(database))
    assert second.stop() == 0
    assert [entry['pid'] for entry in database.get('x')['process']] == [second.pid]


def test_a_machine_that_dies_loses_its_claims_after_the_lease(
    scripts: Scripts, database: Database, journal: Path
) -> None:
    settings = config.load(scripts.config)
    new_document(database)
    first = scripts.listen(STEP)
    wait_until(lambda: begun_by(journal) == [first.pid])
    second = scripts.listen(STEP)
    # All processes of a machine end at once; SIGSTOP first, so that neither sees the other go.
    (heartbeat,) = heartbeats_of(first)
    os.kill(heartbeat, signal.SIGSTOP)
    first.send(signal.SIGKILL)
    os.kill(heartbeat, signal.SIGKILL)
    died = time.monotonic()
    wait_until(lambda: begun_by(journal)[1:] == [second.pid], limit=settings.lease + settings.heartbeat + IN_TIME)
    assert time.monotonic() - died > settings.lease / 2
    second.wait_for('has written no heartbeat for 3 s: its claims are released: 1')
    journal.with_suffix('.go').touch()
    wait_until(lambda: settled(database))
    assert second.stop() == 0


def test_the_late_result_of_a_paused_listener_is_refused(scripts: Scripts, database: Database, journal: Path) -> None:
    new_document(database)
    first = scripts.listen(STEP)
    wait_until(lambda: begun_by(journal) == [first.pid])
    second = scripts.listen(STEP)
    first.send(signal.SIGSTOP)
    wait_until(lambda: begun_by(journal) == [first.pid, second.pid])
    journal.with_suffix('.go').touch()
    wait_until(lambda: settled(database))
    first.send(signal.SIGCONT)
    first.wait_for('x is no longer claimed by this listener: the result is dropped')
    doc = database.get('x')
    assert [entry['pid'] for entry in doc['process']] == [second.pid] and 'claim' not in doc
    assert first.stop() == 0 and second.stop() == 0
    assert database.get('x') == doc


def test_a_callback_that_holds_the_interpreter_keeps_its_claim(
    scripts: Scripts, database: Database, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('EDW_TEST_HOLD', str(int(2 * config.load(scripts.config).lease)))
    new_document(database)
    first = scripts.listen(STEP)
    wait_until(lambda: begun_by(journal) == [first.pid])
    second = scripts.listen(STEP)
    wait_until(lambda: settled(database))
    assert begun_by(journal) == [first.pid]
    assert 'written no heartbeat' not in second.output
    assert first.stop() == 0 and second.stop() == 0


def test_a_heartbeat_process_that_dies_is_started_again(scripts: Scripts, database: Database, journal: Path) -> None:
    new_document(database)
    listener = scripts.listen(STEP)
    wait_until(lambda: begun_by(journal) == [listener.pid])
    (before,) = heartbeats_of(listener)
    os.kill(before, signal.SIGKILL)
    listener.wait_for('starting another')
    # A process has the command line of its parent until it has become another program.
    wait_until(lambda: heartbeats_of(listener) not in ([], [before]))
    assert len(heartbeats_of(listener)) == 1
    journal.with_suffix('.go').touch()
    wait_until(lambda: settled(database))
    assert listener.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_clean_stop_leaves_no_claim_and_no_heartbeat(
    scripts: Scripts, database: Database, journal: Path, number: int
) -> None:
    new_document(database)
    listener = scripts.listen(STEP, '-v')
    wait_until(lambda: begun_by(journal) == [listener.pid])
    worker = database.get('x')['claim']['worker']
    wait_until(lambda: beats(database, worker) > 0)
    listener.send(number)
    listener.wait_for('stopping, after the 1 that still run')
    journal.with_suffix('.go').touch()
    assert listener.end() == 0
    assert settled(database) and beats(database, worker) == 0


def beats(database: Database, worker: str) -> int:
    try:
        return database.get(heartbeat_id(worker))['counter']
    except NotFound:
        return 0
