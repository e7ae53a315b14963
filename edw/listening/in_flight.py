"""The documents that a worker has claimed, on their way from the claim to the written result."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable

from edw.claiming import claims
from edw.claiming.results import Refused, Update
from edw.config import Settings
from edw.listening import steps
from edw.listening.engines import Executor, Outcome, Workers
from edw.listening.metrics import Metrics
from edw.listening.steps import Step
from edw.model import documents
from edw.model.documents import Document

WORK_AHEAD = 1.0  # seconds of work to claim at once, at the pace last seen
PACE_WEIGHT = 0.9  # of the last callback in the pace: three fast ones, and a full batch is claimed
WRITE_DELAY = 0.1  # seconds that a result may wait for others, to be written with them
NAMED = 10  # documents that the log names one by one, unless it is to say more
QUICK = 0.005  # seconds; a wait of which nobody takes notice

log = logging.getLogger(__name__)


class InFlight:
    """Claimed documents: running, resting until another attempt, or finished and not yet written.

    Belongs to one thread, but for the callbacks, whose outcomes are passed to `report` in theirs.
    """

    def __init__(
        self,
        executors: list[Executor],
        step: Step,
        settings: Settings,
        *,
        batch: int,
        report: Callable[[Outcome], None],
        metrics: Metrics,
    ) -> None:
        self.failed = 0  # documents whose last attempt failed
        self._step = step
        self._metrics = metrics
        self._number_of_workers = len(executors)
        self._batch = max(batch, len(executors))
        self._attempts = settings.attempts
        self._retry_pause = settings.retry_pause
        self._workers = Workers(executors, report)
        self._running: dict[str, Document] = {}
        self._resting: dict[str, tuple[float, Document]] = {}  # with the monotonic time of the next attempt
        self._unwritten: list[tuple[Update, float | None]] = []  # with seconds until another attempt, if there is one
        self._unwritable: set[str] = set()  # ids of those that the server refuses in any form
        self._write_due = math.inf  # monotonic time
        self._seconds_each = WORK_AHEAD  # that a callback takes, by the last ones
        self._has_finished = False  # any callback

    def __len__(self) -> int:
        return len(self._running) + len(self._resting) + len(self._unwritten)

    @property
    def ids(self) -> set[str]:
        """Ids of all of them."""
        unwritten = (update.doc['_id'] for update, _ in self._unwritten)
        return {*self._running, *self._resting, *unwritten, *self._unwritable}

    @property
    def running(self) -> int:
        """How many have been given to the workers."""
        return len(self._running)

    @property
    def under_way(self) -> int:
        """How many run or are to be written; not those that rest."""
        return len(self._running) + len(self._unwritten)

    def room(self, all_written: bool = False) -> int:
        """How many to claim now, so that slow callbacks leave work for other machines.

        `all_written`: as if what is finished were written, which the claims go together with.
        """
        taken = len(self._running) if all_written else self.under_way
        room = min(self.target - taken, self._batch - taken - len(self._resting))
        # Not for a few at a time while the workers have enough: a claim costs the same for one as for many.
        return max(room, 0) if taken < self._number_of_workers or room >= self.target // 2 else 0

    @property
    def target(self) -> int:
        """How many to have claimed at once: about WORK_AHEAD's work, and one for each worker at least."""
        pace = self._number_of_workers / max(self._seconds_each, 1e-6)
        return max(self._number_of_workers, min(self._batch, int(pace * WORK_AHEAD)))

    @property
    def is_fast(self) -> bool:
        """Whether a batch is no more than WORK_AHEAD's work, as far as the pace is known."""
        return self._has_finished and self.target == self._batch

    @property
    def is_quick(self) -> bool:
        """Whether all that runs will be finished at once, at the pace last seen."""
        return 0 < len(self._running) * self._seconds_each / self._number_of_workers < QUICK

    @property
    def unwritten(self) -> list[Update]:
        """What is to be written, oldest first."""
        return [update for update, _ in self._unwritten]

    @property
    def write_is_due(self) -> bool:
        """Whether to write now, rather than wait for more."""
        if not self._unwritten:
            return False
        return not self._running or len(self._unwritten) >= self._batch or time.monotonic() >= self._write_due

    @property
    def next_due(self) -> float:
        """Monotonic time at which there is something to write or to try again; infinity where there is not."""
        return min((self._write_due, *(due for due, _ in self._resting.values())))

    def submit(self, docs: list[Document]) -> None:
        """Give claimed documents to the workers."""
        _say('took', docs)
        for doc in docs:
            self._running[doc['_id']] = doc
            self._workers.submit(doc)

    def resume_rested(self) -> None:
        """Give those whose pause is over to the workers again."""
        now = time.monotonic()
        rested = [doc_id for doc_id, (due, _) in self._resting.items() if due <= now]
        self.submit([self._resting.pop(doc_id)[1] for doc_id in rested])

    def finish(self, outcome: Outcome) -> None:
        """Turn the outcome of a callback into something to write."""
        # By the revision of the claim: a document that was lost and claimed again is another piece of work.
        running = self._running.get(outcome.doc['_id'])
        if running is None or running['_rev'] != outcome.doc['_rev']:
            return
        del self._running[outcome.doc['_id']]
        self._metrics.ran(outcome.seconds)
        self._has_finished = True
        self._seconds_each += PACE_WEIGHT * (outcome.seconds - self._seconds_each)
        if outcome.entry is None:
            self._fail(outcome.doc, outcome.error, outcome.final)
            return
        update = steps.success(outcome, self._step)
        log.info('appending process results to %s: %s', outcome.doc['_id'], json.dumps(update.record))
        self._to_write(update)

    def settle(self, written: list[Document | Refused | None], worker: str) -> None:
        """Take note of what became of the first `unwritten` ones, in order, as `results.write` returns it."""
        settled, self._unwritten = self._unwritten[: len(written)], self._unwritten[len(written) :]
        self._write_due = time.monotonic() if self._unwritten else math.inf
        _say('updated', [doc for doc in written if isinstance(doc, dict)])
        for (update, pause), doc in zip(settled, written, strict=True):
            self._metrics.settled(update, doc)
            if isinstance(doc, Refused):
                self._refused(update, doc)
            elif doc is not None and pause is not None and claims.is_held(doc, worker):
                self._resting[doc['_id']] = (time.monotonic() + pause, doc)

    def take_back(self) -> list[Document]:
        """Take back what no callback has begun with, or would begin with again; it is in flight no more."""
        docs = self._workers.withdraw()
        for doc in docs:
            self._running.pop(doc['_id'], None)
        docs += [doc for _, doc in self._resting.values()]
        self._resting.clear()
        return docs

    def withdraw(self) -> None:
        """Release what no callback has begun with, or would begin with again."""
        for doc in self.take_back():
            self._to_write(Update(doc, documents.released))

    def give_up(self) -> None:
        """Release what runs, too."""
        self._workers.end()
        self.withdraw()
        for doc in self._running.values():
            self._to_write(Update(doc, documents.released))
        self._running.clear()

    def end(self) -> None:
        """End the workers; nothing is in flight any more."""
        self._workers.end()

    def _fail(self, doc: Document, error: str, final: bool) -> None:
        update, attempt = steps.failure(doc, error, time.time(), self._step, self._attempts, final)
        tried = f'{doc["_id"]}: attempt {attempt} of {self._attempts} failed: {error}'
        if final or attempt >= self._attempts:
            self.failed += 1
            log.error('%s; status: %s', tried, self._step.failed)
            self._to_write(update)
        else:
            pause = self._retry_pause * 2 ** (attempt - 1)
            log.warning('%s; again in %g s', tried, pause)
            self._to_write(update, pause)

    def _refused(self, update: Update, refused: Refused) -> None:
        """Record that the server refuses the result; where it refuses that too, nothing is left to write."""
        if update.record is not None and not update.is_failure:
            self._fail(update.doc, f'the database refused the result: {refused}', final=True)
        else:
            log.error('%s cannot be written, and stays claimed: %s', update.doc['_id'], refused)
            self._unwritable.add(update.doc['_id'])

    def _to_write(self, update: Update, pause: float | None = None) -> None:
        self._unwritten.append((update, pause))
        self._write_due = min(self._write_due, time.monotonic() + WRITE_DELAY)


def _say(what: str, docs: list[Document]) -> None:
    if len(docs) > NAMED and not log.isEnabledFor(logging.DEBUG):
        log.info('%s %d documents, %s to %s', what, len(docs), docs[0]['_id'], docs[-1]['_id'])
        return
    for doc in docs:
        log.info('%s %s', what, doc['_id'])
