"""The `_changes` feed as an alarm clock: it says that something changed, and the view says what waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from edw.backoff import Outage, insist
from edw.config import Settings
from edw.couch import Database
from edw.errors import EdwError, Unavailable

FILTER = 'with_process'
ENDED_PAUSE = 1.0  # seconds before a feed that the server ended is opened again


class _Ended(Exception):
    """The wait that was under way when the feed was ended has come back."""


class Feed:
    """A thread that waits for one change at a time, each time it is told to watch."""

    def __init__(
        self,
        settings: Settings,
        after: str | int,
        outage: Outage,
        on_change: Callable[[dict[str, Any]], None],
        on_end: Callable[[EdwError], None],
    ) -> None:
        """`on_change` gets each change, `on_end` the error that no waiting mends; both in the feed's thread."""
        self._database = Database(settings)
        self._filter = f'{settings.design.removeprefix("_design/")}/{FILTER}'
        self._after = str(after)
        self._outage = outage
        self._on_change = on_change
        self._on_end = on_end
        self._since: str | int | None = None  # where to wait from; None while there is nothing to wait for
        self._watching = False
        self._ended = False
        self._told = threading.Condition()
        # A daemon: a longpoll can be quiet for hours, and nothing is lost when it is cut.
        threading.Thread(target=self._run, name='feed', daemon=True).start()

    def watch(self, since: str | int) -> None:
        """Report the next change after the sequence `since`, once.

        A wait that is under way goes on: it began at an older sequence, so that it misses nothing either.
        """
        with self._told:
            if not self._watching:
                self._watching, self._since = True, since
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
                    self._told.wait_for(lambda: self._ended or self._since is not None)
                    if self._ended:
                        return
                    since, self._since = self._since, None
                change = self._next_change(since)
                # Before the report, so that a `watch` in answer to it is not taken for one too many.
                with self._told:
                    self._watching = False
                self._on_change(change)
        except _Ended:
            return
        except EdwError as error:
            self._on_end(error)

    def _next_change(self, since: str | int) -> dict[str, Any]:
        while True:
            answer = insist(partial(self._longpoll, since), self._outage, self._pause)
            if answer['results']:
                return answer['results'][0]
            # The server ended a quiet feed, as it does for maintenance: go on from there, but not in a hot loop.
            since = answer['last_seq']
            self._pause(ENDED_PAUSE)

    def _longpoll(self, since: str | int) -> dict[str, Any]:
        try:
            return self._database.longpoll(since, self._filter, last=self._after)
        except Unavailable:
            if self._ended:
                raise _Ended from None  # nobody is there to be told of an outage
            raise

    def _pause(self, seconds: float) -> bool:
        with self._told:
            return self._told.wait_for(lambda: self._ended, seconds)
