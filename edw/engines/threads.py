"""The engine of threads: for callbacks that wait, as for a copy of a file."""

from __future__ import annotations

import logging
import queue
import threading

from edw.config import Settings, current
from edw.engines.callbacks import Callback, run_callback
from edw.engines.engine import Running, Tell, Workers
from edw.model.documents import Document

log = logging.getLogger(__name__)


class Threads:
    """Runs callbacks in threads, which nothing can break off.

    They are daemons, so that a callback that hangs cannot hold the process.
    """

    farm = None  # they run here

    def __init__(
        self, callback: Callback, settings: Settings, workers: int, tell: Tell, packages: tuple[str, ...] = ()
    ) -> None:
        self._workers = workers
        self._callback = callback
        self._settings = settings
        self._packages = packages
        self._jobs: queue.SimpleQueue[tuple[Running, Document] | None] = queue.SimpleQueue()
        for index in range(workers):
            threading.Thread(target=self._work, name=f'callback-{index}', daemon=True).start()
        tell(Workers(workers))

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as a thread is free."""
        running = Running()
        self._jobs.put((running, doc))
        return running

    def end(self) -> None:
        """Let the threads end that run nothing; others are left to the end of the process."""
        for _ in range(self._workers):
            self._jobs.put(None)

    def _work(self) -> None:
        current.set(self._settings)
        while (job := self._jobs.get()) is not None:
            running, doc = job
            if running.set_running_or_notify_cancel():
                run_into(running, self._callback, doc, self._packages)


def run_into(running: Running, callback: Callback, doc: Document, packages: tuple[str, ...]) -> None:
    """Run the callback, and have the future tell of its outcome, whatever happens."""
    try:
        outcome = run_callback(callback, doc, packages)
    # From an exception that cannot be printed to no memory: without an outcome the document would stay claimed, and
    # the worker be missing.
    except BaseException as error:
        log.exception('%s: the step could not be run', doc['_id'])
        running.set_exception(error)
    else:
        running.set_result(outcome)
