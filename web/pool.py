"""Databases for requests that run at the same time: each is used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edw.config import Settings
from edw.couch import Database


class Databases:
    """Lends databases, and keeps them for the next request: their connection and login are still good."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: list[Database] = []
        self._lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[Database]:
        """A database for the time of the block."""
        with self._lock:
            database = self._idle.pop() if self._idle else None
        database = database or Database(self.settings)
        try:
            yield database
        finally:
            with self._lock:
                self._idle.append(database)
