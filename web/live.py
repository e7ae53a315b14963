"""One look at the database for all browsers: a feed tells of changes, the status is read, and all get it rendered.

However many browsers look, the database has one feed and one reader. What is sent is the whole of the latest state,
never a difference: a browser that is slow, or comes back, misses nothing that still counts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from edw.database import changes as follow
from edw.database.client import Database
from edw.database.retry import LONGEST_PAUSE, Outage, Retry, pauses
from edw.errors import EdwError, LoginRefused
from edw.operating import status
from edw.operating.status import RunStatus, Status
from edw.redact import redact
from web import charts, render
from web.blocking import Databases

LEAST_PAUSE = 0.5  # seconds between two readings
REST, LONGEST_REST = 3.0, 5.0  # times as long as a reading took the database is left alone after it; seconds at most
UNWATCHED_PAUSE = 10.0  # seconds between two readings while no browser looks
QUIET_PAUSE = 20.0  # seconds after which the status is read although nothing changed: heartbeats are no changes
PATIENCE = 3.0  # seconds that a request may fail, as it does on a busy server, before the pages say so
ALIVE = 15.0  # seconds without news after which a browser is told that it is still connected
RUNS = 12  # on the first page

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What the database said at one time."""

    status: Status
    plot: charts.Plot
    runs: list[RunStatus]


@dataclass(frozen=True)
class Snapshot:
    """What browsers are shown. `error` says why it is not of now; `reading` is None before the first one."""

    reading: Reading | None
    error: Exception | None
    html: str


class Live:
    """The feed, the reader, and those who wait for what it has read."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()  # set and replaced with every snapshot
        self._watchers = 0
        self._ended = threading.Event()
        self._wake = threading.Condition()
        self._changed = True
        self.latest: Snapshot | None = None

    def start(self) -> None:
        """Begin, in the event loop that the watchers are in."""
        self._loop = asyncio.get_running_loop()
        # Daemons: a longpoll can be quiet for hours, and nothing is lost when it is cut.
        threading.Thread(target=self._follow, name='feed', daemon=True).start()
        threading.Thread(target=self._read, name='reader', daemon=True).start()

    def end(self) -> None:
        """Let all watchers go, and read no more."""
        with self._wake:
            self._ended.set()
            self._wake.notify_all()
        self._news.set()

    async def first(self, limit: float) -> Snapshot | None:
        """The latest snapshot; waits for the first one, but not longer than `limit` seconds."""
        if self.latest is None:
            try:
                await asyncio.wait_for(self._news.wait(), limit)
            except asyncio.TimeoutError:  # its own class before Python 3.11
                return None
        return self.latest

    async def snapshots(self) -> AsyncIterator[Snapshot | None]:
        """The latest snapshot, then every new one; None where there was none for ALIVE seconds."""
        self._watch(1)
        seen = None
        try:
            while not self._ended.is_set():
                news = self._news
                if self.latest is not None and self.latest is not seen:
                    seen = self.latest
                    yield seen
                    continue
                try:
                    await asyncio.wait_for(news.wait(), ALIVE)
                except asyncio.TimeoutError:
                    yield None
        finally:
            self._watch(-1)

    def _watch(self, change: int) -> None:
        with self._wake:
            self._watchers += change
            self._wake.notify_all()

    def _publish(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self._news.set()
        if not self._ended.is_set():
            self._news = asyncio.Event()

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

    def _read(self) -> None:
        """The reader's thread."""
        # The log hears of an outage from the feed.
        database = Database(self._databases.settings, Retry(self._ended.wait, patience=PATIENCE))
        failing = pauses()
        reading: Reading | None = None
        while True:
            began = time.monotonic()
            with self._wake:
                self._changed = False
            try:
                with self._databases.guarded():
                    latest = read(database)
                self._show(latest, None)
                reading = latest  # that could be shown
            except LoginRefused as error:
                self._show(reading, error)
                return
            except Exception as error:
                # A bug of ours too: a page must never say that it is live when nothing is read any more.
                if not isinstance(error, EdwError):
                    log.exception('the status cannot be read')
                self._show(reading, error)
                pause = max(next(failing), LEAST_PAUSE)
                with self._wake:
                    self._changed = True
            else:
                failing = pauses()
                pause = max(LEAST_PAUSE, min(REST * (time.monotonic() - began), LONGEST_REST))
            if self._rest(pause):
                return

    def _rest(self, pause: float) -> bool:
        """Wait until another reading is due, and at least for `pause` seconds; True to end."""
        began = time.monotonic()

        def passed() -> float:
            return time.monotonic() - began

        with self._wake:
            self._wake.wait_for(self._ended.is_set, pause)
            while not self._ended.is_set() and passed() < QUIET_PAUSE:
                due = pause if self._watchers else max(pause, UNWATCHED_PAUSE)
                if self._changed and passed() >= due:
                    break
                self._wake.wait((due if self._changed else QUIET_PAUSE) - passed())
            return self._ended.is_set()

    def _show(self, reading: Reading | None, error: Exception | None) -> None:
        said = str(error) if isinstance(error, EdwError) else 'the log of dashboard.py says why'
        html = render.html(
            'live.html',
            reading=reading,
            error=None if error is None else redact(said),
            now=time.time(),
            lease=self._databases.settings.lease,
        )
        snapshot = Snapshot(reading, error, html)
        try:
            self._loop.call_soon_threadsafe(self._publish, snapshot)
        except RuntimeError:
            log.debug('the server has ended, nobody is there to be told')


def read(database: Database) -> Reading:
    """What the first page shows."""
    now = status.read(database)
    counts = status.throughput(database, charts.HOURS)
    plot = charts.plot(counts, [step.name for step in now.steps], now.time)
    return Reading(now, plot, status.runs(database, RUNS))
