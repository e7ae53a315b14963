"""The engine of processes: for callbacks that compute. They can be ended when they take too long, and die without harm.

A process is started with `spawn`: it imports the step's script anew, and finds the callback there by its name. It is
counted as a worker when it has done that. One thread serves all of them.
"""

from __future__ import annotations

import ctypes
import logging
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from edw import logs, software
from edw.config import Settings, current, hide_secrets
from edw.engines.callbacks import Callback, Outcome, describe, failed_outcome, run_callback
from edw.engines.engine import CannotRun, NotRun, Running, Tell, Workers
from edw.errors import SettingsError
from edw.model.documents import Document

SPAWN = multiprocessing.get_context('spawn')
SIGNALS_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU)
FIRST_PAUSE = 1.0  # seconds until it is tried again to start a process, doubled each time
LONGEST_PAUSE = 60.0  # seconds
KILL_PATIENCE = 2.0  # seconds for a killed process to end; one in uninterruptible sleep does not
READY = b'ready'  # what a process says when it has imported the step
PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger(__name__)


class Processes:
    """Runs callbacks in processes, which are started once, and kept for the next documents while they live.

    A process that dies or takes longer than `timeout` seconds is a failed attempt, and another one is started in its
    place. The time begins when the process gets the document; without a `timeout` it never ends.
    """

    farm = None  # they run here

    def __init__(
        self,
        callback: Callback,
        settings: Settings,
        workers: int,
        timeout: float | None,
        tell: Tell,
        packages: tuple[str, ...] = (),
    ) -> None:
        _check(callback)
        self._start_arguments = (callback, settings, logging.getLogger('edw').level, packages)
        self._timeout = math.inf if timeout is None else timeout
        self._tell = tell
        self._told = 0  # how many workers there are
        self._was_ready = False  # any process, at any time
        self._jobs: deque[tuple[Running, Document]] = deque()
        self._pause = FIRST_PAUSE
        self._start_at = -math.inf  # monotonic time at which to start those that are missing
        self._children = [self._start() for _ in range(workers)]
        self._ended = False
        self._lock = threading.Lock()  # over the jobs, the list of children, and whether it has ended
        self._woken, self._wake = SPAWN.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._serve, name='processes', daemon=True)
        self._thread.start()

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as a process is free."""
        running = Running()
        with self._lock:
            self._jobs.append((running, doc))
            self._notify()
        return running

    def end(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._ended = True
            for child in self._children:
                child.process.kill()
            self._notify()
        self._thread.join(KILL_PATIENCE)  # or both would wait for the same processes, and one of them in vain
        for child in self._children:
            _bury(child.process)

    def _notify(self) -> None:
        # Told while the thread that serves is behind: one word is enough, and the pipe never fills.
        if not self._woken.poll():
            self._wake.send_bytes(b'')

    def _start(self) -> _Child:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_work, args=(theirs, *self._start_arguments), daemon=True)
        # Blocked for the child, until it has imported the step and ignores them: a signal to the whole group is for the
        # listener, which lets callbacks finish. The tracker comes with the first process, and unblocks SIGINT and
        # SIGTERM when it is started: it is started before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS_TO_STOP)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Child(process, ours)

    def _serve(self) -> None:
        while not self._ended:
            try:
                self._serve_once()
            # A thread that ended here would let all documents wait for ever.
            except Exception as error:
                log.exception('the engine of processes failed; all that ran is broken off')
                for child in self._alive():
                    child.process.kill()
                    child.break_off(error)

    def _serve_once(self) -> None:
        """Wait until something happens, hear of it, and give out documents."""
        alive = self._alive()
        # Its end too: the pipe of a process that died may be held open by children of its own.
        on = [self._woken, *(part for child in alive for part in (child.connection, child.end))]
        start_due = self._start_at if len(alive) < len(self._children) else math.inf
        due = min((child.due for child in alive), default=math.inf)
        due = min(due, start_due)
        ready = set(wait(on, None if due == math.inf else max(0.0, due - time.monotonic())))
        if self._woken in ready:
            self._woken.recv_bytes()
        for child in alive:
            if child.connection in ready or child.end in ready:
                self._hear(child)
            elif time.monotonic() >= child.due:
                child.process.kill()
                _bury(child.process)
                child.fail(f'TimeoutError: no result after {self._timeout:g} s')
        with self._lock:
            # A process must not be started after all were told to end.
            if not self._ended:
                self._give_out()
                self._replace_dead()
                self._tell_of_workers()

    def _hear(self, child: _Child) -> None:
        try:
            # What was sent before the process died still counts; where there is nothing, this is no time to wait.
            if not child.connection.poll():
                raise EOFError
            said = child.connection.recv()
        except (EOFError, OSError):
            child.process.join()
            how = how_it_ended(child.process.exitcode)
            child.fail(f'ProcessDied: the process of the callback ended with {how}')
            if not child.was_ready and not self._ended:
                self._could_not_start(how)
            return
        if said == READY:
            child.is_ready = child.was_ready = self._was_ready = True
            if self._pause > FIRST_PAUSE:
                log.warning('the processes of callbacks can be started again')
            self._pause = FIRST_PAUSE
        else:
            child.finish(said)

    def _could_not_start(self, how: str) -> None:
        """A process ended before it was ready: the script cannot be imported, now or at all."""
        if not self._was_ready:
            self._tell(
                CannotRun(
                    SettingsError(
                        f'{_script()} cannot be imported by a process of its own, which ended with {how}: its last '
                        'words are above. listener.main must be called under if __name__ == "__main__".'
                    )
                )
            )
            self._start_at = math.inf
            return
        if self._start_at <= time.monotonic():  # else of another one that was started at the same time
            if self._pause == FIRST_PAUSE:
                log.error('a process of callbacks could not be started, it ended with %s: trying again', how)
            self._start_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _give_out(self) -> None:
        """Give documents to processes that are free."""
        for child in self._children:
            while child.is_ready and self._jobs:
                running, doc = self._jobs.popleft()
                if running.set_running_or_notify_cancel():
                    child.begin(running, doc, self._timeout)

    def _replace_dead(self) -> None:
        """Start processes in the place of those that have died. While none can be, nothing waits here for one."""
        if self._start_at <= time.monotonic():
            self._children = [self._start() if child.is_dead else child for child in self._children]
        if self._start_at > time.monotonic() and not any(child.was_ready for child in self._alive()):
            while self._jobs:
                running, _ = self._jobs.popleft()
                if running.set_running_or_notify_cancel():
                    running.set_exception(NotRun('no process of callbacks can be started'))

    def _alive(self) -> list[_Child]:
        return [child for child in self._children if not child.is_dead]

    def _tell_of_workers(self) -> None:
        number = sum(child.was_ready for child in self._alive())
        if number != self._told:
            self._told = number
            self._tell(Workers(number))


class _Child:
    """One process, and what it is doing."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process = process
        self.connection = connection
        # Ready when the process ends. Its sentinel is a pipe, which children of the callback's own hold open, too.
        self.end = os.pidfd_open(process.pid or 0) if hasattr(os, 'pidfd_open') else process.sentinel
        self.is_ready = False  # waits for a document
        self.was_ready = False
        self.is_dead = False
        self.due = math.inf  # monotonic time at which the callback has taken too long
        self._running: Running | None = None
        self._began = 0.0  # monotonic time

    def begin(self, running: Running, doc: Document, timeout: float) -> None:
        self.is_ready = False
        self._running, self._began = running, time.monotonic()
        self.due = self._began + timeout
        try:
            self.connection.send(doc)
        except OSError as error:
            log.debug('%s: %s; its process has died in this moment, which its end tells next', doc['_id'], error)
        except Exception as error:
            # Nothing was sent: the document cannot be pickled, as one that is nested too deeply.
            self.finish(failed_outcome(describe(error)))

    def finish(self, outcome: Outcome) -> None:
        running, self._running = self._running, None
        self.is_ready, self.due = True, math.inf
        if running is not None:
            running.set_result(outcome)

    def break_off(self, error: Exception) -> None:
        running = self._die()
        if running is not None:
            running.set_exception(error)

    def fail(self, words: str) -> None:
        running = self._die()
        if running is not None:
            running.set_result(failed_outcome(words, self._began))

    def _die(self) -> Running | None:
        """Expect nothing more of the process; returns what it was running."""
        running, self._running = self._running, None
        self.is_ready, self.is_dead, self.due = False, True, math.inf
        self.connection.close()
        if self.end != self.process.sentinel:
            os.close(self.end)
        return running


def cores() -> int:
    """How many processors this process may use, which a batch system or a container may have bounded."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(callback: Callback) -> None:
    """Raises SettingsError for a callback that no other process finds."""
    if getattr(multiprocessing.current_process(), '_inheriting', False):
        raise SettingsError('listener.main must be called under if __name__ == "__main__", or processes cannot run.')
    try:
        # A function of an interactive session is in no file that could be imported.
        is_found = b'__main__' not in pickle.dumps(callback) or os.path.exists(_script())
    except (pickle.PicklingError, AttributeError, TypeError):
        is_found = False
    if not is_found:
        raise SettingsError(
            'in processes the callback must be a function at the top level of its script, '
            f'so that another process finds it: {callback!r} is not. Move it there, or use the engine of threads.'
        )


def _script() -> str:
    return str(getattr(sys.modules['__main__'], '__file__', None) or '')


def _bury(process: BaseProcess) -> None:
    """Wait for the end of a process that was killed; one in uninterruptible sleep is left behind."""
    process.join(KILL_PATIENCE)
    if process.is_alive():
        log.error('process %s cannot be killed, as in a read of a mount that is gone: it is left behind', process.pid)
        # Or the end of this process would wait for it: multiprocessing joins all its children then.
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]


def how_it_ended(code: int | None) -> str:
    """The exit code of a process, or the signal that ended it, in words; None where it has not ended."""
    if code is None:
        return 'no exit code'
    if code >= 0:
        return f'exit code {code}'
    known = {number.value: f' ({number.name})' for number in signal.Signals}  # real-time signals have no name
    return f'signal {-code}{known.get(-code, "")}'


def _work(
    connection: Connection, callback: Callback, settings: Settings, level: int, packages: tuple[str, ...]
) -> None:
    """In the process: run the callback on each document that comes, until the listener ends."""
    for number in SIGNALS_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_TO_STOP)
    be_killed_with_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.set_up(level)
    hide_secrets(settings)
    current.set(settings)
    software.here(packages)  # as it is now, and not when the first document comes
    connection.send(READY)
    while True:
        try:
            doc = connection.recv()
        except EOFError:
            return
        connection.send(run_callback(callback, doc, packages))


def be_killed_with_parent() -> None:
    """Ask the kernel for it, where it can: a callback that holds the interpreter's lock lets no thread do anything."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_parent() -> None:
    """A callback of hours whose listener was killed must not go on: another listener does it again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
