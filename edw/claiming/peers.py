"""Peers, the other listeners of a step: claims of one whose heartbeat stands still for a lease are released.

No clock is compared across machines. A listener is dead when its counter has not moved for a lease's time
by the observer's own clock, which nobody sets, and which goes on while its machine sleeps.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.claiming import claims, cluster
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.listeners import heartbeat_id

Clock = Callable[[], float]

log = logging.getLogger(__name__)


def passed() -> float:
    """Seconds since some moment; also those that the machine slept, which Linux leaves out of its monotonic clock.

    For what others do meanwhile. Waits, and what is due, go by the monotonic clock: the two differ by all sleep so far.
    Source: clock_gettime(2), CLOCK_BOOTTIME.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == 'linux' else time.monotonic()


@dataclass(frozen=True)
class Sighting:
    """A peer's counter, and when it was first seen at this value, as `passed` counts."""

    counter: Any
    since: float


class Peers:
    """One listener's view of the others of its step."""

    def __init__(
        self,
        database: Database,
        step: str,
        listener: str,
        disputes: cluster.Disputes,
        clock: Clock = passed,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """`disputes` are those of the listener itself; they are settled by whether the others are alive."""
        self.due = monotonic()
        self._clock = clock
        self._monotonic = monotonic
        self._database = database
        self._step = step
        self._listener = listener
        self._disputes = disputes
        self._sightings: dict[str, Sighting] = {}
        self._seen: set[str] = set()  # keys of the sightings of the check that is under way
        self._released = 0  # claims, in the check that is under way
        self._checked = clock()  # time of the last check

    def check(self) -> int:
        """Look once at every peer that holds claims, release those of the dead ones, and settle disputes.

        Returns how many claims were released. After an Unavailable it may be called again, and nothing that was seen
        so far is forgotten.
        """
        settings = self._database.settings
        if self._clock() - self._checked > 2 * settings.heartbeat:
            # A counter that stood still while nobody looked, as in an outage, says nothing: its writer was cut off too.
            # Nor does one in a sleep: machines of one room are put to sleep together.
            self._sightings.clear()
        self._seen.clear()
        for peer in claims.holders(self._database, self._step):
            if peer != self._listener and self._is_dead(peer):
                self._released += self._release(peer)
        self._disputes.settle(self._is_dead)
        self._sightings = {key: self._sightings[key] for key in self._seen}
        now = self._checked = self._clock()
        left = (seen.since + settings.lease - now for seen in self._sightings.values())
        self.due = self._monotonic() + min([settings.heartbeat, *(seconds for seconds in left if seconds > 0)])
        released, self._released = self._released, 0
        return released

    def _is_dead(self, peer: Any) -> bool:
        key = json.dumps(peer)
        if key not in self._seen:
            counter = self._counter(peer)
            before = self._sightings.get(key)
            if before is None or before.counter != counter:
                self._sightings[key] = Sighting(counter, self._clock())
            self._seen.add(key)
        return self._clock() - self._sightings[key].since >= self._database.settings.lease

    def _counter(self, peer: Any) -> Any:
        """The peer's counter; None where it has none, as a listener of another kind, or one that has just begun."""
        if not isinstance(peer, str):
            return None
        try:
            return self._database.get(heartbeat_id(peer)).get('counter')
        except NotFound:
            return None

    def _release(self, peer: Any) -> int:
        released = cluster.release_all(self._database, self._step, peer, self._is_dead)
        lease = self._database.settings.lease
        log.warning('%s has written no heartbeat for %g s: its claims are released: %d', peer, lease, released)
        return released
