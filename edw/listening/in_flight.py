"""The documents that a listener has claimed, on their way from the claim to the written result."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from edw.claiming import claims
from edw.claiming.results import Refused, Update
from edw.config import Settings
from edw.inbox import Inbox
from edw.listening import steps
from edw.listening.engines import Engine, Running
from edw.listening.metrics import Metrics
from edw.listening.policy import NEVER, Load, Policy
from edw.listening.steps import Step
from edw.model import documents
from edw.model.documents import Document

NAMED = 10  # documents that the log names one by one, unless it is to say more

log = logging.getLogger(__name__)


class InFlight:
    """Claimed documents: running, resting until another attempt, or finished and not yet written.

    Belongs to one thread. Of each callback that ends, its future comes into the inbox, and from there to `finish`.
    """

    def __init__(
        self, engine: Engine, step: Step, settings: Settings, policy: Policy, metrics: Metrics, inbox: Inbox[Any]
    ) -> None:
        self.failed = 0  # documents whose last attempt failed
        self._engine = engine
        self._step = step
        self._attempts = settings.attempts
        self._retry_pause = settings.retry_pause
        self._policy = policy
        self._metrics = metrics
        self._inbox = inbox
        self._running: dict[Running, Document] = {}
        self._resting: dict[str, tuple[float, Document]] = {}  # by id, with the monotonic time of the next attempt
        self._unwritten: list[tuple[Update, float | None]] = []  # with seconds until another attempt, if there is one
        self._unwritten_since = NEVER  # monotonic time
        self._unwritable: set[str] = set()  # ids of those that the server refuses in any form
        self._closed = False

    def __len__(self) -> int:
        return len(self._running) + len(self._resting) + len(self._unwritten)

    @property
    def load(self) -> Load:
        """How many there are of each kind."""
        return Load(len(self._running), len(self._unwritten), len(self._resting))

    @property
    def ids(self) -> set[str]:
        """Ids of all of them."""
        running = (doc['_id'] for doc in self._running.values())
        unwritten = (update.doc['_id'] for update, _ in self._unwritten)
        return {*running, *self._resting, *unwritten, *self._unwritable}

    @property
    def unwritten(self) -> list[Update]:
        """What is to be written, oldest first."""
        return [update for update, _ in self._unwritten]

    @property
    def write_due(self) -> float:
        """When to write."""
        return self._policy.write_due(self.load, self._unwritten_since)

    @property
    def rest_due(self) -> float:
        """When a rest is over."""
        return min((due for due, _ in self._resting.values()), default=NEVER)

    def submit(self, docs: list[Document]) -> None:
        """Give documents that were claimed to the engine."""
        _say('claimed', docs)
        for doc in docs:
            if self._closed:
                self._release(doc)
            else:
                self._run(doc)

    def resume(self) -> None:
        """Give those whose rest is over to the engine again."""
        now = time.monotonic()
        rested = [doc_id for doc_id, (due, _) in self._resting.items() if due <= now]
        for doc_id in rested:
            self._run(self._resting.pop(doc_id)[1])

    def finish(self, running: Running) -> None:
        """Turn the outcome of a callback into something to write."""
        doc = self._running.pop(running, None)
        if doc is None:
            return  # withdrawn meanwhile
        error = running.exception()
        if error is not None:
            self._fail(doc, f'{type(error).__name__}: the step could not be run', final=False)
            return
        outcome = running.result()
        self._metrics.ran(outcome.seconds)
        self._policy.callback_took(outcome.seconds)
        if outcome.entry is None:
            self._fail(doc, outcome.error, outcome.final)
            return
        update = steps.success(doc, outcome, self._step)
        log.info('appending process results to %s: %s', doc['_id'], json.dumps(update.record))
        self._to_write(update)

    def settle(self, written: list[Document | Refused | None], listener: str) -> None:
        """Take note of what became of the first `unwritten` ones, in order, as an exchange returns it."""
        settled, self._unwritten = self._unwritten[: len(written)], self._unwritten[len(written) :]
        self._unwritten_since = time.monotonic() if self._unwritten else NEVER
        _say('updated', [doc for doc in written if isinstance(doc, dict)])
        for (update, pause), doc in zip(settled, written, strict=True):
            self._metrics.settled(update, doc)
            if isinstance(doc, Refused):
                self._refused(update, doc)
            elif doc is not None and pause is not None and claims.is_held(doc, listener):
                if self._closed:
                    self._release(doc)
                else:
                    self._resting[doc['_id']] = (time.monotonic() + pause, doc)

    def keep(self, held: set[str]) -> int:
        """Drop what no callback has begun with, and what rests, unless its id is in `held`; returns how many."""
        lost = [running for running, doc in self._running.items() if doc['_id'] not in held and running.cancel()]
        lost_rests = self._resting.keys() - held
        for running in lost:
            del self._running[running]
        for doc_id in lost_rests:
            del self._resting[doc_id]
        return len(lost) + len(lost_rests)

    def close(self) -> None:
        """Begin with nothing more: release what no callback has begun with, what rests, and what comes from now on."""
        self._closed = True
        waiting = [running for running in self._running if running.cancel()]
        for doc in [self._running.pop(running) for running in waiting]:
            self._release(doc)
        for _, doc in self._resting.values():
            self._release(doc)
        self._resting.clear()

    def break_off(self) -> None:
        """Release what runs, too."""
        self._engine.end()
        self.close()
        for doc in self._running.values():
            self._release(doc)
        self._running.clear()

    def end(self) -> None:
        """End the engine."""
        self._engine.end()

    def _run(self, doc: Document) -> None:
        running = self._engine.submit(doc)
        self._running[running] = doc
        running.add_done_callback(self._inbox.put)

    def _fail(self, doc: Document, error: str, final: bool) -> None:
        update, attempt, is_last = steps.failure(doc, error, time.time(), self._step, self._attempts, final)
        failed = f'{doc["_id"]}: attempt {attempt} of {self._attempts} failed: {error}'
        if is_last:
            self.failed += 1
            log.error('%s; status: %s', failed, self._step.failed)
            self._to_write(update)
        else:
            pause = self._retry_pause * 2 ** (attempt - 1)
            log.warning('%s; again in %g s', failed, pause)
            self._to_write(update, pause)

    def _refused(self, update: Update, refused: Refused) -> None:
        """Record that the server refuses the result; where it refuses that too, nothing is left to write."""
        if update.record is not None and not update.is_failure:
            self._fail(update.doc, f'the database refused the result: {refused.reason}', final=True)
        else:
            log.error('%s cannot be written, and stays claimed: %s', update.doc['_id'], refused.reason)
            self._unwritable.add(update.doc['_id'])

    def _release(self, doc: Document) -> None:
        self._to_write(Update(doc, documents.released))

    def _to_write(self, update: Update, pause: float | None = None) -> None:
        self._unwritten.append((update, pause))
        self._unwritten_since = min(self._unwritten_since, time.monotonic())


def _say(what: str, docs: list[Document]) -> None:
    if len(docs) > NAMED and not log.isEnabledFor(logging.DEBUG):
        log.info('%s %d documents, %s to %s', what, len(docs), docs[0]['_id'], docs[-1]['_id'])
        return
    for doc in docs:
        log.info('%s %s', what, doc['_id'])
