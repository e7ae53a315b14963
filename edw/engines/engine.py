"""What a listener's loop knows of the engine that runs its callbacks, in the terms of `concurrent.futures`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from edw.engines.callbacks import Outcome
from edw.errors import EdwError
from edw.model.documents import Document

Running = Future[Outcome]  # of a document that was given to an engine; it may wait there for a worker


@dataclass(frozen=True)
class Workers:
    """So many callbacks run at once from now on; with 0 nothing is to be claimed. Told by an engine to its loop."""

    number: int


@dataclass(frozen=True)
class CannotRun:
    """No callback will ever run: the listener ends with this error. Told by an engine to its loop."""

    error: EdwError


@dataclass(frozen=True)
class FarmState:
    """Of a farm, for people: so many callbacks can run at once there, so many are there, on so many nodes."""

    room: int = 0
    running: int = 0
    nodes: int = 0
    away: str = ''  # why there is no farm now
    since: float | None = None  # time (seconds since the epoch) since when it is away, or there; None at first


Tell = Callable[[Workers | CannotRun], None]


class NotRun(EdwError):
    """The engine could not have the callback run to its end, which is nobody's attempt: the document goes back."""


class Engine(Protocol):
    """Runs the callback on several documents at once. Tells of how many whenever that changes, the first time too."""

    @property
    def farm(self) -> FarmState | None:
        """The farm on which callbacks run, if it is one."""
        raise NotImplementedError

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as a worker is free.

        The future can be cancelled until then. It has an exception where the engine could not run the callback at all,
        NotRun where that is nobody's attempt; what the callback itself raises is in the Outcome.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Break off what runs, as far as that is possible. Futures that are not done by now may never be."""
        raise NotImplementedError
