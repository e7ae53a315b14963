"""The process on a farm's node in which callbacks run, one after the other: `python -m edw.engines.child FD PARENT`.

Started by `edw.engines.node`, which ends it when a callback takes too long or is not wanted any more. It cannot be one
that multiprocessing starts: that would import the main module of its parent, which is Dask's.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from edw import config, software
from edw.engines import orders
from edw.engines.callbacks import describe, run_callback
from edw.engines.processes import SIGNALS_TO_STOP, be_killed_with_parent

READY, UNFIT, LINE, OUTCOME = 'ready', 'unfit', 'line', 'outcome'  # what it says, each with a value


def main(fd: int, parent: int) -> None:
    """Import the step, and run its callback on each document that comes, until the other end is closed."""
    for number in SIGNALS_TO_STOP:
        signal.signal(number, signal.SIG_IGN)  # for the worker, which ends this process itself
    be_killed_with_parent()
    if os.getppid() != parent:
        return  # it ended before the kernel knew
    said = _Mouth(Connection(fd))
    order = json.loads(said.connection.recv_bytes())
    _log_to(said, order['level'])
    try:
        settings = orders.settings_of(order)
        config.hide_secrets(settings)
        config.current.set(settings)
        orders.check(order)
        callback = orders.callback_of(order)
    except (Exception, SystemExit) as error:
        said.say(
            UNFIT,
            str(error)
            if isinstance(error, orders.WrongNode)
            else f'the step cannot be imported there: {describe(error)}',
        )
        return
    packages = tuple(order['packages'])
    software.here(packages)  # as it is now, and not when the first document comes
    said.say(READY, None)
    while True:
        try:
            doc = json.loads(said.connection.recv_bytes())
        except EOFError:
            return
        said.say(OUTCOME, asdict(run_callback(callback, doc, packages)))


class _Mouth:
    """Says things to the worker, from any thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.RLock()

    def say(self, what: str, value: Any) -> None:
        with self._lock:
            self.connection.send_bytes(json.dumps([what, value]).encode())


class _Lines(logging.Handler):
    """Sends what is logged to the listener, in whose log it is to stand."""

    def __init__(self, said: _Mouth) -> None:
        super().__init__()
        self._said = said
        self.setFormatter(logging.Formatter())  # the message and the traceback

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._said.say(LINE, [record.name, record.levelno, self.format(record)])
        except Exception:
            self.handleError(record)


def _log_to(said: _Mouth, level: int) -> None:
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines(said)])
    for name in ('edw', 'listener'):
        logging.getLogger(name).setLevel(level)


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
