"""Waiting for the end of what is measured, without slowing it down: each look costs the server a few milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable

NEAR = 0.05  # seconds between two looks, at least
FAR = 1.0  # at most
LIMIT = 300.0  # seconds after which a contender is taken for stuck


def wait_until(count: Callable[[], int], end: int) -> None:
    """Wait until a count has reached `end`.

    The next look comes after half of the time that is left, by the pace so far.
    """
    started = time.monotonic()
    begin = done = count()
    while done < end:
        elapsed = time.monotonic() - started
        assert elapsed < LIMIT, f'not done after {LIMIT:g} s'
        left = elapsed * (end - done) / (done - begin) if done > begin else 0.0
        time.sleep(min(max(left / 2, NEAR), FAR))
        done = count()
