"""The `_changes` feed of the documents that wait for one step, taken a page at a time.

A page is asked for when there is room for it, and answered as soon as one document waits. So a document that
comes alone is here at once, a burst comes in few requests, and a feed that nobody asks costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.config import Settings
from edw.database.client import Database
from edw.database.design import FILTER
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, Unavailable
from edw.model import documents

ENDED_PAUSE = 1.0  # seconds before a feed that the server ended is opened again


@dataclass(frozen=True)
class Page:
    """Changes, one at least, and the sequence up to which there are no others; None from a server that tells none."""

    changes: list[dict[str, Any]]
    sequence: str | int | None


class _Ended(Exception):
    """The wait that was under way when the feed was ended has come back."""


class Feed:
    """A thread that waits for the next changes, each time it is told to watch."""

    def __init__(
        self,
        settings: Settings,
        after: str | int,
        outage: Outage,
        on_page: Callable[[Page], None],
        on_end: Callable[[EdwError], None],
        by_selector: bool = False,
    ) -> None:
        """`on_page` gets the changes, with their documents, `on_end` the error that no waiting mends.

        Both are called in the feed's thread. `by_selector`: filter with a selector, which CouchDB does about twenty
        times as fast as with the function of the design document.
        """
        self._database = Database(settings)
        self._query: dict[str, Any] = {'include_docs': 'true'}
        if by_selector:
            self._query.update(filter='_selector', selector=documents.free_selector(after))
        else:
            self._query.update(filter=f'{settings.design.removeprefix("_design/")}/{FILTER}', last=after)
        self._retry = Retry(self._pause, outage)
        self._on_page = on_page
        self._on_end = on_end
        self._wanted: tuple[str | int, int] | None = None  # sequence to wait from, most changes; None: do not wait
        self._watching = False
        self._ended = False
        self._told = threading.Condition()
        # A daemon: a longpoll can be quiet for hours, and nothing is lost when it is cut.
        threading.Thread(target=self._run, name='feed', daemon=True).start()

    def watch(self, since: str | int, limit: int = 1) -> None:
        """Report the next changes after the sequence `since`, once, and `limit` of them at most.

        A wait that is under way goes on: it began at an older sequence, so that it misses nothing either.
        """
        with self._told:
            if not self._watching:
                self._watching, self._wanted = True, (since, limit)
                self._told.notify()

    def end(self) -> None:
        """Report nothing more. A wait that is under way cannot be cut: its thread ends with it, unheard."""
        with self._told:
            self._ended = True
            self._told.notify()

    def _run(self) -> None:
        try:
            while not self._ended:
                with self._told:
                    self._told.wait_for(lambda: self._ended or self._wanted is not None)
                    if self._ended:
                        return
                    (since, limit), self._wanted = self._wanted, None
                page = self._next_page(since, limit)
                # Before the report, so that a `watch` in answer to it is not taken for one too many.
                with self._told:
                    self._watching = False
                self._on_page(page)
        except _Ended:
            return
        except EdwError as error:
            self._on_end(error)

    def _next_page(self, since: str | int, limit: int) -> Page:
        while True:
            answer = self._retry(self._longpoll, since, limit)
            changes, last = answer['results'], answer['last_seq']
            if changes:
                # Behind the last change of a full page there may be more. After a shorter one nothing was left, and its
                # end spares the server all that it has just passed over, mostly what this listener wrote itself.
                return Page(changes, last if len(changes) < limit else changes[-1].get('seq'))
            # The server ended a quiet feed, as it does for maintenance: go on from there, but not in a hot loop.
            since = last
            self._pause(ENDED_PAUSE)

    def _longpoll(self, since: str | int, limit: int) -> dict[str, Any]:
        try:
            return self._database.longpoll(since, limit=limit, **self._query)
        except Unavailable:
            if self._ended:
                raise _Ended from None  # nobody is there to be told of an outage
            raise

    def _pause(self, seconds: float) -> bool:
        with self._told:
            return self._told.wait_for(lambda: self._ended, seconds)
