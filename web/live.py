"""One look at the database for all browsers: a feed tells of changes, the status is read, and all get it rendered.

However many browsers look, the database has one feed and one reader. What is sent is the whole of the latest state,
never a difference: a browser that is slow, or comes back, misses nothing that still counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from edw.database import changes as follow
from edw.database.client import Database
from edw.database.retry import LONGEST_PAUSE, Outage, Retry, pauses
from edw.errors import EdwError, LoginRefused
from edw.operating import status
from edw.operating.status import Status
from edw.redact import redact
from web import charts, render
from web.blocking import Databases

LEAST_PAUSE = 0.5  # seconds between two readings
REST, LONGEST_REST = 3.0, 5.0  # times as long as a reading took the database is left alone after it; seconds at most
UNWATCHED_PAUSE = 10.0  # seconds between two readings while no browser looks
QUIET_PAUSE = 20.0  # seconds after which the status is read although nothing changed: heartbeats are no changes
PATIENCE = 3.0  # seconds that a request may fail, as it does on a busy server, before the pages say so
ALIVE = 15.0  # seconds without news after which a browser is told that it is still connected
COUNT_REST = 100.0  # times as long as counting the runs took it is not done again

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What the database said at one time."""

    status: Status
    plot: charts.Plot
    run_count: int  # of all runs


@dataclass(frozen=True)
class Snapshot:
    """What browsers are shown. `error` says why it is not of now; `reading` is None before the first one."""

    reading: Reading | None
    error: Exception | None
    html: str


class Live:
    """The feed, the reader, and those who wait for what it has read.

    Each of the first two is a thread. Those who wait are in the event loop, and so is all that they touch.
    """

    def __init__(self, databases: Databases) -> None:
        self.latest: Snapshot | None = None
        self._news = asyncio.Event()  # set and replaced with every snapshot
        self._databases = databases
        self._ended = threading.Event()
        self._wake = threading.Condition()  # of the reader; it guards the next two, and tells of the end
        self._changed = True
        self._watchers = 0

    def start(self) -> None:
        """Begin, in the event loop that the watchers are in."""
        loop = asyncio.get_running_loop()

        def publish(snapshot: Snapshot) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
                loop.call_soon_threadsafe(self._publish, snapshot)

        # Daemons: a longpoll can be quiet for hours, and nothing is lost when it is cut.
        threading.Thread(target=self._follow, name='feed', daemon=True).start()
        threading.Thread(target=self._read, args=(publish,), name='reader', daemon=True).start()

    def end(self) -> None:
        """Let all watchers go, and read no more."""
        with self._wake:
            self._ended.set()
            self._wake.notify_all()
        self._news.set()

    async def first(self, limit: float) -> Snapshot | None:
        """The latest snapshot; waits for the first one, but not longer than `limit` seconds."""
        if self.latest is None:
            await self._has_news(limit)
        return self.latest

    async def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """The latest snapshot, then every new one; None where there was none for ALIVE seconds."""
        self._watch(1)
        seen = None
        try:
            while not self._ended.is_set():
                if self.latest is not None and self.latest is not seen:
                    seen = self.latest
                    yield seen
                elif not await self._has_news(ALIVE):
                    yield None
        finally:
            self._watch(-1)

    async def _has_news(self, limit: float) -> bool:
        """Whether there is a new snapshot, or the end, within `limit` seconds."""
        try:
            await asyncio.wait_for(self._news.wait(), limit)
        except asyncio.TimeoutError:  # its own class before Python 3.11
            return False
        return True

    def _publish(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self._news.set()
        if not self._ended.is_set():  # else nobody may wait any more
            self._news = asyncio.Event()

    def _watch(self, change: int) -> None:
        with self._wake:
            self._watchers += change
            self._wake.notify_all()

    def _tell(self) -> None:
        with self._wake:
            self._changed = True
            self._wake.notify_all()

    def _follow(self) -> None:
        """The feed's thread."""
        retry = Retry(self._ended.wait, Outage(on_begin=self._tell))  # the pages say at once that they are not of now
        while not self._ended.is_set():
            try:
                with self._databases.lent() as database:
                    since = retry(database.info)['update_seq']
                    self._tell()
                    for _ in follow.changes(database, since, retry):
                        self._tell()
            except LoginRefused:
                return  # the reader meets it too, and says so
            except EdwError as error:
                log.warning('%s; trying again in %g s', error, LONGEST_PAUSE)
                self._ended.wait(LONGEST_PAUSE)

    def _read(self, publish: Callable[[Snapshot], None]) -> None:
        """The reader's thread."""
        # Without an outage: the log hears of it from the feed.
        database = Database(self._databases.settings, Retry(self._ended.wait, patience=PATIENCE))
        lease = database.settings.lease
        reading: Reading | None = None  # the last one that could be shown
        run_count = RunCount()
        failing = pauses()
        while True:
            began = time.monotonic()
            with self._wake:
                self._changed = False  # before the reading: what changes during it is read again
            try:
                with self._databases.guarded():
                    latest = read(database, run_count)
                publish(snapshot(latest, None, lease))
            except LoginRefused as error:
                publish(snapshot(reading, error, lease))
                return
            except Exception as error:
                # A bug of ours too: a page must never say that it is live when nothing is read any more.
                if not isinstance(error, EdwError):
                    log.exception('the status cannot be read')
                publish(snapshot(reading, error, lease))
                self._tell()
                pause = max(next(failing), LEAST_PAUSE)
            else:
                reading, failing = latest, pauses()
                pause = max(LEAST_PAUSE, min(REST * (time.monotonic() - began), LONGEST_REST))
            if not self._rest(pause):
                return

    def _rest(self, pause: float) -> bool:
        """Wait until another reading is due, and at least for `pause` seconds; False where there will be none."""
        began = time.monotonic()
        with self._wake:
            while not self._ended.is_set():
                left = began + self._due(pause) - time.monotonic()
                if left <= 0:
                    return True
                self._wake.wait(left)
        return False

    def _due(self, pause: float) -> float:
        """How many seconds after a reading the next one is due, as things are at this moment."""
        if not self._changed:
            return QUIET_PAUSE
        return pause if self._watchers else max(pause, UNWATCHED_PAUSE)


def snapshot(reading: Reading | None, error: Exception | None, lease: float) -> Snapshot:
    """What browsers are shown of the last reading; `error` says why it is not of now."""
    said = str(error) if isinstance(error, EdwError) else 'the log of dashboard.py says why'
    shown = None if error is None else redact(said)
    html = render.html('live.html', reading=reading, error=shown, now=time.time(), lease=lease)
    return Snapshot(reading, error, html)


class RunCount:
    """How many runs there are. Many are counted less often: with 10,000 it takes as long as all else together."""

    def __init__(self) -> None:
        self._count = 0
        self._due = 0.0  # by the monotonic clock

    def __call__(self, database: Database) -> int:
        """The number, not older than its cost allows."""
        began = time.monotonic()
        if began >= self._due:
            self._count = status.count_runs(database)
            self._due = began + (1 + COUNT_REST) * (time.monotonic() - began)
        return self._count


def read(database: Database, run_count: Callable[[Database], int] = status.count_runs) -> Reading:
    """What the first page shows."""
    now = status.read(database)
    counts = status.throughput(database, charts.HOURS)
    plot = charts.plot(counts, [step.name for step in now.steps], now.time)
    # Where all are shown, they are counted already.
    is_all = len(now.runs) < status.RUNS
    return Reading(now, plot, len(now.runs) if is_all else max(status.RUNS, run_count(database)))
