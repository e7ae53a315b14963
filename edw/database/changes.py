"""Being told of changes: polling the feed, also through proxies that cut it, and following it for screens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from edw.config import Settings
from edw.database.client import Database
from edw.database.retry import Outage, Retry, pauses
from edw.errors import EdwError, Unavailable

BURST_PAUSE = 1.0  # seconds in which further changes count as the same: a thousand are one look, not a thousand
ENDED_PAUSE = 1.0  # seconds before a feed that the server ended is opened again

SHORT = 1.0  # seconds; a feed that is cut sooner is not opened again at once

Sequence = str | int


class Poll:
    """Polls the feed, also through a proxy that cuts a request which is quiet for some seconds.

    One that was cut does not tell how far the server had looked. Made again from the same sequence, it would have the
    server pass over everything that has changed since, more each time, and get no further. So one that does not wait
    comes in between, whose end is a sequence to go on from. Whether there is an outage, that one tells: a quiet feed
    that is cut is none.
    """

    def __init__(self, database: Database, retry: Retry) -> None:
        self._database = database
        self._retry = retry
        self._pauses = pauses()

    def __call__(self, since: Sequence, **query: Any) -> dict[str, Any]:
        """The next answer of the feed, as `Database.longpoll` has it; perhaps without changes.

        Raises Unavailable when `retry.wait` says so, and permanent errors.
        """
        began = time.monotonic()
        try:
            answer = self._database.longpoll(since, **query)
        except Unavailable as error:
            if time.monotonic() - began >= SHORT:
                self._pauses, pause = pauses(), 0.0
            else:
                pause = max(next(self._pauses), error.retry_after or 0.0)
            # Asked without a pause, too: for one that has been ended meanwhile nobody is to be told of an outage.
            if self._retry.wait(pause):
                raise
            return self._retry(self._database.changes, since, **query)
        self._pauses = pauses()
        return answer


def changes(database: Database, since: Sequence, retry: Retry) -> Iterator[Sequence]:
    """Wait for changes after the sequence `since`, for ever; yields a sequence after each burst of them.

    What is read after that has everything up to this sequence, and what follows it is told next. It ends when
    `retry.wait` says so, which is asked whenever something was told or failed; but a wait for a change that is under
    way goes on. Raises EdwError for permanent errors.
    """
    poll = Poll(database, retry)
    try:
        while True:
            answer = poll(since)
            if not answer['results']:
                # The server ended a quiet feed, as it does for maintenance.
                since = answer['last_seq']
                if retry.wait(ENDED_PAUSE):
                    return
                continue
            if retry.wait(BURST_PAUSE):
                return
            since = retry(database.info)['update_seq']
            yield since
    except Unavailable:
        return  # `retry.wait` said so


def in_thread(
    settings: Settings,
    since: Sequence,
    outage: Outage,
    on_change: Callable[[Sequence], object],
    on_end: Callable[[EdwError], object],
    ended: threading.Event,
) -> threading.Thread:
    """Call `on_change` after each burst of changes, until `ended` is set; `on_end` gets a permanent error.

    Both are called in the thread that is started here. It is a daemon: a wait for a change may last for hours.
    """

    def run() -> None:
        try:
            for sequence in changes(Database(settings), since, Retry(ended.wait, outage)):
                if ended.is_set():
                    return
                on_change(sequence)
        except EdwError as error:
            if not ended.is_set():
                on_end(error)

    thread = threading.Thread(target=run, name='changes', daemon=True)
    thread.start()
    return thread
