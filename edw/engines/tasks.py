"""What becomes of the documents on a farm: each waits, goes to a worker, and comes back with an outcome or without.

All but `Tasks.submit` is for the farm's own thread, which alone sets results of the futures that are given out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from edw.engines import node
from edw.engines.callbacks import Outcome, describe, failed_outcome
from edw.engines.connections import Stream
from edw.engines.engine import NotRun, Running
from edw.model.documents import Document

MOST_UNSEEN = 3  # times that a document's worker may be gone before it has said that the callback began

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Worker:
    """A Dask worker: so many places for callbacks. Times are monotonic."""

    address: str
    threads: int
    hostname: str = ''
    stream: Stream | None = None
    is_fit: bool = False  # the step can be run there
    is_tried: bool = False  # or is being asked
    is_gone: bool = False  # says the scheduler
    try_due: float = 0.0
    heard: float = 0.0  # when it last said anything
    closed: float = 0.0  # when its stream was
    tasks: dict[int, Task] = field(default_factory=dict)  # by number

    @property
    def name(self) -> str:
        """What people call it."""
        return self.hostname or self.address

    @property
    def free(self) -> int:
        """How many callbacks could begin there."""
        return self.threads - len(self.tasks)

    def overdue(self, limit: float) -> list[Task]:
        """The tasks that began before the limit, or of which nothing was heard since.

        One that has not begun may have to wait for callbacks of other listeners, if the worker says anything at all.
        """
        return [task for task in self.tasks.values() if (task.began or max(task.sent, self.heard)) < limit]


@dataclass(eq=False)
class Task:
    """A document at a worker. Times are monotonic."""

    number: int
    running: Running
    doc: Document
    worker: Worker
    sent: float
    began: float | None = None


class Tasks:
    """All documents that wait for a place, or have one at a worker. `most` is how many have, None: as many as can."""

    def __init__(self, workers: dict[str, Worker], most: int | None, call: Callable[..., None]) -> None:
        """`call` has a function called in the farm's thread."""
        self.running = 0
        self._workers, self._most, self._call = workers, most, call
        self._waiting: deque[tuple[Running, Document]] = deque()
        self._numbers = itertools.count(1)
        self._unseen: Counter[str] = Counter()  # by id of the document
        self._is_filling = False

    def submit(self, doc: Document) -> Running:
        """Have it go to a worker as soon as there is a place. Called in any thread."""
        running = Running()
        self._waiting.append((running, doc))
        if not self._is_filling:  # or what is to do that has not looked yet
            self._is_filling = True
            self._call(self._fill)
        return running

    def fill_soon(self) -> None:
        """Give out documents, with those that come in the same moment."""
        if not self._is_filling:
            self._is_filling = True
            asyncio.get_running_loop().call_soon(self._fill)

    def begin(self, task: Task) -> None:
        """A callback begins."""
        task.began = time.monotonic()
        if task.running.set_running_or_notify_cancel():
            # Said when it is so: who reads it may stop this listener, which gives back what does not run.
            log.debug('%s begins on %s', task.doc['_id'], task.worker.name)
        else:
            self._cancel(task)

    def settle(self, task: Task, outcome: bytes, lines: list[bytes]) -> None:
        """A callback has ended, with an outcome, and lines of the log, as JSON."""
        for name, level, text in map(json.loads, lines):
            logging.getLogger(name).log(level, '%s on %s: %s', task.doc['_id'], task.worker.name, text)
        self._unseen.pop(task.doc['_id'], None)
        self._forget(task)
        _finish(task.running, Outcome(**json.loads(outcome)))

    def lose(self, worker: Worker) -> None:
        """A worker is gone: what it ran has failed, what was only sent there goes back."""
        for task in [*worker.tasks.values()]:
            self._forget(task)
            doc_id, words = task.doc['_id'], f'WorkerGone: the farm lost the worker on {worker.name}'
            if task.began is None and self._unseen[doc_id] < MOST_UNSEEN:
                # One that kills its worker before a word gets out would go round for ever: hence the limit.
                self._unseen[doc_id] += 1
                _refuse(task.running, f'{words} before the callback began')
            else:
                del self._unseen[doc_id]
                _finish(task.running, failed_outcome(f'{words} while the callback ran', task.began, worker.name))

    def give_back(self, task: Task, words: str) -> None:
        """It is nobody's attempt."""
        self._forget(task)
        _refuse(task.running, words)

    def give_back_all_of(self, worker: Worker, words: str) -> None:
        """Give back all that is at a worker."""
        for task in [*worker.tasks.values()]:
            self.give_back(task, words)

    def give_back_waiting(self, words: str) -> None:
        """Give back all that have no place."""
        while self._waiting:
            _refuse(self._waiting.popleft()[0], words)

    def _fill(self) -> None:
        self._is_filling = False
        fit = [worker for worker in self._workers.values() if worker.is_fit]
        while self._waiting and fit and (self._most is None or self.running < self._most):
            worker = max(fit, key=lambda one: one.free)
            if worker.free <= 0 or worker.stream is None:
                break
            running, doc = self._waiting.popleft()
            if running.cancelled():
                continue
            try:
                document = json.dumps(doc).encode()
            except Exception as error:  # nested too deep: the same words as where it cannot go into a process
                _finish(running, failed_outcome(describe(error)))
                continue
            task = Task(next(self._numbers), running, doc, worker, time.monotonic())
            worker.tasks[task.number] = task
            self.running += 1
            running.add_done_callback(partial(self._note_cancellation, task))
            worker.stream.send(node.RUN, task.number, document)

    def _note_cancellation(self, task: Task, running: Running) -> None:
        """In any thread: the listener may want it no more."""
        if running.cancelled():
            self._call(self._cancel, task)

    def _cancel(self, task: Task) -> None:
        if self._forget(task) and task.worker.stream is not None:
            task.worker.stream.send(node.CANCEL, task.number)

    def _forget(self, task: Task) -> bool:
        """Expect nothing more of a task; False where that was so already."""
        if task.worker.tasks.pop(task.number, None) is None:
            return False
        self.running -= 1
        self.fill_soon()
        return True


def _finish(running: Running, outcome: Outcome) -> None:
    if running.running() or running.set_running_or_notify_cancel():
        running.set_result(outcome)


def _refuse(running: Running, words: str) -> None:
    if running.running() or running.set_running_or_notify_cancel():
        running.set_exception(NotRun(words))
