"""Being told that anything in the database has changed, for screens that show its state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from edw.config import Settings
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, Unavailable

BURST_PAUSE = 1.0  # seconds in which further changes count as the same: a thousand are one look, not a thousand
ENDED_PAUSE = 1.0  # seconds before a feed that the server ended is opened again

Sequence = str | int


def changes(database: Database, since: Sequence, retry: Retry) -> Iterator[Sequence]:
    """Wait for changes after the sequence `since`, for ever; yields a sequence after each burst of them.

    What is read after that has everything up to this sequence, and what follows it is told next. It ends when
    `retry.wait` says so, which is asked whenever something was told or failed; but a wait for a change that is under
    way goes on. Raises EdwError for permanent errors.
    """
    try:
        while True:
            answer = retry(database.longpoll, since)
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
