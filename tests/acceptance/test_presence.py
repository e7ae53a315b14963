"""Listeners are seen while they are there, idle ones too, and a step that none listens for is said at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from edw import __version__
from edw.database.client import Database
from edw.errors import NotFound
from edw.telling import notices, presence
from edw.telling.presence import LISTENERS_ID, Presence, Teller
from tests.scripts import ROOT, Scripts, wait_until
from web import live

SCRIPT = 'show_status.py'
STEP = ROOT / 'tests' / 'acceptance' / 'waiting_step.py'


def seen(scripts: Scripts) -> list[dict[str, Any]]:
    return json.loads(scripts.call(SCRIPT, '--json').stdout)['listeners']


def heartbeat_process(listener: int) -> int:
    """The process that a listener has started for its heartbeat."""
    children = Path(f'/proc/{listener}/task/{listener}/children').read_text().split()
    (found,) = [child for child in children if b'edw.heartbeat' in Path(f'/proc/{child}/cmdline').read_bytes()]
    return int(found)


def test_an_idle_listener_is_seen_until_it_ends(scripts: Scripts, database: Database) -> None:
    listener = scripts.listen('listen_newfiles.py', '--workers', '3')
    wait_until(lambda: seen(scripts), every=0.3)
    (found,) = seen(scripts)
    assert (found['step'], found['claims'], found['hostname'], found['pid']) == (
        'move_to_sps',
        0,
        socket.gethostname(),
        listener.pid,
    )
    assert (found['engine'], found['workers'], found['version']) == ('threads', 3, '1')
    assert found['software'].startswith(__version__) and abs(found['started'] - time.time()) < 60
    shown = scripts.call(SCRIPT).stdout
    assert '3 in threads' in shown and f'1 (edw {__version__}' in shown and 'nobody listens' not in shown
    assert listener.stop() == 0
    assert seen(scripts) == []
    with pytest.raises(NotFound):
        database.get(LISTENERS_ID)
    database.put({'_id': 'x', 'status': 'good', 'process': [], 'datecreated': time.time()})
    assert 'nobody listens for (first step): start its listener. Waiting: 1 document' in scripts.call(SCRIPT).stdout


def test_of_a_killed_listener_is_said_at_once_that_nobody_listens(scripts: Scripts, database: Database) -> None:
    listener = scripts.listen('listen_newfiles.py')
    wait_until(lambda: seen(scripts), every=0.3)
    listener.kill()
    wait_until(lambda: seen(scripts) == [], every=0.3)
    database.put({'_id': 'x', 'status': 'good', 'process': [], 'datecreated': time.time()})
    database.put({'_id': 'y', 'status': 'good', 'process': [{'name': 'move_to_sps', 'finished': time.time()}]})
    shown = scripts.call(SCRIPT).stdout
    assert 'nobody listens for move_to_sps: start listen_newfiles.py. Waiting: 1 document' in shown
    assert scripts.call(SCRIPT, '--check', '--max-wait', '600').returncode == 0
    wait_until(lambda: scripts.call(SCRIPT, '--check', '--max-wait', '1').returncode == 1, every=0.3)


def test_a_listener_whose_machine_died_is_gone_after_a_while(
    scripts: Scripts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = scripts.listen('listen_newfiles.py')
    wait_until(lambda: seen(scripts), every=0.3)
    os.kill(heartbeat_process(listener.pid), signal.SIGKILL)
    listener.kill()
    assert len(seen(scripts)) == 1
    there = database.now()
    monkeypatch.setattr(Database, 'now', lambda self: there + presence.PACE + notices.GRACE + 1)
    assert seen(scripts) == []


def test_a_busy_listener_says_that_it_is_there(scripts: Scripts, database: Database, journal: Path) -> None:
    database.put({'_id': 'x', 'status': 'good', 'process': [], 'datecreated': time.time()})
    scripts.listen(STEP)
    wait_until(lambda: 'begins x' in journal.read_text())
    wait_until(lambda: [(each['claims'], each['engine']) for each in seen(scripts)] == [(1, 'threads')], every=0.3)


def test_what_another_listener_wrote_over_is_said_again_at_once(database: Database) -> None:
    ours, other = Presence('host:1:a', 'first', since=1.0), Presence('host:2:b', 'second', after='first', since=2.0)
    teller = Teller(database, ours)
    teller.tell()
    # As CouchDB 3 keeps one of two that were written at the same moment.
    doc = database.get(LISTENERS_ID)
    database.put({**doc, 'listeners': {}})
    Teller(database, other).tell()
    assert presence.read(database) == [other]
    teller.tell()
    assert presence.read(database) == [ours, other]
    teller.tell()
    doc = database.get(LISTENERS_ID)
    teller.tell()  # now that it was found there, not before a minute has passed
    assert database.get(LISTENERS_ID) == doc


def test_no_clock_of_another_machine_counts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, 'time', lambda: 5.0)
    Teller(database, Presence('host:1:a', 'first')).tell()
    monkeypatch.undo()
    assert [found.listener for found in presence.read(database)] == ['host:1:a']


def test_a_step_that_was_never_done_is_there_with_its_listener(scripts: Scripts, database: Database) -> None:
    database.put({'_id': 'x', 'status': 'good', 'process': [{'name': 'first', 'finished': time.time()}]})
    Teller(database, Presence('host:1:a', 'second', 'first')).tell()
    found = json.loads(scripts.call(SCRIPT, '--json').stdout)
    assert [(step['name'], step['waiting'], step['listeners']) for step in found['steps']] == [
        ('first', 0, 0),
        ('second', 1, 1),
    ]


def test_the_dashboard_shows_the_same(database: Database) -> None:
    for doc_id, process in (('x', []), ('y', [{'name': 'move_to_sps', 'finished': time.time()}])):
        database.put({'_id': doc_id, 'status': 'good', 'process': process, 'datecreated': time.time()})
    software = {'edw': '9.8.7', 'commit': 'abc1234', 'step': '5'}
    Teller(database, Presence('host:1:a', 'signal_processing', 'move_to_sps', 'processes', 6, software, 1.0)).tell()
    page = ' '.join(live.snapshot(live.read(database), None, 30.0).html.split())
    assert 'host:1:a' in page and 'idle' in page and '6 in processes' in page and 'edw 9.8.7 abc1234' in page
    assert page.count('nobody listens: start') == 1 and 'listen_newfiles.py' in page


def test_odd_notices_are_no_trouble(scripts: Scripts, database: Database) -> None:
    odd = {'engine': 7, 'workers': 'x', 'after': [], 'since': {}, 'software': [], 'again': 1e12, 'process': None}
    nasty = {**odd, 'engine': '\x1b[2J', 'process': '\x1b[2J', 'software': {'edw': '\x1b[2J', 'step': []}}
    database.put({'_id': LISTENERS_ID, 'listeners': {'odd': odd, 'none': 3, '\x1b[2J': nasty}})
    assert {each['name'] for each in seen(scripts)} == {'odd', '\x1b[2J'}
    assert '\x1b' not in scripts.call(SCRIPT).stdout
