"""The watch over other workers: claims of one that shows no sign of life for a lease are released.

No clock is compared across machines. A worker is dead when its counter has not moved for a lease's time
by the observer's own monotonic clock.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from edw.claiming import claims, cluster
from edw.database.client import Database
from edw.errors import NotFound
from edw.listening.metrics import Metrics
from edw.model.listeners import heartbeat_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """A worker's counter, and the monotonic time at which it was first seen at this value."""

    counter: Any
    since: float


class Watch:
    """The watch of one worker over the others of its step, and over its own disputed claims."""

    def __init__(self, database: Database, process: str, worker: str, metrics: Metrics) -> None:
        self.due = time.monotonic()
        self.disputes = cluster.Disputes(database)
        self._database = database
        self._process = process
        self._worker = worker
        self._metrics = metrics
        self._sightings: dict[str, Sighting] = {}
        self._looked = self.due  # monotonic time of the last look
        self._before: dict[str, Sighting] = {}  # those of the look before this one

    def look(self) -> None:
        """Look once at every worker that holds claims, release those of the dead ones, and settle disputes."""
        settings = self._database.settings
        # A counter that stood still while nobody looked, as in an outage, says nothing: its writer was cut off too.
        blind = time.monotonic() - self._looked > 2 * settings.heartbeat
        self._before, self._sightings = {} if blind else self._sightings, {}
        for worker in claims.holders(self._database, self._process):
            if worker != self._worker and self._is_dead(worker):
                self._release(worker)
        self.disputes.look(self._is_dead)
        now = self._looked = time.monotonic()
        ends = (seen.since + settings.lease for seen in self._sightings.values())
        self.due = min([now + settings.heartbeat, *(end for end in ends if end > now)])

    def _is_dead(self, worker: Any) -> bool:
        key = json.dumps(worker)
        if key not in self._sightings:
            counter = self._counter(worker)
            seen = self._before.get(key)
            same = seen is not None and seen.counter == counter
            self._sightings[key] = seen if same else Sighting(counter, time.monotonic())
        return time.monotonic() - self._sightings[key].since >= self._database.settings.lease

    def _counter(self, worker: Any) -> Any:
        """The worker's counter; None where it has none, as a worker of another kind, or one that has just begun."""
        if not isinstance(worker, str):
            return None
        try:
            return self._database.get(heartbeat_id(worker)).get('counter')
        except NotFound:
            return None

    def _release(self, worker: Any) -> None:
        released = cluster.release_all(self._database, self._process, worker, self._is_dead)
        self._metrics.released(released)
        lease = self._database.settings.lease
        log.warning('%s has shown no sign of life for %g s: its claims are released: %d', worker, lease, released)
