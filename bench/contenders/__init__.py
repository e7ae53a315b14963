"""Those that are compared, each behind the same few methods, and what their processes run."""

from __future__ import annotations

from typing import Protocol


class Contender(Protocol):
    """Does two steps on documents. All times are in seconds."""

    def throughput(self, number: int, listeners: int) -> float:
        """Seconds from putting in the first document to the last result, with so many listeners a step."""

    def latencies(self, number: int, rate: float, listeners: int) -> list[float]:
        """For each of `number` documents, put in one by one, `rate` a second: seconds until it is through."""
