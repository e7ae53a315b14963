"""Where callbacks run, without a listener: what an engine tells its loop, and what becomes of callbacks."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edw.config import PROCESSES, THREADS
from edw.engines import choice
from edw.engines.callbacks import Callback
from edw.engines.engine import CannotRun, Engine, Workers
from edw.errors import SettingsError
from edw.inbox import Inbox
from tests.scripts import LIMIT, ROOT
from tests.unit.memory import SETTINGS, new


def what_it_says(doc: dict[str, Any]) -> dict[str, Any]:
    match doc['do']:
        case 'die':
            os.kill(os.getpid(), signal.SIGKILL)
        case 'wait':
            threading.Event().wait()
    return {'pid': os.getpid()}


@contextmanager
def running(
    callback: Callback = what_it_says, *, engine: str = PROCESSES, workers: int = 1, timeout: float | None = None
) -> Iterator[tuple[Engine, Inbox[Any]]]:
    inbox: Inbox[Any] = Inbox()
    made = choice.start(engine, callback, SETTINGS, workers, timeout, inbox.put)
    try:
        yield made, inbox
    finally:
        made.end()


def wait_for(inbox: Inbox[Any], event: Any) -> list[Any]:
    """All events up to this one."""
    events: list[Any] = []
    end = time.monotonic() + LIMIT
    while event not in events:
        assert time.monotonic() < end, events
        events += inbox.take(end - time.monotonic())
    return events


@pytest.mark.parametrize('engine', [THREADS, PROCESSES])
def test_an_engine_tells_of_its_workers_and_runs_callbacks(engine: str) -> None:
    with running(engine=engine, workers=2) as (made, inbox):
        wait_for(inbox, Workers(2))
        entry = made.submit(new('a', do='work')).result(LIMIT).entry
        assert entry is not None and (entry['pid'] == os.getpid()) is (engine == THREADS)


def test_processes_without_a_time_limit_are_kept() -> None:
    with running() as (made, inbox):
        assert wait_for(inbox, Workers(1)) == [Workers(1)]
        entries = [made.submit(new(str(number), do='work')).result(LIMIT).entry for number in range(3)]
        assert len({entry['pid'] for entry in entries if entry}) == 1


@pytest.mark.slow
def test_a_process_that_dies_is_an_attempt_and_another_one_is_started_at_once() -> None:
    with running() as (made, inbox):
        wait_for(inbox, Workers(1))
        outcome = made.submit(new('a', do='die')).result(LIMIT)
        assert outcome.error == 'ProcessDied: the process of the callback ended with signal 9 (SIGKILL)'
        wait_for(inbox, Workers(0))  # while nothing runs, nothing is to be claimed
        wait_for(inbox, Workers(1))
        assert made.submit(new('b', do='work')).result(LIMIT).entry


@pytest.mark.slow
def test_a_time_limit_ends_what_takes_too_long() -> None:
    with running(timeout=0.1) as (made, inbox):
        wait_for(inbox, Workers(1))
        assert made.submit(new('a', do='wait')).result(LIMIT).error == 'TimeoutError: no result after 0.1 s'


def nested() -> Callback:
    def inner(doc: dict[str, Any]) -> dict[str, Any]:
        return {}

    return inner


@pytest.mark.parametrize(
    'made',
    [lambda: lambda doc: {}, nested, lambda: functools.partial(nested(), n=1)],
    ids=['lambda', 'inner', 'partial'],
)
def test_a_callback_that_cannot_go_into_a_process_is_an_error_at_start(made: Callable[[], Callback]) -> None:
    with pytest.raises(SettingsError, match='top level'), running(made()):
        pass


@pytest.mark.parametrize(
    ('given', 'timeout', 'settings', 'step', 'engine'),
    [
        (None, None, '', THREADS, THREADS),
        (None, None, '', PROCESSES, PROCESSES),
        (None, None, THREADS, PROCESSES, THREADS),
        (THREADS, None, PROCESSES, PROCESSES, THREADS),
        (PROCESSES, 1.0, THREADS, THREADS, PROCESSES),
        (None, 1.0, THREADS, THREADS, PROCESSES),  # what has a time limit is in a process
    ],
)
def test_who_decides_where_callbacks_run(
    given: str | None, timeout: float | None, settings: str, step: str, engine: str
) -> None:
    assert choice.engine_of(step, given, timeout, settings) == engine


def test_a_thread_has_no_time_limit() -> None:
    with pytest.raises(SettingsError, match='--timeout goes with --engine processes'):
        choice.engine_of(PROCESSES, THREADS, 1.0, '')
    with pytest.raises(SettingsError, match='no engine'):
        choice.engine_of('steam', None, None, '')


SCRIPT = """
import os, signal, sys
if {broken}:
    raise ImportError('a library is gone')
from edw.engines import choice
from edw.engines.engine import CannotRun, NotRun, Workers
from edw.inbox import Inbox
from tests.unit.memory import SETTINGS, new

def callback(doc):
    if doc['do'] == 'die':
        os._exit(3)
    return {{}}

if __name__ == '__main__':
    inbox = Inbox()
    engine = choice.start('processes', callback, SETTINGS, 1, None, inbox.put)
    def next_event():
        return next(inbox.take(60))
    print(next_event(), flush=True)
    {rest}
    engine.end()
"""


def run_script(folder: Path, broken: str, rest: str) -> subprocess.CompletedProcess[str]:
    script = folder / 'step.py'
    script.write_text(SCRIPT.format(broken=broken, rest=rest), encoding='utf-8')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
    )


def test_a_script_that_cannot_be_imported_ends_the_listener(tmp_path: Path) -> None:
    done = run_script(tmp_path, "__name__ == '__mp_main__'", '')
    assert done.stdout.startswith(CannotRun.__name__) and 'exit code 1' in done.stdout, done.stderr
    assert 'a library is gone' in done.stderr


def test_a_signal_to_the_whole_group_is_not_for_a_process_that_is_starting(tmp_path: Path) -> None:
    done = run_script(tmp_path, "__name__ == '__mp_main__' and os.kill(os.getpid(), signal.SIGTERM)", '')
    assert done.stdout == 'Workers(number=1)\n', done.stderr


@pytest.mark.slow
def test_a_script_that_breaks_later_costs_no_attempts_and_is_tried_again(tmp_path: Path) -> None:
    marker = tmp_path / 'broken'
    done = run_script(
        tmp_path,
        f'os.path.exists({str(marker)!r})',
        f"""
    open({str(marker)!r}, 'w').close()
    print(engine.submit(new('a', do='die')).result(60).error, next_event(), flush=True)
    print(type(engine.submit(new('b', do='work')).exception(60)).__name__, flush=True)
    os.unlink({str(marker)!r})
    print(next_event(), engine.submit(new('c', do='work')).result(60).entry, flush=True)
""",
    )
    assert done.stdout.splitlines() == [
        'Workers(number=1)',
        'ProcessDied: the process of the callback ended with exit code 3 Workers(number=0)',
        'NotRun',
        'Workers(number=1) {}',
    ], done.stderr
    assert done.stderr.count('could not be started') == 1 and 'can be started again' in done.stderr
