"""Running callbacks in processes, which can be ended when they take too long, and may die without harm.

A process is started with `spawn`: it imports the step's script anew, and finds the callback there by its name.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from multiprocessing.connection import Connection, wait

from edw import logs
from edw.config import Settings, current
from edw.errors import SettingsError
from edw.listening.engines import Callback, Ended, Outcome, run_callback
from edw.model.documents import Document
from edw.redact import keep_secret

SPAWN = multiprocessing.get_context('spawn')


class InProcess:
    """Runs the callback in a process of its own, which is kept for the next document while it lives."""

    def __init__(self, callback: Callback, settings: Settings, timeout: float) -> None:
        try:
            pickle.dumps(callback)
        except (pickle.PicklingError, AttributeError, TypeError):
            raise SettingsError(
                'with a time limit the callback must be a function at the top level of its script, '
                f'so that another process finds it: {callback!r} is not.'
            ) from None
        self._arguments = (callback, settings, logging.getLogger('edw').level)
        self._timeout = timeout
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._killed = False

    def __call__(self, doc: Document) -> Outcome:
        """Run the callback; a process that dies or takes longer than the timeout is a failed attempt."""
        started, clock = time.time(), time.monotonic()
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._connection.send(doc)
            # The sentinel too: the pipe of a process that died may be held open by children of its own.
            if wait([self._connection, self._process.sentinel], self._timeout):
                return self._receive()
            error = f'TimeoutError: no result after {self._timeout:g} s'
            self._process.kill()
        except (EOFError, OSError):
            error = ''
        self._process.join()
        error = error or f'ProcessDied: the process of the callback ended with {_how(self._process.exitcode)}'
        return Outcome(doc, started, time.time(), time.monotonic() - clock, error=error)

    def _receive(self) -> Outcome:
        # What was sent before the process died still counts; where there is nothing, this is no time to wait for it.
        if not self._connection.poll():
            raise EOFError
        return self._connection.recv()

    def kill(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def _start(self) -> None:
        # The listener may end at any moment: a process must not be started after it was told to kill them.
        with self._lock:
            if self._killed:
                raise Ended
            self._connection, theirs = SPAWN.Pipe()
            process = SPAWN.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            process.start()
            theirs.close()
            self._process = process


def _how(code: int) -> str:
    return f'signal {-code} ({signal.Signals(-code).name})' if code < 0 else f'exit code {code}'


def _serve(connection: Connection, callback: Callback, settings: Settings, level: int) -> None:
    """In the process: run the callback on each document that comes, until the listener ends."""
    # A signal to the whole group is for the listener, which lets callbacks finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.set_up(level)
    for secret in (settings.password, settings.iam_apikey):
        keep_secret(secret)
    current.set(settings)
    while True:
        try:
            doc = connection.recv()
        except EOFError:
            return
        connection.send(run_callback(callback, doc))


def _end_with_parent() -> None:
    """A callback of hours whose listener was killed must not go on: another listener does it again."""
    multiprocessing.parent_process().join()
    os._exit(1)
