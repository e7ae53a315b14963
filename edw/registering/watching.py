"""Watching a folder: each data file gets its document as soon as acquisition has finished it."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, Unavailable
from edw.inbox import Inbox, StopRequest
from edw.registering import arrivals, catalogue, folders, names, runs
from edw.registering.arrivals import Arrival, Arrivals, Finished, LookAgain, Unwatched
from edw.registering.contents import Settling, State
from edw.registering.folders import DataFile, Selection
from edw.registering.registration import Registered, Registrar

SCAN_INTERVAL = 60.0  # seconds after which the folder is looked through whatever the system tells of it
FOLDER_INTERVAL = 1.0  # seconds between two looks whether the folder is still the same; one `stat` each
SLICE = 20  # files that are registered before the next look at what else happened
MAX_NAMED = 5  # files that one line of the log names

log = logging.getLogger(__name__)
Place = tuple[int, int]  # device and inode


class Watcher:
    """The loop of one folder.

    A file is registered when the system tells that it is finished. What it does not tell, of network file systems,
    or of what was there before, is found by looking through the folder at the start and every SCAN_INTERVAL; such
    files are registered when they have not changed for the time to settle. Where acquisition writes marks, a file is
    registered when its mark is there, whatever the system tells.

    A run is closed when its mark is there, or else when there is a file of the next run of the same machine. Files of
    it that come late even so are registered as all others.

    What happens elsewhere, in the thread that the system tells of files, or in a signal handler, arrives in one
    inbox. Requests are made by the loop alone.
    """

    def __init__(
        self, database: Database, registrar: Registrar, folder: Path, selection: Selection, settle: float
    ) -> None:
        self._database = database
        self._registrar = registrar
        self._folder = folder.absolute()
        self._selection = selection
        self._settle = settle
        self._settling = Settling(settle)
        self._retry = Retry(self._wait, Outage(), believes_at_once=False)
        self._inbox: Inbox[Arrival | StopRequest] = Inbox()
        self._arrivals: Arrivals | None = None
        self._place: Place | None = None  # None: the folder is not there
        self._finished: dict[Path, None] = {}  # files that the system told of, in their order
        self._done: dict[Path, State] = {}  # files that need no further look until they change
        self._deletions: object = None  # of documents, as of the last scan
        self._changed: set[Path] = set()  # that it was said of; of a file that grows, not at each look
        self._complaints: set[str] = set()  # that were made, so that no scan repeats them
        self._runs: set[str] = set()  # that files have been seen of
        self._unclosed: set[str] = set()  # those of them for which it was not yet looked which run is over
        self._scan_due = -math.inf  # monotonic time
        self._stopping = False

    def stop(self) -> None:
        """Finish what is under way, and return. Safe in a signal handler."""
        self._inbox.put(StopRequest())

    def run(self) -> None:
        """Watch until told to stop. Raises EdwError where there is no such folder, and for permanent errors."""
        folders.look(self._folder, Selection())
        try:
            log.info('database %s', self._retry(self._database.place))
            self._retry(self._database.info)
            while not self._stopping:
                self._look_at_the_folder()
                if self._finished:
                    self._register_finished()
                elif self._place is not None and time.monotonic() >= self._scan_due:
                    self._scan()
                if self._unclosed and not (self._finished or self._stopping):
                    self._close_runs()
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
                return Arrivals(self._folder, self._selection.recursive, self._inbox.put)
            except OSError as error:
                reason = error.strerror or str(error)
        self._say_unwatched(self._folder, reason)
        return None

    def _end_arrivals(self) -> None:
        if self._arrivals is not None:
            self._arrivals.end()
            self._arrivals = None

    def _register_finished(self) -> None:
        paths = list(self._finished)[:SLICE]
        for path in paths:
            del self._finished[path]
        if self._selection.done_mark is None:
            # Renamed or deleted since, or none of ours.
            found = [folders.data_file(path, self._selection) for path in paths]
            self._register([file for file in found if file is not None])
        else:
            # Any of them may be the mark of another one.
            beside = dataclasses.replace(self._selection, recursive=False)
            for folder in dict.fromkeys(path.parent for path in paths):
                try:
                    marked = folders.look(folder, beside).files
                except EdwError:
                    continue  # gone since
                self._register(self._to_do(marked))

    def _scan(self) -> None:
        """Register what is there, and what the system did not tell of."""
        first = self._scan_due == -math.inf
        try:
            found = folders.look(self._folder, self._selection)
        except EdwError as error:
            if _place_of(self._folder) == self._place:
                self._complain([str(error)])
            self._scan_due = time.monotonic() + SCAN_INTERVAL
            return  # gone: the next look at the folder says so
        self._complain(found.failed.values())
        present = {file.path for file in found.files}
        self._done = {path: state for path, state in self._done.items() if path in present}
        self._forget_deleted()
        done, waiting = self._retry(self._registrar.sift, self._to_do(found.files))
        self._note(done, found.files)
        settled = waiting
        if self._selection.done_mark is None:
            paths = set(self._settling.settled({file.path: file.state for file in waiting}))
            settled = [file for file in waiting if file.path in paths]
        left = len(waiting) - len(settled)
        wait = SCAN_INTERVAL if not left else min(SCAN_INTERVAL, max(FOLDER_INTERVAL, self._settle))
        self._scan_due = time.monotonic() + wait
        for start in range(0, len(settled), SLICE):
            done.add(self._register(settled[start : start + SLICE]))
            self._handle_events(0.0)
            if self._stopping:
                return
        if first:
            log.info(
                'watching %s: registered %d file%s, %d had a document already, %d may still change%s',
                self._folder,
                len(done.new),
                's' * (len(done.new) != 1),
                len(done.known),
                left + len(found.unmarked) + len(done.unsettled),
                f'; passed over {folders.listed(found.passed)}' if found.passed else '',
            )

    def _close_runs(self) -> None:
        """Close the runs that are over, as what was seen since the last time tells.

        Also of files that had a document before: a watch that was killed may have made it.
        """
        over = self._unclosed
        if self._selection.has_own_runs and not self._selection.is_run_marked:
            over = set()  # no order of such names is known: --close
        elif not self._selection.is_run_marked:
            before = (self._retry(runs.run_before, self._database, run) for run in self._unclosed)
            over = {run for run in before if run is not None}
        closed, wrong = self._retry(catalogue.close_runs, self._database, over, time.time())
        self._unclosed = set()
        self._complain(wrong)
        if closed:
            more = f' and {len(closed) - MAX_NAMED} more' if len(closed) > MAX_NAMED else ''
            log.info('closed %s%s', ', '.join(closed[:MAX_NAMED]), more)

    def _to_do(self, files: Sequence[DataFile]) -> list[DataFile]:
        return [file for file in files if self._done.get(file.path) != file.state]

    def _forget_deleted(self) -> None:
        """Have files whose documents were deleted looked at again: they get new ones, as by any other look."""
        deletions = self._retry(catalogue.deletions, self._database)
        if deletions != self._deletions:
            ids = {names.id_of(path.name) for path in self._done}
            missing = self._retry(catalogue.missing, self._database, ids)
            self._done = {path: state for path, state in self._done.items() if names.id_of(path.name) not in missing}
        self._deletions = deletions

    def _register(self, files: list[DataFile]) -> Registered:
        if not files:
            return Registered()
        done = self._retry(self._registrar.register, files)
        for said, paths in (('registered', done.new), ('registered anew', done.anew)):
            if paths:
                named = [str(path.relative_to(self._folder)) for path in paths[:MAX_NAMED]]
                more = f' and {len(paths) - MAX_NAMED} more' if len(paths) > MAX_NAMED else ''
                log.info('%s %s%s', said, ', '.join(named), more)
        if done.to_requeue:
            log.warning('failed before, so requeue: python reprocess.py %s --failed', ' '.join(done.to_requeue))
        self._note(done, files)
        return done

    def _note(self, done: Registered, files: Sequence[DataFile]) -> None:
        handled = {*done.new, *done.anew, *done.known, *done.refused, *done.changed}
        self._done.update({file.path: file.state for file in files if file.path in handled})
        of_files = {self._selection.run_of(path) for path in (*done.new, *done.anew, *done.known)}
        self._unclosed |= {run for run in of_files if run is not None} - self._runs
        self._runs |= self._unclosed
        self._complain([*done.refused.values(), *done.failed.values()])
        self._complain(text for path, text in done.changed.items() if path not in self._changed)
        self._changed = (self._changed | done.changed.keys()).difference(done.new, done.anew, done.known)

    def _complain(self, complaints: Iterable[str]) -> None:
        for complaint in complaints:
            if complaint not in self._complaints:
                log.error('%s', complaint)
                self._complaints.add(complaint)

    def _say_unwatched(self, folder: Path, reason: str) -> None:
        log.warning('%s: %s; looking through it every %.0f s', folder, reason, SCAN_INTERVAL)

    def _handle_events(self, timeout: float) -> None:
        """Take note of all that has happened; wait up to `timeout` seconds for the first of it."""
        for event in self._inbox.take(timeout):
            match event:
                case Finished(path):
                    self._finished[path] = None
                case LookAgain():
                    # A moment later: folders come in numbers.
                    self._scan_due = min(self._scan_due, time.monotonic() + FOLDER_INTERVAL)
                case Unwatched(folder, reason):
                    self._say_unwatched(folder, reason)
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
