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

from edw import claims
from edw.couch import Database
from edw.errors import NotFound
from edw.heartbeat import document_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """A worker's counter, and the monotonic time at which it was first seen at this value."""

    counter: Any
    since: float


class Watch:
    """The watch of one worker over the others of its step."""

    def __init__(self, database: Database, process: str, worker: str) -> None:
        self._database = database
        self._process = process
        self._worker = worker
        self._sightings: dict[str, Sighting] = {}
        self.due = time.monotonic()

    def look(self) -> None:
        """Look once at every worker that holds claims, and release those of the dead ones."""
        settings = self._database.settings
        holders = {json.dumps(worker): worker for worker in claims.holders(self._database, self._process)}
        holders.pop(json.dumps(self._worker), None)
        before, self._sightings = self._sightings, {}
        for key, worker in holders.items():
            counter = self._counter(worker)
            seen = before.get(key)
            if seen is None or seen.counter != counter:
                seen = Sighting(counter, time.monotonic())
            elif time.monotonic() - seen.since >= settings.lease:
                released = claims.release_all(self._database, self._process, worker)
                log.warning(
                    '%s has shown no sign of life for %g s: its claims on %d documents are released',
                    worker,
                    settings.lease,
                    released,
                )
            self._sightings[key] = seen
        now = time.monotonic()
        ends = (seen.since + settings.lease for seen in self._sightings.values())
        self.due = min([now + settings.heartbeat, *(end for end in ends if end > now)])

    def _counter(self, worker: Any) -> Any:
        """The worker's counter; None where it has none, as a worker of another kind, or one that has just begun."""
        if not isinstance(worker, str):
            return None
        try:
            return self._database.get(document_id(worker)).get('counter')
        except NotFound:
            return None
