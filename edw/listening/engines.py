"""Running callbacks: a fixed number of threads that take documents and hand back outcomes."""

from __future__ import annotations

import copy
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from edw.config import Settings, current
from edw.errors import StepError, Unprocessable
from edw.model.documents import Document
from edw.redact import redact

MAX_ERROR_LENGTH = 1000  # characters of an error that go into a document

log = logging.getLogger(__name__)

Callback = Callable[[Document], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a callback made of a document: either `entry`, or `error` with whether another try is of use.

    `started` and `finished` are in seconds since the epoch, `seconds` is the time between by a clock that
    nobody sets.
    """

    doc: Document
    started: float
    finished: float
    seconds: float
    entry: dict[str, Any] | None = None
    error: str = ''
    final: bool = False


class Ended(Exception):
    """The executor was killed: nobody waits for an outcome."""


class Executor(Protocol):
    """Runs the callback on one document at a time; `kill` breaks off what runs, if that is possible."""

    def __call__(self, doc: Document) -> Outcome:
        """Run the callback."""

    def kill(self) -> None:
        """Break off what runs."""


class InThread:
    """Runs the callback in the calling thread, which nothing can break off."""

    def __init__(self, callback: Callback, settings: Settings) -> None:
        self._callback = callback
        self._settings = settings

    def __call__(self, doc: Document) -> Outcome:
        """Run the callback."""
        current.set(self._settings)
        return run_callback(self._callback, doc)

    def kill(self) -> None:
        """Leave it alone: the thread is a daemon, and ends with the process."""


class Workers:
    """Threads that each run callbacks with an executor of their own.

    They are daemons, so that a callback that hangs cannot hold the process.
    """

    def __init__(self, executors: list[Executor], report: Callable[[Outcome], None]) -> None:
        """`report` is called with each outcome, in the thread that ran the callback."""
        self._executors = executors
        self._report = report
        self._jobs: queue.SimpleQueue[Document] = queue.SimpleQueue()
        for index, executor in enumerate(executors):
            threading.Thread(target=self._work, args=(executor,), name=f'callback-{index}', daemon=True).start()

    def submit(self, doc: Document) -> None:
        """Run the callback on a document as soon as a thread is free."""
        self._jobs.put(doc)

    def withdraw(self) -> list[Document]:
        """Take back the documents that no thread has begun with."""
        docs = []
        while True:
            try:
                docs.append(self._jobs.get_nowait())
            except queue.Empty:
                return docs

    def end(self) -> None:
        """Break off what runs, as far as that is possible. No outcome of it is to be taken seriously any more."""
        for executor in self._executors:
            executor.kill()

    def _work(self, execute: Executor) -> None:
        while True:
            doc = self._jobs.get()
            try:
                outcome = execute(doc)
            except Ended:
                return
            # Whatever it is, from an exception that cannot be printed to no memory for a process: without an outcome
            # the document would stay claimed, and the thread be missing.
            except BaseException as error:
                log.exception('%s: the step could not be run', doc['_id'])
                now = time.time()
                outcome = Outcome(doc, now, now, 0.0, error=f'{type(error).__name__}: the step could not be run')
            self._report(outcome)


def run_callback(callback: Callback, doc: Document) -> Outcome:
    """Run the callback on a copy of the document; whatever it raises becomes an outcome."""
    started, clock = time.time(), time.perf_counter()
    result: dict[str, Any] = {}
    try:
        result['entry'] = checked_entry(callback(copy.deepcopy(doc)))
    # SystemExit too: a library that calls sys.exit would end this thread, and nobody would notice.
    except (Exception, SystemExit) as error:
        expected = isinstance(error, StepError)
        log.log(logging.DEBUG if expected else logging.ERROR, '%s: the step raised', doc['_id'], exc_info=True)
        result = {'error': describe(error), 'final': isinstance(error, Unprocessable)}
    return Outcome(doc, started, time.time(), time.perf_counter() - clock, **result)


def checked_entry(entry: Any) -> dict[str, Any]:
    """The entry, if it is a dict that the database can keep.

    Checked here, because one bad value (NaN, an array, half a surrogate pair) would make the server refuse
    a whole batch of results.
    """
    if not isinstance(entry, dict):
        raise StepError(f'the callback returned {type(entry).__name__}, not a dict for the process list')
    try:
        return json.loads(json.dumps(entry, allow_nan=False, ensure_ascii=False).encode('utf-8'))
    except (TypeError, ValueError, RecursionError) as error:
        raise StepError(f'the callback returned what JSON cannot hold: {error}') from None


def describe(error: BaseException) -> str:
    """Type and message of an error, without secrets, fit for a document."""
    text = redact(f'{type(error).__name__}: {error}')[:MAX_ERROR_LENGTH]
    return text.encode('utf-8', 'replace').decode('utf-8')
