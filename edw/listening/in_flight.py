"""The documents that a listener has claimed, on their way from the claim to the written result."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from edw.claiming import claims
from edw.claiming.results import Refused, Update
from edw.config import Settings, current
from edw.engines.callbacks import Outcome, failed_outcome, outcome_without_callback
from edw.engines.engine import Engine, NotRun, Running
from edw.inbox import Inbox
from edw.listening import steps
from edw.listening.metrics import Metrics
from edw.listening.policy import NEVER, Load, Policy
from edw.listening.steps import Step
from edw.model import documents
from edw.model.documents import Document

NAMED = 10  # documents that the log names one by one, unless it is to say more
FIRST_OFFER = 1.0  # seconds until a result that was refused is offered again, doubled with each refusal
LONGEST_OFFER = 30.0  # seconds
PATIENCE = 300.0  # seconds of refusals that may be about the result, after which they are taken to be

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """What a callback tells of the place of its document: it was done there, or the place is away."""

    doc: Document
    is_away: bool


@dataclass(frozen=True)
class _Unwritten:
    """Something to write, with the seconds until another attempt, if there is one, and how often it was refused.

    `since` is the monotonic time of the first refusal.
    """

    update: Update
    pause: float | None = None
    refusals: int = 0
    since: float = NEVER


class InFlight:
    """Claimed documents: running, resting until another attempt, finished and not yet written, or refused when written.

    Belongs to one thread. Of each callback that ends, its future comes into the inbox, and from there to `finish`.
    """

    def __init__(
        self, engine: Engine, step: Step, settings: Settings, policy: Policy, metrics: Metrics, inbox: Inbox[Any]
    ) -> None:
        self.failed = 0  # documents whose last attempt failed
        # Ids of documents that went back because a place was away, with how many others had been done by then.
        self.put_off: dict[str, int] = {}
        self._done = 0  # documents
        self._engine = engine
        self._step = step
        self._settings = settings
        self._attempts = settings.attempts
        self._retry_pause = settings.retry_pause
        self._policy = policy
        self._metrics = metrics
        self._inbox = inbox
        self._running: dict[Running, Document] = {}
        self._resting: dict[str, tuple[float, Document]] = {}  # by id, with the monotonic time of the next attempt
        self._unwritten: list[_Unwritten] = []
        self._unwritten_since = NEVER  # monotonic time
        self._refused: list[tuple[float, _Unwritten]] = []  # with the monotonic time to offer it again
        self._accepted_at = -NEVER  # monotonic time at which the server last took something
        self._stuck = False  # a claim could not be released at the end
        self._closed = False

    def __len__(self) -> int:
        return len(self._running) + len(self._resting) + len(self._unwritten) + len(self._refused)

    @property
    def holds_claims(self) -> bool:
        """Whether any document is claimed by this listener."""
        return len(self) > 0 or self._stuck

    @property
    def load(self) -> Load:
        """How many there are of each kind."""
        return Load(len(self._running), len(self._unwritten), len(self._resting) + len(self._refused))

    @property
    def ids(self) -> set[str]:
        """Ids of all of them."""
        running = (doc['_id'] for doc in self._running.values())
        items = (*self._unwritten, *(item for _, item in self._refused))
        return {*running, *self._resting, *(item.update.doc['_id'] for item in items)}

    @property
    def unwritten(self) -> list[Update]:
        """What is to be written, oldest first."""
        return [item.update for item in self._unwritten]

    @property
    def write_due(self) -> float:
        """When to write."""
        return self._policy.write_due(self.load, self._unwritten_since)

    @property
    def rest_due(self) -> float:
        """When a rest is over, of a document before its next attempt or of a result before it is offered again."""
        dues = (due for due, _ in (*self._resting.values(), *self._refused))
        return min(dues, default=NEVER)

    def submit(self, docs: list[Document]) -> None:
        """Give documents that were claimed to the engine."""
        _say('claimed', docs)
        if docs:
            self._accepted_at = time.monotonic()
        for doc in docs:
            if self._closed:
                self._release(doc)
            else:
                self._run(doc)

    def resume(self) -> None:
        """Give those whose rest is over to the engine again, and offer again what was refused."""
        now = time.monotonic()
        rested = [doc_id for doc_id, (due, _) in self._resting.items() if due <= now]
        for doc_id in rested:
            self._run(self._resting.pop(doc_id)[1])
        offered = [item for due, item in self._refused if due <= now]
        self._refused = [(due, item) for due, item in self._refused if due > now]
        for item in offered:
            self._to_write(item)

    def finish(self, running: Running) -> Ended | None:
        """Turn the outcome of a callback into something to write.

        Returns what tells of the document's place: that it was done, or that it goes back because its place is away.
        """
        doc = self._running.pop(running, None)
        if doc is None:
            return None  # withdrawn meanwhile
        error = running.exception()
        if isinstance(error, NotRun):
            log.debug('%s is released, and waits again: %s', doc['_id'], error)  # the engine has said it, once for all
            self._release(doc)
            return None
        if error is not None:
            self._fail(doc, failed_outcome(f'{type(error).__name__}: the step could not be run'))
            return None
        outcome = running.result()
        if outcome.entry is not None and documents.is_skipped(outcome.entry):
            # How long callbacks take, and whether places are there, it does not tell.
            self._append(doc, outcome)
            return None
        self._metrics.ran(outcome.seconds)
        self._policy.callback_took(outcome.seconds)
        if outcome.away:
            if self._done > self.put_off.get(doc['_id'], self._done):
                # Of one file that stays out of reach while others are done nobody would hear else.
                log.warning('%s waits once more, though others were done: %s', doc['_id'], outcome.away)
            else:
                log.info('%s is released, and waits again, no attempt counted: %s', doc['_id'], outcome.away)
            self.put_off[doc['_id']] = self._done
            self._policy.wait.place_away(outcome.away)
            self._release(doc)
            self._leave_those_that_wait()
            return Ended(doc, is_away=True)
        if outcome.entry is None:
            self._fail(doc, outcome)
            # What is the document's own fault says nothing of the step.
            if not outcome.final:
                self._policy.wait.failed(doc['_id'], outcome.error)
                self._leave_those_that_wait()
            return None
        self.put_off.pop(doc['_id'], None)
        self._done += 1
        self._policy.wait.done()
        self._append(doc, outcome)
        return Ended(doc, is_away=False)

    def settle(self, written: list[Document | Refused | None], listener: str) -> None:
        """Take note of what became of the first `unwritten` ones, in order, as an exchange returns it."""
        settled, self._unwritten = self._unwritten[: len(written)], self._unwritten[len(written) :]
        now = time.monotonic()
        self._unwritten_since = now if self._unwritten else NEVER
        updated = [doc for doc in written if isinstance(doc, dict)]
        if updated:
            self._accepted_at = now
            self._policy.results_written(self.load)
        _say('updated', updated)
        refused: list[Document] = []
        for item, doc in zip(settled, written, strict=True):
            if isinstance(doc, Refused):
                if self._refuse(item, doc):
                    refused.append(item.update.doc)
                continue
            self._metrics.settled(item.update, doc)
            if doc is not None and item.pause is not None and claims.is_held(doc, listener):
                if self._closed:
                    self._release(doc)
                else:
                    self._resting[doc['_id']] = (now + item.pause, doc)
        _say('the database does not take the result now, and is offered it again:', refused, logging.WARNING)

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
        self._withdraw()
        for _, doc in self._resting.values():
            self._release(doc)
        self._resting.clear()
        for _, item in self._refused:
            self._to_write(item)  # offered once more
        self._refused.clear()

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

    def _leave_those_that_wait(self) -> None:
        if self._policy.wait.waits:
            self._withdraw()

    def _withdraw(self) -> None:
        """Release what no callback has begun with."""
        waiting = [running for running in self._running if running.cancel()]
        for doc in [self._running.pop(running) for running in waiting]:
            self._release(doc)

    def _run(self, doc: Document) -> None:
        running = self._decided(doc) or self._engine.submit(doc)
        self._running[running] = doc
        running.add_done_callback(self._inbox.put)

    def _decided(self, doc: Document) -> Running | None:
        """What becomes of a document without the callback, known already; None where it is to run."""
        if self._step.when is None:
            return None
        before = current.set(self._settings)  # as a callback has them
        try:
            outcome = outcome_without_callback(self._step.when, doc, self._step.packages)
        finally:
            current.reset(before)
        if outcome is None:
            return None
        decided = Running()
        decided.set_result(outcome)
        return decided

    def _append(self, doc: Document, outcome: Outcome) -> None:
        update = steps.success(doc, outcome, self._step)
        # Without what is the same for all of them.
        told = {name: value for name, value in (update.record or {}).items() if name != 'software'}
        log.info('appending process results to %s: %s', doc['_id'], json.dumps(told))
        self._to_write(_Unwritten(update))

    def _fail(self, doc: Document, outcome: Outcome) -> None:
        update, attempt, is_last = steps.failure(doc, outcome, time.time(), self._step, self._attempts)
        failed = f'{doc["_id"]}: attempt {attempt} of {self._attempts} failed: {outcome.error}'
        if is_last:
            self.failed += 1
            log.error('%s; status: %s', failed, self._step.failed)
            self._to_write(_Unwritten(update))
        else:
            pause = self._retry_pause * 2 ** (attempt - 1)
            log.warning('%s; again in %g s', failed, pause)
            self._to_write(_Unwritten(update, pause))

    def _refuse(self, item: _Unwritten, refused: Refused) -> bool:
        """Have what was refused be written in another form, or offered again; True in the last case.

        A result becomes a failure that says so, and a failure that is refused, too, the status alone. What may be about
        the server rather than the result is waited for: a validation function that was put there for maintenance would
        else throw away what took hours.
        """
        update, now = item.update, time.monotonic()
        since = min(item.since, now)
        # While nothing else is taken either, it is not about this result.
        lasted = now - since >= PATIENCE and self._accepted_at > since
        if update.record is not None and (refused.is_final or (refused.is_doubtful and lasted)):
            self._metrics.settled(update, refused)
            if not update.is_failure:
                reason = f'the database refused the result: {refused.reason}'
                made_by = update.record['software']
                self._fail(update.doc, replace(failed_outcome(reason), final=True, software=made_by))
                return False
            log.error('%s: the failure cannot be recorded, only the status: %s', update.doc['_id'], refused.reason)
            self.failed += item.pause is not None
            self._to_write(_Unwritten(steps.status_alone(update.doc, self._step)))
            return False
        if self._closed:
            if update.record is None:
                # Its heartbeat process tries once more, and then its peers, whose lease it ends by.
                log.error('%s stays claimed: %s', update.doc['_id'], refused.reason)
                self._stuck = True
            else:
                log.warning('%s: the result is dropped: %s', update.doc['_id'], refused.reason)
                self._release(update.doc)
            return False
        pause = min(FIRST_OFFER * 2**item.refusals, LONGEST_OFFER)
        self._refused.append((now + pause, _Unwritten(update, item.pause, item.refusals + 1, since)))
        log.debug('%s: %s; offered again in %g s', update.doc['_id'], refused.reason, pause)
        return item.refusals == 0

    def _release(self, doc: Document) -> None:
        self._to_write(_Unwritten(Update(doc, documents.released)))

    def _to_write(self, item: _Unwritten) -> None:
        self._unwritten.append(item)
        self._unwritten_since = min(self._unwritten_since, time.monotonic())


def _say(what: str, docs: list[Document], level: int = logging.INFO) -> None:
    if len(docs) > NAMED and not log.isEnabledFor(logging.DEBUG):
        log.log(level, '%s %d documents, %s to %s', what, len(docs), docs[0]['_id'], docs[-1]['_id'])
        return
    for doc in docs:
        log.log(level, '%s %s', what, doc['_id'])
