"""What becomes of the documents on a farm: each waits, goes to a worker, and comes back with an outcome or without.

All but `Tasks.submit` is for the farm's own thread, which alone sets results of the futures that are given out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import logging
import math
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

# Seconds: where callbacks take less, a worker has a document more for each of its places. It begins there when another
# one ends, and not when the listener has heard of that and answered, which with many places has to answer others first.
SHORT = 0.5
SHORT_WEIGHT = 0.1  # of the last callback in how long they take
LATE = 2.0  # seconds after which what was sent ahead, and has not begun, is asked back
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
    ended: float = -math.inf  # when a callback did, for the last time
    tasks: dict[int, Task] = field(default_factory=dict)  # by number

    @property
    def name(self) -> str:
        """What people call it."""
        return self.hostname or self.address

    @property
    def free(self) -> int:
        """How many callbacks could begin there; below 0 it is how many documents were sent ahead."""
        return self.threads - len(self.tasks)

    @property
    def ahead(self) -> list[Task]:
        """The tasks that have no place yet: the node begins them in the order in which they were sent."""
        return [*itertools.islice(self.tasks.values(), self.threads, None)]

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
    is_asked_back: bool = False


class Tasks:
    """All documents that wait, or are at a worker. `most` is how many may have a place there, None: as many as can."""

    def __init__(self, workers: dict[str, Worker], most: int | None, call: Callable[..., None]) -> None:
        """`call` has a function called in the farm's thread."""
        self.running = 0  # callbacks that have begun
        self._sent = 0  # documents that are at workers
        self._seconds = math.inf  # that a callback takes, by the last ones
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
        self.running += 1
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
        ended = Outcome(**json.loads(outcome))
        task.worker.ended = time.monotonic()
        known = self._seconds if self._seconds < math.inf else ended.seconds
        self._seconds = known + SHORT_WEIGHT * (ended.seconds - known)
        _finish(task.running, ended)

    def lose(self, worker: Worker) -> None:
        """A worker is gone: what it ran has failed, what was only sent there goes back."""
        ahead = worker.ahead
        for task in [*worker.tasks.values()]:
            self._forget(task)
            doc_id, words = task.doc['_id'], f'WorkerGone: the farm lost the worker on {worker.name}'
            if task.began is None and task in ahead:
                _refuse(task.running, f'{words} before there was a place')
            elif task.began is None and self._unseen[doc_id] < MOST_UNSEEN:
                # One that kills its worker before a word gets out would go round for ever: hence the limit.
                self._unseen[doc_id] += 1
                _refuse(task.running, f'{words} before the callback began')
            else:
                del self._unseen[doc_id]
                _finish(task.running, failed_outcome(f'{words} while the callback ran', task.began, worker.name))

    def ask_back(self) -> None:
        """Ask for what was sent ahead, and still waits for callbacks that take longer than the last ones did."""
        limit = time.monotonic() - LATE
        for worker in self._workers.values():
            for task in worker.ahead:
                if task.began is None and task.sent < limit and not task.is_asked_back and worker.stream is not None:
                    task.is_asked_back = True
                    worker.stream.send(node.ASK_BACK, task.number)

    def take_back(self, task: Task) -> None:
        """A worker has not begun with it, and will not: it is the next for another place."""
        if self._forget(task):
            self._waiting.appendleft((task.running, task.doc))

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
        if not self._waiting:
            return
        fit = [worker for worker in self._workers.values() if worker.is_fit and worker.stream is not None]
        most = math.inf if self._most is None else self._most
        # Where they are fewer than the places, what is sent ahead would have one at once.
        may_go_ahead = self._seconds < SHORT and most >= sum(worker.threads for worker in fit)
        if may_go_ahead:
            most = math.inf
        # Not to one that is held up: what is asked back there would come again.
        since = time.monotonic() - LATE
        rooms = [
            (-one.free, number, one, one.threads if may_go_ahead and one.ended > since else 0)
            for number, one in enumerate(fit)
        ]
        heapq.heapify(rooms)  # by how much is free
        while self._waiting and rooms and self._sent < most:
            taken, number, worker, limit = rooms[0]
            if taken >= limit:
                heapq.heappop(rooms)
                continue
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
            heapq.heapreplace(rooms, (taken + 1, number, worker, limit))
            self._sent += 1
            running.add_done_callback(partial(self._note_cancellation, task))
            assert worker.stream is not None
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
        self._sent -= 1
        self.running -= task.began is not None
        self.fill_soon()
        return True


def _finish(running: Running, outcome: Outcome) -> None:
    if running.running() or running.set_running_or_notify_cancel():
        running.set_result(outcome)


def _refuse(running: Running, words: str) -> None:
    if running.running() or running.set_running_or_notify_cancel():
        running.set_exception(NotRun(words))
