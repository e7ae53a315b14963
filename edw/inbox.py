"""What happens elsewhere, in the feed, in the callbacks' threads, in a signal handler, as seen by a loop."""

from __future__ import annotations

import queue
from collections.abc import Callable


class Inbox:
    """Functions that only change their loop's state, put in by anybody, and called by the loop alone."""

    def __init__(self) -> None:
        # A SimpleQueue, because its `put` may be called in a signal handler.
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, happening: Callable[[], None]) -> None:
        """Have a function called by the loop. Safe in threads and signal handlers."""
        self._queue.put(happening)

    def handle(self, timeout: float) -> None:
        """Let everything happen that is in the inbox; wait up to `timeout` seconds for the first of it."""
        try:
            self._queue.get(timeout=timeout)()
            while True:
                self._queue.get_nowait()()
        except queue.Empty:
            return
