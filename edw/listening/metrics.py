"""What a listener tells of its work to whoever measures it; by default nobody does.

The listener calls these methods whether anybody measures or not, so that its loop has no second shape.
`edw.listening.exporter` hears them where `--metrics` is given.
"""

from __future__ import annotations

from collections.abc import Callable

from edw.claiming.results import Refused, Update, is_recorded
from edw.database.views import Waiting
from edw.model import documents
from edw.model.documents import Document

SUCCESS, SKIPPED, RETRIED, FAILED, LOST = OUTCOMES = ('success', 'skipped', 'retried', 'failed', 'lost')


class Metrics:
    """Takes note of nothing."""

    views: tuple[str, ...] = ()  # of the design document, that `swept` reads

    def follow(self, listener: str, in_flight: Callable[[], int]) -> None:
        """`listener` measures; `in_flight` says how many documents it holds, and is called in other threads."""

    def reached(self) -> None:
        """The server answered a request."""

    def outage(self) -> None:
        """The server stopped answering."""

    def claimed(self, docs: list[Document]) -> None:
        """Claims on documents that waited were won."""

    def ran(self, seconds: float) -> None:
        """A callback ran, and ended in whatever way."""

    def settled(self, update: Update, written: Document | Refused | None) -> None:
        """An update was written, or not, as `edw.claiming.results.by_row` says."""

    def released(self, claims: int) -> None:
        """Claims of dead peers were released."""

    def waits(self, since: float | None) -> None:
        """The step waits since this time (seconds since the epoch), for a place or as failures are alike; None: not."""

    def swept(self, waiting: Waiting) -> None:
        """So many documents waited at the time of the sweep; only told where `views` has what that takes."""


UNHEARD = Metrics()


def outcome(update: Update, written: Document | Refused | None) -> str | None:
    """What became of an attempt, one of OUTCOMES; None where no attempt was made, or its end is still to come."""
    if update.record is None:
        return None  # a claim that was released
    if isinstance(written, Refused):
        return FAILED if update.is_failure else None  # it is recorded as a failure next
    if written is None or not is_recorded(update, written):
        return LOST
    if not update.is_failure:
        return SKIPPED if documents.is_skipped(update.record) else SUCCESS
    return FAILED if written.get('claim') is None else RETRIED
