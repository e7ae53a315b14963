"""Peers, the other listeners of a step: claims of one whose heartbeat stands still for a lease are released.

No clock is compared across machines. A listener is dead when its heartbeat has not changed for a lease's time
by the observer's own clock, which nobody sets, and which goes on while its machine sleeps.

Each listener checks a share, so that a look costs the same however many there are: one request for the holders of
claims, and about OBSERVED + 2 heartbeats. The holders and the observer stand on a ring, in the order of a hash of their
names (consistent hashing: D. Karger et al., 1997). The observer looks at those that follow it, until it has met
OBSERVED whose heartbeats go on. One that stands still does not count: the observer takes its place at once, and looks
at the next one, too. Of OBSERVED + 1 listeners everybody checks everybody.

- An observer that is dead is a holder as well: those before it see it stand still within two looks, and look at what it
  had to look at. A peer is released after lease + heartbeat at most, and where OBSERVED or more before it died with it,
  about a heartbeat later for each OBSERVED of these. A look brings OBSERVED more into view and not more, so that
  a server that is slow for all is not asked ever faster. docs/guarantees.md has what was simulated.
- A listener without claims is listed by nobody, and checked by nobody. Each puts itself on the ring, at its place.
- A listener whose heartbeat goes on may yet check nobody, as one whose callback holds the interpreter's lock for hours,
  or one of an older version. So each look also takes one heartbeat from the rest of the ring, in turn. A peer
  whose observers are all of this kind is found by one of h others, among n holders, after about n / h looks.
- Whoever was seen to stand still is looked at until it moves, wherever it stands: holders come and go, and with them
  the places on the ring.
"""

from __future__ import annotations

import hashlib
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

OBSERVED = 5  # peers with heartbeats that go on, which each listener checks; so each is checked by as many

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
    """A peer's heartbeat, and when it was first seen like this, as `passed` counts."""

    beat: Any
    since: float
    moves: bool  # whether it was another one the last time that it was read; of the first reading nobody knows


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
        self._turn = 0  # counts the peers that were looked at out of their places

    def check(self) -> int:
        """Look once at a share of the peers that hold claims, release those of the dead ones, and settle disputes.

        Returns how many claims were released. After an Unavailable it may be called again, and nothing that was seen
        so far is forgotten.
        """
        settings = self._database.settings
        if self._clock() - self._checked > 2 * settings.heartbeat:
            # A counter that stood still while nobody looked, as in an outage, says nothing: its writer was cut off too.
            # Nor does one in a sleep: machines of one room are put to sleep together.
            self._sightings.clear()
        self._seen.clear()
        peers = followers(self._listener, claims.holders(self._database, self._step))
        alive = 0
        for key, peer in peers.items():
            if alive == OBSERVED:
                break
            self._look_at(peer)
            alive += self._clock() - self._sightings[key].since < settings.heartbeat
        for key in self._out_of_place(list(peers)):
            self._look_at(peers[key])
        self._disputes.settle(self._is_dead)
        # One that held no claim meanwhile had no heartbeat to write. Others keep theirs, read this time or not.
        self._sightings = {key: seen for key, seen in self._sightings.items() if key in peers or key in self._seen}
        now = self._checked = self._clock()
        left = (self._sightings[key].since + settings.lease - now for key in self._seen)
        self.due = self._monotonic() + min([settings.heartbeat, *(seconds for seconds in left if seconds > 0)])
        released, self._released = self._released, 0
        return released

    def _out_of_place(self, keys: list[str]) -> list[str]:
        """Whom to look at besides: those that do not move, or were read once only, and one other in turn."""
        others = [key for key in keys if key not in self._seen]
        suspects = [key for key in others if key in self._sightings and not self._sightings[key].moves]
        rest = [key for key in others if key not in suspects]
        self._turn += 1
        return [*suspects, *([rest[self._turn % len(rest)]] if rest else [])]

    def _look_at(self, peer: Any) -> None:
        if self._is_dead(peer):
            self._released += self._release(peer)

    def _is_dead(self, peer: Any) -> bool:
        key = _key(peer)
        if key not in self._seen:
            beat = self._beat(peer)
            before = self._sightings.get(key)
            if before is None or before.beat != beat:
                self._sightings[key] = Sighting(beat, self._clock(), moves=before is not None)
            else:
                self._sightings[key] = Sighting(beat, before.since, moves=False)
            self._seen.add(key)
        return self._clock() - self._sightings[key].since >= self._database.settings.lease

    def _beat(self, peer: Any) -> Any:
        """The peer's heartbeat; None where it has none, as a listener of another kind, or one that has just begun.

        With its time, which is compared with no clock: a heartbeat process that is started again counts from 1, and
        might have come as far as the one before it had when that was read.
        """
        if not isinstance(peer, str):
            return None
        try:
            beat = self._database.get(heartbeat_id(peer))
        except NotFound:
            return None
        return beat.get('counter'), beat.get('time')

    def _release(self, peer: Any) -> int:
        released = cluster.release_all(self._database, self._step, peer, self._is_dead)
        lease = self._database.settings.lease
        log.warning('%s has written no heartbeat for %g s: its claims are released: %d', peer, lease, released)
        return released


def followers(listener: str, holders: list[Any]) -> dict[str, Any]:
    """The holders other than `listener` in the order in which they follow it on the ring, by their keys."""
    own = _key(listener)
    others = {key: holder for holder in holders if (key := _key(holder)) != own}
    start = _place(own)
    ring = sorted(others, key=lambda key: (_place(key) < start, _place(key)))
    return {key: others[key] for key in ring}


def _key(peer: Any) -> str:
    """A peer's name as it stands in claims, where it may be any JSON, for dicts."""
    return json.dumps(peer)


def _place(key: str) -> bytes:
    """A place on the ring, the same for all who ask."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
