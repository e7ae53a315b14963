"""What runs in a Dask worker on a farm's node: each callback in a child process of its own.

Dask runs `serve` in one of the worker's threads, which waits for the child. A thread cannot be ended, a process can: a
task that is cancelled, by its listener, or because that is gone, ends its child, and with it the callback. Children are
kept for the next documents of the same listener, until that is gone.

All that Dask's own processes import is here: the scheduler needs the suite on its path, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from distributed import Scheduler, Worker, WorkerPlugin, get_worker

from edw.engines import child, orders
from edw.engines.callbacks import HOSTNAME, failed_outcome
from edw.engines.processes import KILL_PATIENCE, how_it_ended

PLUGIN = 'edw'
BEGAN = 'edw-began'  # name of the event that tells a listener that a callback begins with a document
MOST_LINES = 1000  # of the log of one callback, that its listener gets; the last ones
START_PATIENCE = 300.0  # seconds for a child to import the step

log = logging.getLogger(__name__)


def place_of(key: str) -> list[str]:
    """The address of the worker that a task is for, which stands in its key. Called in the scheduler."""
    return [key.split('|')[1]]


def scheduler_facts(order: bytes, dask_scheduler: Scheduler) -> str:
    """Why this scheduler cannot be worked with; '' where it can. Called in the scheduler."""
    try:
        orders.check({**json.loads(order), 'script': '.'})
    except orders.WrongNode as error:
        return str(error)
    if dask_scheduler.allowed_failures:
        return (
            f'its allowed-failures is {dask_scheduler.allowed_failures}, so that Dask runs callbacks again unseen: '
            'start it with DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0, as deploy/farm/scheduler.sh does'
        )
    return ''


def knock() -> None:
    """Nothing: that this module can be imported here is what there is to hear."""


def trial(order: bytes) -> bytes:
    """See whether the step can be run here, with a child that is ready then. Its result is kept by the listener.

    Returns, as JSON, `hostname`, and `error`, which is empty where the step can be run.
    """
    children = _children()
    children.tries[get_worker().get_current_task()] = order
    try:
        children.give_back(children.take(order), order)
        error = ''
    except orders.WrongNode as wrong:
        error = str(wrong)
    return json.dumps({'hostname': HOSTNAME, 'error': error}).encode()


def serve(order: bytes, document: bytes, client: str) -> bytes:
    """Run the callback on a document. Returns, as JSON, `outcome`, or `not_run` with why, and `lines` of the log."""
    children, worker = _children(), get_worker()
    key = worker.get_current_task()
    try:
        ours = children.take(order)
    except orders.WrongNode as error:
        return json.dumps({'not_run': str(error), 'hostname': HOSTNAME, 'lines': []}).encode()
    try:
        if not children.begin(key, ours):
            return b''  # cancelled meanwhile: nobody asks for it
        worker.log_event(client, {BEGAN: key})
        outcome = ours.run(document, json.loads(order)['timeout'])
        return json.dumps({'outcome': outcome, 'lines': ours.lines[-MOST_LINES:]}).encode()
    finally:
        children.end(key)
        children.give_back(ours, order)


class Child:
    """One process that runs callbacks."""

    def __init__(self, order: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'edw.engines.child', str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=orders.environment(),
            )
        self._connection = Connection(ours.detach())
        # Its end too: the socket of a process that died may be held open by children of its own.
        self._end = os.pidfd_open(self._process.pid)
        self._order = order
        self.is_fit = False
        self.lines: list[list[Any]] = []  # of the log, of the last callback

    def make_ready(self) -> None:
        """Wait until it has imported the step. Raises WrongNode where it cannot."""
        try:
            self._connection.send_bytes(self._order)
            what, value = self._next_word(START_PATIENCE) or (child.UNFIT, 'the step was not imported in time')
        except (EOFError, OSError):
            what, value = child.UNFIT, f'the process that imported the step ended with {self.bury()}'
        if what != child.READY:
            self.kill()
            raise orders.WrongNode(value)
        self.is_fit = True

    def run(self, document: bytes, timeout: float | None) -> dict[str, Any]:
        """The outcome of the callback, as a dict; that of its process where it ends that."""
        began = time.monotonic()
        self.lines = []
        try:
            self._connection.send_bytes(document)
            word = self._next_word(timeout)
        except (EOFError, OSError):
            word = (
                child.OUTCOME,
                asdict(failed_outcome(f'ProcessDied: the process of the callback ended with {self.bury()}', began)),
            )
        if word is None:
            self.kill()
            word = child.OUTCOME, asdict(failed_outcome(f'TimeoutError: no result after {timeout:g} s', began))
        return cast(dict[str, Any], word[1])

    def kill(self) -> None:
        """End it, whatever it does. Safe in any thread."""
        self.is_fit = False
        self._process.kill()

    def bury(self) -> str:
        """Wait for its end; returns how it ended."""
        self.is_fit = False
        try:
            return how_it_ended(self._process.wait(KILL_PATIENCE))
        except subprocess.TimeoutExpired:
            log.error('process %s cannot be ended: it is left behind', self._process.pid)
            return how_it_ended(None)

    def close(self) -> None:
        """End it, and let go of all that it holds here."""
        self.kill()
        self.bury()
        self._connection.close()
        os.close(self._end)

    def _next_word(self, timeout: float | None) -> tuple[str, Any] | None:
        """What it says next, but for lines of the log, which are kept; None where nothing came in time."""
        due = None if timeout is None else time.monotonic() + timeout
        while wait([self._connection, self._end], None if due is None else max(0.0, due - time.monotonic())):
            # What was said before it died still counts; where there is nothing, this is no time to wait.
            if not self._connection.poll():
                raise EOFError
            what, value = json.loads(self._connection.recv_bytes())
            if what != child.LINE:
                return what, value
            self.lines.append(value)
        return None


@dataclass
class _Children(WorkerPlugin):  # type: ignore[misc]  # without the package it is Any
    """The children of one worker: those that run callbacks, and those that wait for the next."""

    tries: dict[str, bytes] = field(default_factory=dict)  # orders that are in force, by key of the trial's result
    _busy: dict[str, Child] = field(default_factory=dict)  # by key of the task
    _idle: dict[bytes, list[Child]] = field(default_factory=dict)  # by order
    _cancelled: set[str] = field(default_factory=set)  # keys of tasks whose child was not ready yet
    _ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _starts: queue.SimpleQueue[tuple[Future[Child], bytes]] = field(default_factory=queue.SimpleQueue)

    def setup(self, worker: Worker) -> None:
        """Called by Dask."""
        # The kernel kills children with the *thread* that started them: one that lasts as long as the worker.
        threading.Thread(target=self._start_children, name='edw-children', daemon=True).start()

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the worker closes, before it waits for its threads."""
        with self._lock:
            self._ended = True
            children = [*self._busy.values(), *(one for those in self._idle.values() for one in those)]
        for one in children:
            one.kill()

    def transition(self, key: str, start: str, finish: str, **_: Any) -> None:
        """Called by Dask: what is not wanted any more ends."""
        if key in self.tries:
            if finish in ('released', 'forgotten'):
                self._withdraw(key)
        elif start in ('executing', 'long-running') and finish not in ('memory', 'error', 'long-running'):
            with self._lock:
                busy = self._busy.get(key)
                if busy is None:
                    self._cancelled.add(key)
            if busy is not None:
                busy.kill()

    def _withdraw(self, key: str) -> None:
        """The listener of a trial has let go of it, or is gone, and Dask has noticed."""
        with self._lock:
            order = self.tries.pop(key)
            idle = [] if order in self.tries.values() else self._idle.pop(order, [])
        for one in idle:
            one.kill()
            # Not waited for, in Dask's event loop.
            threading.Thread(target=one.close, daemon=True).start()

    def take(self, order: bytes) -> Child:
        """A child that waits for a document. Raises WrongNode where there can be none."""
        with self._lock:
            idle = self._idle.get(order)
            while idle:
                if (one := idle.pop()).is_fit:
                    return one
                one.close()
        started: Future[Child] = Future()
        self._starts.put((started, order))
        made = started.result()
        try:
            made.make_ready()
        except orders.WrongNode:
            made.close()
            raise
        return made

    def give_back(self, one: Child, order: bytes) -> None:
        """Keep a child for the next document; one that cannot go on is buried."""
        with self._lock:
            is_kept = one.is_fit and not self._ended and order in self.tries.values()
            if is_kept:
                self._idle.setdefault(order, []).append(one)
        if not is_kept:
            one.close()

    def begin(self, key: str, one: Child) -> bool:
        """Let a child be ended when its task is cancelled; False where it is already."""
        with self._lock:
            if key in self._cancelled or self._ended:
                return False
            self._busy[key] = one
            return True

    def end(self, key: str) -> None:
        """The opposite of `begin`."""
        with self._lock:
            self._cancelled.discard(key)
            self._busy.pop(key, None)

    def _start_children(self) -> None:
        while True:
            started, order = self._starts.get()
            try:
                started.set_result(Child(order))
            except OSError as error:
                started.set_exception(orders.WrongNode(f'no process can be started there: {error}'))


_adding = threading.Lock()


def _children() -> _Children:
    """The children of the worker in whose thread this runs."""
    worker = get_worker()
    with _adding:
        if PLUGIN not in worker.plugins:
            adding = worker.plugin_add(_Children(), name=PLUGIN, catch_errors=False)
            asyncio.run_coroutine_threadsafe(adding, worker.loop.asyncio_loop).result()
        return cast(_Children, worker.plugins[PLUGIN])
