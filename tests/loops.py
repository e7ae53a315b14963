"""Listeners in threads of a test, and the documents they work on."""

from __future__ import annotations

import threading
from typing import Any

import listener
from edw.config import Settings
from edw.database.client import Database

STEP = {'name': 'first', 'after': 0, 'failed': 'first failed'}


def seed(database: Database, number: int = 1, first: int = 0, **fields: Any) -> list[str]:
    """New documents; returns their ids."""
    docs = [
        {'_id': f'doc{index:04d}', 'status': 'good', 'process': [], **fields} for index in range(first, first + number)
    ]
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    return [doc['_id'] for doc in docs]


def edit(database: Database, doc_id: str, **fields: Any) -> None:
    """What an operator does: read, change, write."""
    database.put({**database.get(doc_id), **fields})


def once(callback: Any, settings: Settings, **options: Any) -> int:
    return listener.run(callback, **{**STEP, 'settings': settings, 'once': True, **options})


class Running:
    """A listener in a thread, stopped at the end of the block."""

    def __init__(
        self, callback: Any, settings: Settings, *, workers: int = 1, first_rest: float | None = None, **step: Any
    ) -> None:
        self.loop = listener.Listener(
            callback, listener.Step(**{**STEP, **step}), settings, workers=workers, batch=100, once=False
        )
        if first_rest is not None:
            self.loop._intake._first_rest = first_rest
        self._thread = threading.Thread(target=self.loop.run)
        self._told = False

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._told:
            self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """Tell it to stop; it ends before the block does."""
        self._told = True
        self.loop.stop()


def names(doc: dict[str, Any]) -> list[str]:
    return [entry['name'] for entry in doc['process']]
