"""A database for screens: each of its requests is tried again by itself until the server answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edw.backoff import Outage, insist
from edw.config import Settings
from edw.couch import Database


class PatientDatabase(Database):
    """Waits out what waiting mends, as long as `pause(seconds)`, which waits, does not return True to give up.

    Each request by itself, because a server that allows only some queries a second (429) would else refuse one of the
    many that a status takes, every time.
    """

    def __init__(self, settings: Settings, outage: Outage, pause: Callable[[float], bool]) -> None:
        super().__init__(settings)
        self._outage = outage
        self._pause = pause

    def _request(self, *arguments: Any, **options: Any) -> Any:
        request = super()._request
        return insist(lambda: request(*arguments, **options), self._outage, self._pause)
