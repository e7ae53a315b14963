"""The inbox of a loop: what happens elsewhere, in a thread or in a signal handler, arrives there as a value."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar('T')


@dataclass(frozen=True)
class StopRequest:
    """A signal, or a caller, asks to finish what runs and to end."""


class Inbox(Generic[T]):
    """Events of one loop: put in by anybody, taken out by the loop alone."""

    def __init__(self) -> None:
        # A SimpleQueue, because its `put` may be called in a signal handler.
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()

    def put(self, event: T) -> None:
        """Tell the loop of an event. Safe in threads and signal handlers."""
        self._queue.put(event)

    def take(self, timeout: float) -> Iterator[T]:
        """All that has happened, oldest first; waits up to `timeout` seconds for the first of it."""
        try:
            yield self._queue.get(timeout=max(0.0, timeout))
            while True:
                yield self._queue.get_nowait()
        except queue.Empty:
            return
