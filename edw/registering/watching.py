"""Watching a folder: each data file gets its document as soon as acquisition has finished it."""

from __future__ import annotations

import logging
import math
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, Unavailable
from edw.inbox import Inbox, StopRequest
from edw.registering import arrivals, catalogue
from edw.registering.arrivals import Arrivals
from edw.registering.catalogue import ReadConditions, Registered
from edw.registering.settling import Settling

SCAN_INTERVAL = 60.0  # seconds after which the folder is looked through whatever the system tells of it
FOLDER_INTERVAL = 1.0  # seconds between two looks whether the folder is still the same; one `stat` each
SLICE = 20  # files that are registered before the next look at what else happened
MAX_NAMED = 5  # files that one line of the log names

log = logging.getLogger(__name__)
Place = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Finished:
    """The system told that a file of the folder is finished."""

    name: str


class Watcher:
    """The loop of one folder.

    A file is registered when the system tells that it is finished. What it does not tell, of network file systems,
    or of what was there before, is found by looking through the folder at the start and every SCAN_INTERVAL; such
    files are registered when they have not changed for the time to settle.

    What happens elsewhere, in the thread that the system tells of files, or in a signal handler, arrives in one
    inbox. Requests are made by the loop alone.
    """

    def __init__(self, database: Database, folder: Path, settle: float, read_conditions: ReadConditions) -> None:
        self._database = database
        self._folder = folder.absolute()
        self._settle = settle
        self._settling = Settling(settle)
        self._read_conditions = read_conditions
        self._retry = Retry(self._wait, Outage(), believes_at_once=False)
        self._inbox: Inbox[Finished | StopRequest] = Inbox()
        self._arrivals: Arrivals | None = None
        self._place: Place | None = None  # None: the folder is not there
        self._finished: dict[str, None] = {}  # names of files that the system told of, in their order
        self._done: set[str] = set()  # names of files that need no further look
        self._complaints: set[str] = set()  # that were made, so that no scan repeats them
        self._scan_due = -math.inf  # monotonic time
        self._stopping = False

    def stop(self) -> None:
        """Finish what is under way, and return. Safe in a signal handler."""
        self._inbox.put(StopRequest())

    def run(self) -> None:
        """Watch until told to stop. Raises EdwError where there is no such folder, and for permanent errors."""
        catalogue.data_files(self._folder)
        try:
            self._retry(self._database.info)
            while not self._stopping:
                self._look_at_the_folder()
                if self._finished:
                    self._register_finished()
                elif self._place is not None and time.monotonic() >= self._scan_due:
                    self._scan()
                self._handle_events(0.0 if self._finished or self._stopping else FOLDER_INTERVAL)
        except Unavailable:
            return  # told to stop; what is not registered is found at the next start
        finally:
            self._end_arrivals()

    def _look_at_the_folder(self) -> None:
        """See whether the folder is the one that is watched; it may be deleted, made anew, unmounted and mounted."""
        place = _place_of(self._folder)
        deaf = self._arrivals is not None and not self._arrivals.are_told()
        if place == self._place and not deaf:
            return
        self._end_arrivals()
        if place is None:
            log.warning('%s is gone; waiting for it to come back', self._folder)
        elif self._scan_due > -math.inf:
            log.warning('%s is %s', self._folder, 'another folder now' if self._place else 'there again')
        self._place = place
        if place is not None:
            self._done.clear()
            # Before the scan, so that no file falls between the two.
            self._arrivals = self._begin_arrivals()
            self._scan_due = min(self._scan_due, time.monotonic())

    def _begin_arrivals(self) -> Arrivals | None:
        reason = 'this system does not tell when a file is closed'
        if arrivals.TOLD:
            try:
                return Arrivals(self._folder, lambda name: self._inbox.put(Finished(name)))
            except OSError as error:
                reason = error.strerror or str(error)
        log.warning('%s: %s; looking through it every %.0f s', self._folder, reason, SCAN_INTERVAL)
        return None

    def _end_arrivals(self) -> None:
        if self._arrivals is not None:
            self._arrivals.end()
            self._arrivals = None

    def _register_finished(self) -> None:
        names = list(self._finished)[:SLICE]
        for name in names:
            del self._finished[name]
        # Renamed or deleted since, or none of ours.
        files = [self._folder / name for name in names if catalogue.is_data_file(self._folder / name)]
        self._register(files)

    def _scan(self) -> None:
        """Register what is there, and what the system did not tell of."""
        first = self._scan_due == -math.inf
        try:
            files = catalogue.data_files(self._folder)
        except EdwError:
            return  # gone: the next look at the folder says so
        self._done &= {file.name for file in files}
        new = [file for file in files if file.name not in self._done]
        settled = self._settling.settled(new)
        wait = SCAN_INTERVAL if len(settled) == len(new) else min(SCAN_INTERVAL, max(FOLDER_INTERVAL, self._settle))
        self._scan_due = time.monotonic() + wait
        done = Registered()
        for start in range(0, len(settled), SLICE):
            done.add(self._register(settled[start : start + SLICE]))
            self._handle_events(0.0)
            if self._stopping:
                return
        if first:
            log.info(
                'watching %s: registered %d files, %d had a document already, %d changed in the last %g s',
                self._folder,
                done.new,
                len(done.known),
                len(new) - len(settled),
                self._settle,
            )

    def _register(self, files: list[Path]) -> Registered:
        if not files:
            return Registered()
        done = self._retry(catalogue.register_files, self._database, files, self._read_conditions)
        handled = [file.name for file in files if file.name not in done.failed]
        if done.new:
            new = [name for name in handled if name not in done.known]
            more = f' and {len(new) - MAX_NAMED} more' if len(new) > MAX_NAMED else ''
            log.info('registered %s%s', ', '.join(new[:MAX_NAMED]), more)
        self._done.update(handled)
        for complaint in done.failed.values():
            if complaint not in self._complaints:
                log.error('%s', complaint)
        self._complaints |= set(done.failed.values())
        return done

    def _handle_events(self, timeout: float) -> None:
        """Take note of all that has happened; wait up to `timeout` seconds for the first of it."""
        for event in self._inbox.take(timeout):
            match event:
                case Finished(name):
                    self._finished[name] = None
                case StopRequest():
                    self._stopping = True
                    log.info('stopping')

    def _wait(self, seconds: float) -> bool:
        """Wait while the server is away; True when told to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopping:
            self._handle_events(left)
        return self._stopping


def _place_of(folder: Path) -> Place | None:
    """What tells a folder from another one of its name; None where there is none, or where it cannot be reached."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
