"""How many documents a listener claims, and when: decisions from facts, without I/O and without a clock of its own.

Facts come in as they happen (a callback took 3 ms, of 500 wanted documents 120 were won, a page came); decisions are
asked for. Whoever wants to change how much is claimed at once changes it here. The setting `batch` is the ceiling.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from edw.listening.waiting import StepWait
from edw.model.documents import Document

NOW, NEVER = -math.inf, math.inf  # times at which something is due

WORK_AHEAD = 2.0  # seconds of work to claim at once, at the pace last seen
PACE_WEIGHT = 0.9  # of the last callback in the pace: three fast ones, and a full batch is claimed
WRITE_DELAY = 0.1  # seconds that a result waits for others, to be written with them, at least
# And at most, while much is to be done yet: a request costs the server 8 ms of CPU time, whether it writes one result
# or twenty, and on a machine of a few cores those are missing to the callbacks.
LONGEST_WRITE_DELAY = 1.0  # seconds
LONGER = 2.0  # times as long at each write: short at first, because the next step waits for results, with idle workers
WRITE_PART = 0.5  # of the time that the workers have work for
WIDE_PAGE = 4  # times as many documents are read as are claimed, where others claim the same ones
SOON = 0.02  # seconds of work whose end polling the feed waits for
LOST_PAUSE = 0.1  # seconds, at most, after a claim most of which was lost
REFUSED_PAUSE = 1.0  # seconds after a claim all of which the server refused, as it may for a while

# For callbacks so fast that a full batch is less than WORK_AHEAD. Then the server is the limit, not the callbacks, and
# listeners that want the same documents are in each other's way.
BACK_OFF = 4.0  # seconds that a document is left to others, at most


@dataclass(frozen=True)
class Load:
    """How many documents a listener holds.

    `running` were given to the engine, where some may wait for a worker, `unwritten` have a result that is not written
    yet, `resting` wait here for their next attempt.
    """

    running: int = 0
    unwritten: int = 0
    resting: int = 0


@dataclass(frozen=True)
class Look:
    """Ask the view for `rows` documents, and keep the first `room`, as they come or in an order of one's own."""

    room: int
    rows: int
    in_own_order: bool


class Policy:
    """The decisions of one listener. Times are in seconds by the `clock` that is handed in."""

    def __init__(
        self,
        listener: str,
        batch: int,
        *,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float],
        may_back_off: bool = True,
    ) -> None:
        """`listener` is its name, and `uniform(low, high)` the randomness.

        `may_back_off`: whether it may leave documents to others, or to later, at all.
        """
        self._listener = listener
        self._workers = 0  # until the engine tells
        self._most = batch
        self._clock = clock
        self._uniform = uniform
        self._may_back_off = may_back_off
        self._is_contended = False  # somebody else claimed some of what was wanted, the last time
        self._backs_off = False
        self._seconds_each = WORK_AHEAD  # that a callback takes, by the last ones
        self._knows_pace = False
        self._longest_delay = WRITE_DELAY  # that a result may wait for others, by how long the work goes on already
        self._claimed_at = NOW
        self._no_claim_before = NOW
        self.wait = StepWait(clock, may_wait=may_back_off)

    # Facts.

    def workers_are(self, number: int) -> None:
        """So many callbacks run at once from now on."""
        self._workers = number

    def callback_took(self, seconds: float) -> None:
        """A callback ran, and ended in whatever way."""
        self._knows_pace = True
        self._seconds_each += PACE_WEIGHT * (seconds - self._seconds_each)

    def claimed(self, won: int, lost: int, refused: int = 0) -> None:
        """Documents were claimed: some were won, some had been claimed by others, some the server did not let claim."""
        if refused and not won:
            # Or it would be asked for one after the other of all that wait.
            self._no_claim_before = self._clock() + REFUSED_PAUSE
        if not won and not lost:
            return
        self._claimed_at = self._clock()
        self._is_contended = lost > 0
        was_outrun = lost > won
        self._backs_off = was_outrun and self._is_fast and self._may_back_off
        if was_outrun:
            self._pause()

    def results_written(self, load: Load) -> None:
        """Results were written, and this is what is left."""
        longer = min(LONGER * self._longest_delay, LONGEST_WRITE_DELAY)
        self._longest_delay = longer if load.running else WRITE_DELAY

    def page_came(self) -> None:
        """The feed brought changes."""
        if self._backs_off:
            self._pause()  # what is still free after that is left over by those who work

    # Decisions.

    @property
    def _batch(self) -> int:
        return max(self._most, self._workers)

    @property
    def target(self) -> int:
        """How many to have claimed at once: about WORK_AHEAD's work, and one for each worker at least."""
        pace = self._workers / max(self._seconds_each, 1e-6)
        return max(self._workers, min(self._batch, int(pace * WORK_AHEAD)))

    def room(self, load: Load, writes: bool = False) -> int:
        """How many to claim in a request that also writes what is unwritten, and is made for that (`writes`) or not.

        Slow callbacks leave work for other machines; fast ones go in bulk.
        """
        if self.wait.waits:
            return 0 if load.running or load.unwritten else min(1, self._workers)  # one document at a time tries
        missing = min(self.target, self._batch - load.resting) - load.running
        # Not for a few at a time while the workers have enough: a request costs the same for one as for many. What is
        # unwritten counts, too, or half a batch of fast results would be written as soon as it has come.
        is_enough = writes or load.running < self._workers or missing - load.unwritten >= self.target // 2
        return max(missing, 0) if is_enough else 0

    @property
    def claim_due(self) -> float:
        """When to claim what is there to be claimed: after a lost claim, and while the step waits, not at once."""
        return max(self._no_claim_before, self.wait.try_due)

    def poll_due(self, load: Load) -> float:
        """When to poll the feed, if nothing is known to wait."""
        # Each page makes the server pass over all that has changed since the last one, mostly what this listener wrote
        # itself; and what has changed twice by then counts once.
        if not self._workers:
            return NEVER
        ends_soon = 0 < load.running * self._seconds_each / self._workers < SOON
        return max(self._no_claim_before, self._claimed_at + WRITE_DELAY if ends_soon else NOW)

    def write_due(self, load: Load, since: float) -> float:
        """When to write what is unwritten, the oldest of it since the time `since`."""
        if not load.unwritten:
            return NEVER
        if not load.running or load.unwritten >= self._batch:
            return NOW
        pause = self._seconds_each / max(self._workers, 1)  # between two results
        delay = min(WRITE_PART * load.running * pause, self._longest_delay) if pause < WRITE_DELAY else WRITE_DELAY
        return since + max(delay, WRITE_DELAY)

    def look(self, load: Load, copies: int) -> Look:
        """How to look at what waits, in a database that keeps so many `copies` of each document."""
        room = 1 if self._backs_off else self.room(load)
        # In a cluster always: a contended claim there is often won by nobody, and costs a heartbeat's time.
        is_contended = self._is_contended or copies > 1
        return Look(room, WIDE_PAGE * room if is_contended else room, is_contended)

    def choose(self, look: Look, docs: list[Document]) -> list[Document]:
        """Of the free documents that a look has found, those to claim."""
        return (in_own_order(docs, self._listener) if look.in_own_order else docs)[: look.room]

    @property
    def page_limit(self) -> int:
        """How many changes to ask the feed for."""
        return 1 if self._backs_off else self.target

    @property
    def backs_off(self) -> bool:
        """Whether it leaves documents to others, who are fast enough alone."""
        return self._backs_off

    @property
    def _is_fast(self) -> bool:
        return self._knows_pace and self.target == self._batch

    def _pause(self) -> None:
        """Claim nothing for a while, so that two listeners that read the same pages get out of step."""
        longest = BACK_OFF if self._backs_off else LOST_PAUSE
        self._no_claim_before = self._clock() + self._uniform(longest / 2, longest)


def in_own_order(docs: list[Document], listener: str) -> list[Document]:
    """The documents in an order that no other listener has.

    Source: rendezvous hashing, D. Thaler and C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998.
    """
    return sorted(docs, key=lambda doc: hashlib.blake2b(f'{listener} {doc["_id"]}'.encode()).digest())
