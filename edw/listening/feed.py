"""The `_changes` feed of the documents that wait for one step, polled a page at a time.

A page is asked for when there is room for it, and answered as soon as one document waits. So a document that
comes alone is here at once, a burst comes in few requests, and a feed that nobody polls costs nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from edw.database.changes import ENDED_PAUSE, Poll
from edw.database.client import Database
from edw.database.design import FILTER
from edw.database.retry import Outage, Retry
from edw.errors import Unavailable
from edw.inbox import Inbox
from edw.model import documents


@dataclass(frozen=True)
class Page:
    """The feed brought changes, one at least.

    `sequence` is that up to which there are no others; None from a server that tells none.
    """

    changes: list[dict[str, Any]]
    sequence: str | int | None


@dataclass(frozen=True)
class FeedFailed:
    """The feed has ended, by a permanent error or by a mistake in the code, until it is opened again."""

    error: Exception


class _Ended(Exception):
    """The request that was under way when the feed was ended has come back."""


class Feed:
    """A thread that waits for the next changes, each time it is told to poll, and puts them into an inbox."""

    def __init__(self, database: Database, after: str | int, outage: Outage, inbox: Inbox[Any]) -> None:
        """The inbox gets a Page for each poll, or FeedFailed. The database must be used by nobody else."""
        self._database = database
        self._after = after
        self._filter = f'{database.settings.design.removeprefix("_design/")}/{FILTER}'
        self._query: dict[str, Any] = {}
        self._poll = Poll(database, Retry(self._wait, outage))
        self._inbox = inbox
        self._wanted: tuple[str | int, int] | None = None  # sequence to wait from, most changes; None: do not wait
        self._is_polling = False
        self._ended = False
        self._told = threading.Condition()

    @property
    def is_polling(self) -> bool:
        """Whether a poll has not been answered yet."""
        with self._told:
            return self._is_polling

    def open(self, by_selector: bool) -> None:
        """Get ready for polls.

        `by_selector`: filter with a selector, which CouchDB does about twenty times as fast as with the function of the
        design document.
        """
        self._query = {'include_docs': 'true'}
        if by_selector:
            self._query.update(filter='_selector', selector=documents.free_selector(self._after))
        else:
            self._query.update(filter=self._filter, last=self._after)
        self.reopen()

    def reopen(self) -> None:
        """Go on after a failure that turned out to be none."""
        # A daemon: a longpoll can be quiet for hours, and nothing is lost when it is cut.
        threading.Thread(target=self._run, name='feed', daemon=True).start()

    def poll(self, since: str | int, limit: int) -> None:
        """Report the next changes after the sequence `since`, once, and `limit` of them at most.

        A poll that is under way goes on: it began at an older sequence, so that it misses nothing either.
        """
        with self._told:
            if not self._is_polling:
                self._is_polling, self._wanted = True, (since, limit)
                self._told.notify()

    def end(self) -> None:
        """Report nothing more. A request that is under way cannot be cut: its thread ends with it, unheard."""
        with self._told:
            self._ended = True
            self._told.notify()

    def _run(self) -> None:
        try:
            while True:
                with self._told:
                    self._told.wait_for(lambda: self._ended or self._wanted is not None)
                    if self._ended or self._wanted is None:
                        return
                    (since, limit), self._wanted = self._wanted, None
                page = self._next_page(since, limit)
                # Before the report, so that a `poll` in answer to it is not taken for one too many.
                with self._told:
                    self._is_polling = False
                self._inbox.put(page)
        except (_Ended, Unavailable):
            return  # nobody is there to be told of an outage
        # Whatever it is: a loop that is not told would wait for this feed for ever.
        except Exception as error:
            with self._told:
                self._is_polling = False
            self._inbox.put(FeedFailed(error))

    def _next_page(self, since: str | int, limit: int) -> Page:
        while True:
            answer = self._poll(since, limit=limit, **self._query)
            changes, last = answer['results'], answer['last_seq']
            if changes:
                # Behind the last change of a full page there may be more. After a shorter one nothing was left, and its
                # end spares the server all that it has just passed over, mostly what this listener wrote itself.
                return Page(changes, last if len(changes) < limit else changes[-1].get('seq'))
            # A quiet feed was ended by the server, as for maintenance, or cut on the way: go on, but not in a hot loop.
            since = last
            if self._wait(ENDED_PAUSE):
                raise _Ended

    def _wait(self, seconds: float) -> bool:
        with self._told:
            return self._told.wait_for(lambda: self._ended, seconds)
