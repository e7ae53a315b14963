"""Databases for requests that run at the same time: each is used by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edw.config import Settings
from edw.database.client import Database
from edw.errors import LoginRefused


class Databases:
    """Lends databases, and keeps them for the next request: their connection and login are still good.

    A login that was refused once is not tried again: every page that is opened would be another try, and CouchDB 3.4
    and later lock an address out after five.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: list[Database] = []
        self._refused: LoginRefused | None = None
        self._lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[Database]:
        """A database for the time of the block. Raises LoginRefused where any request met it before."""
        with self._lock:
            database = self._idle.pop() if self._idle else None
        try:
            with self.guarded():
                database = database or Database(self.settings)
                yield database
        finally:
            if database is not None:
                with self._lock:
                    self._idle.append(database)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A block that asks a database of its own, and is not begun after a login was refused."""
        if self._refused is not None:
            raise LoginRefused(f'{self._refused}\nIt is not tried again before dashboard.py is started anew.')
        try:
            yield
        except LoginRefused as error:
            self._refused = error
            raise
