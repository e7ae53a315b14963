"""A place is away: the step waits, no document is given up, and people are told."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from typing import Any

import pytest

from edw.database.client import Database
from edw.errors import NotFound, TryLater
from edw.listening import intake, waiting
from edw.operating import checks, status
from edw.telling import waits
from tests.loops import Running, names, once, seed
from tests.scripts import Scripts, wait_until

REASON = '/sps: No space left on device'


class Place:
    """Somewhere that callbacks need, and that can be away."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.tries: Counter[str] = Counter()

    def callback(self, doc: dict[str, Any]) -> dict[str, Any]:
        self.tries[doc['_id']] += 1
        if not self.is_there.is_set():
            raise TryLater(REASON)
        return {}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(waiting, 'FIRST_PAUSE', 0.05)
    monkeypatch.setattr(waiting, 'LONGEST_PAUSE', 0.2)
    monkeypatch.setattr(intake, 'LONGEST_REST', 0.4)
    return Place()


@pytest.mark.parametrize('workers', [1, 4])
def test_no_attempt_is_counted_and_all_are_done_in_the_end(
    database: Database, place: Place, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    ids = seed(database, 40)
    with Running(place.callback, database.settings, workers=workers, first_rest=0.1):
        wait_until(lambda: place.tries.total() > workers + 5)
        assert len(place.tries) > 1  # another document tries each time
        assert all(names(doc) == [] and 'failures' not in doc for doc in database.existing(ids).values())
        (wait,) = waits.read(database)
        assert (wait.step, wait.reason) == ('first', REASON)
        place.is_there.set()
        wait_until(lambda: all(names(doc) == ['first'] for doc in database.existing(ids).values()))
        wait_until(lambda: waits.read(database) == [])
    assert all('failures' not in doc and 'claim' not in doc for doc in database.existing(ids).values())
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said[0] == f'first waits, and one document at a time tries again: {REASON}'
    assert len(said) == 2 and said[1].startswith('first goes on, after ')


def test_where_only_some_files_are_out_of_reach_the_others_are_done(
    database: Database, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    ids = seed(database, 20)
    away = set(ids[::2])

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        return place.callback(doc) if doc['_id'] in away else {}

    with Running(callback, database.settings, first_rest=0.1):
        wait_until(lambda: all(names(database.get(doc_id)) == ['first'] for doc_id in set(ids) - away))
        assert all(names(doc) == [] for doc in database.existing(away).values())
        wait_until(lambda: f'waits once more, though others were done: {REASON}' in caplog.text)
        place.is_there.set()
        wait_until(lambda: all(names(doc) == ['first'] for doc in database.existing(away).values()))


def test_people_are_told(database: Database, place: Place, scripts: Scripts) -> None:
    seed(database, 3)
    with Running(place.callback, database.settings):
        wait_until(lambda: waits.read(database) != [])
        found = status.read(database)
        (step,) = found.steps
        assert (step.name, step.waits_for) == ('first', REASON) and step.waits_since is not None
        assert not checks.is_left_alone(step, found.time + 1000)
        shown = scripts.call('show_status.py')
        assert re.search(rf'first waits for \d+ s: {re.escape(REASON)}', shown.stdout)
        told = json.loads(scripts.call('show_status.py', '--json').stdout)
        assert told['steps'][0]['waits_for'] == REASON
        checked = scripts.call('show_status.py', '--check')
        assert checked.returncode == 1 and f'first waits: {REASON}' in checked.stdout
    assert waits.read(database) == []  # it ended, and does not wait any more


def test_of_a_listener_that_was_killed_while_it_waited_nothing_is_told_for_long(database: Database) -> None:
    waits.tell(database, waits.Wait('gone', 'first', 0, REASON, 1.0), seconds=-100.0)
    waits.tell(database, waits.Wait('there', 'first', 0, REASON, 2.0), seconds=1e9)
    assert [wait.listener for wait in waits.read(database)] == ['there']
    waits.withdraw(database, 'there')
    assert waits.read(database) == []
    with pytest.raises(NotFound):
        database.get(waits.WAITING_ID)
    waits.withdraw(database, 'there')


def test_many_that_fail_alike_stop_the_step(database: Database, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A broken release of the step: what was tried is given up, and nothing else."""
    ids = seed(database, 60)
    mended = threading.Event()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        place.tries[doc['_id']] += 1
        if not mended.is_set():
            raise ModuleNotFoundError("No module named 'numpy'")
        return {}

    with Running(callback, database.settings):
        wait_until(lambda: 'failed alike' in caplog.text)
        wait_until(lambda: len(place.tries) > waiting.ALIKE + 2)
        mended.set()
        wait_until(lambda: all(names(doc) or doc['status'] != 'good' for doc in database.existing(ids).values()))
    failed = [doc for doc in database.existing(ids).values() if doc['status'] != 'good']
    assert len(failed) <= len(place.tries) and len(failed) < 30
    assert all(doc['_id'] in place.tries for doc in failed)


def test_once_tries_each_document_once_and_says_that_some_were_put_off(database: Database, place: Place) -> None:
    ids = seed(database, 12)
    assert once(place.callback, database.settings) == 12
    assert set(place.tries) == set(ids) and set(place.tries.values()) == {1}
    assert all(names(doc) == [] and 'failures' not in doc for doc in database.existing(ids).values())
    place.is_there.set()
    assert once(place.callback, database.settings) == 0
