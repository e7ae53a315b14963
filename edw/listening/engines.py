"""Engines: where callbacks run. One interface, in the terms of `concurrent.futures`, and the engine of threads."""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from typing import Protocol

from edw.config import Settings, current
from edw.listening.steps import Callback, Outcome, run_callback
from edw.model.documents import Document

log = logging.getLogger(__name__)

Running = Future[Outcome]  # of a document that was given to an engine


class Engine(Protocol):
    """Runs the callback on `workers` documents at once."""

    @property
    def workers(self) -> int:
        """How many callbacks run at once."""
        raise NotImplementedError

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as a worker is free.

        The future can be cancelled until then. It has an exception where the engine could not run the callback at all;
        what the callback itself raises is in the Outcome.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Break off what runs, as far as that is possible. Futures that are not done by now may never be."""
        raise NotImplementedError


class Threads:
    """Runs callbacks in threads, which nothing can break off.

    They are daemons, so that a callback that hangs cannot hold the process.
    """

    def __init__(self, callback: Callback, settings: Settings, workers: int) -> None:
        self.workers = workers
        self._callback = callback
        self._settings = settings
        self._jobs: queue.SimpleQueue[tuple[Running, Document] | None] = queue.SimpleQueue()
        for index in range(workers):
            threading.Thread(target=self._work, name=f'callback-{index}', daemon=True).start()

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as a thread is free."""
        running = Running()
        self._jobs.put((running, doc))
        return running

    def end(self) -> None:
        """Let the threads end that run nothing; others are left to the end of the process."""
        for _ in range(self.workers):
            self._jobs.put(None)

    def _work(self) -> None:
        current.set(self._settings)
        while (job := self._jobs.get()) is not None:
            running, doc = job
            if running.set_running_or_notify_cancel():
                run_into(running, self._callback, doc)


def run_into(running: Running, callback: Callback, doc: Document) -> None:
    """Run the callback, and have the future tell of its outcome, whatever happens."""
    try:
        outcome = run_callback(callback, doc)
    # From an exception that cannot be printed to no memory: without an outcome the document would stay claimed, and
    # the worker be missing.
    except BaseException as error:
        log.exception('%s: the step could not be run', doc['_id'])
        running.set_exception(error)
    else:
        running.set_result(outcome)
