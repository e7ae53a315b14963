"""The shared listener: follow the feed, query the view, hand documents to a callback.

A step is a script of a few lines::

    import listener

    def callback(doc):
        return {'file': ..., 'log': ...}        # becomes an entry of doc['process']

    if __name__ == '__main__':
        raise SystemExit(listener.main(callback, name='my_step', after='signal_processing', failed='my step failed'))

The view is the truth: it is read at the start, whenever something is in doubt, and once a minute. After that the
feed brings each document that comes to wait. No place in the feed is ever stored, and a feed that is cut, rewound
or replayed can cost time, but never a document.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from edw import cli, config, logs
from edw.claiming import results
from edw.claiming.claimant import Claimant
from edw.database import design, views
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, LoginRefused, NotFound, Unavailable
from edw.listening.engines import Callback, Executor, InThread
from edw.listening.events import Inbox
from edw.listening.feed import Feed
from edw.listening.in_flight import QUICK, InFlight
from edw.listening.intake import Intake
from edw.listening.metrics import UNHEARD, Metrics, waiting
from edw.listening.processes import InProcess
from edw.listening.steps import Step
from edw.logs import short_sequence
from edw.model.documents import Document

SWEEP_INTERVAL = 60.0  # seconds after which the view is looked at whatever the feed says
MAX_NAMED = 5  # documents that one warning names

log = logging.getLogger('listener')
T = TypeVar('T')


def main(callback: Callback, *, name: str, after: str | int, failed: str) -> int:
    """Run a step as a script: read the command line, listen until a signal, return the exit code.

    `callback` gets a document and returns its entry for `process`, a dict. `name` is the step's own name,
    `after` that of the step before it, or 0; `failed` is the status of documents that the step fails on.
    """
    return cli.ending(lambda: _listen(callback, Step(name, after, failed)))


def run(
    callback: Callback,
    *,
    name: str,
    after: str | int,
    failed: str,
    settings: config.Settings | None = None,
    workers: int | None = None,
    batch: int | None = None,
    once: bool = False,
    timeout: float | None = None,
) -> int:
    """The same as `main` for callers in Python: no command line, no signals, and errors are raised.

    Returns how many documents the step failed on. Raises EdwError for what no waiting mends.
    """
    settings = settings or config.load()
    return Listener(
        callback,
        Step(name, after, failed),
        settings,
        workers=workers or settings.workers,
        batch=batch or settings.batch,
        once=once,
        timeout=timeout,
    ).run()


def settings() -> config.Settings:
    """The settings that a callback works with: those of its listener, else those of edw.ini."""
    return config.current.get(None) or config.load()


def _listen(callback: Callback, step: Step) -> int:
    arguments = cli.listener_parser(step.name, step.after).parse_args()
    logs.set_up(arguments.level)
    settings = config.load(arguments.config)
    listener = Listener(
        callback,
        step,
        settings,
        workers=arguments.workers or settings.workers,
        batch=arguments.batch or settings.batch,
        once=arguments.once,
        timeout=arguments.timeout,
        metrics=_exporter(step, *arguments.metrics) if arguments.metrics else UNHEARD,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: listener.stop())
    return 1 if listener.run() and arguments.once else 0


def _exporter(step: Step, host: str, port: int) -> Metrics:
    from edw.listening import exporter

    metrics = exporter.Exporter(step)
    exporter.serve(metrics, host, port)
    return metrics


def _executors(callback: Callback, settings: config.Settings, workers: int, timeout: float | None) -> list[Executor]:
    if timeout is None:
        return [InThread(callback, settings) for _ in range(workers)]
    return [InProcess(callback, settings, timeout) for _ in range(workers)]


class GivenUp(Exception):
    """The listener was told twice to stop."""


class Stopping(Exception):
    """The listener was told to stop: what it asked for is not needed any more, but callbacks still run."""


class Listener:
    """The loop of one step.

    Everything that happens elsewhere, in the feed, in the callbacks' threads, in a signal handler, arrives
    in one inbox as a function that only changes this object's state. Requests are made by the loop alone.
    """

    def __init__(
        self,
        callback: Callback,
        step: Step,
        settings: config.Settings,
        *,
        workers: int,
        batch: int,
        once: bool,
        timeout: float | None = None,
        metrics: Metrics = UNHEARD,
    ) -> None:
        self._step = step
        self._settings = settings
        self._once = once
        self._database = Database(settings)
        self._metrics = metrics
        self._claimant = Claimant(self._database, step.name, self._metrics)
        self._outage = Outage(self._metrics.outage, self._metrics.reached)
        self._inbox = Inbox[Callable[[], object]]()
        self._in_flight = InFlight(
            _executors(callback, settings, workers, timeout),
            step,
            settings,
            batch=batch,
            report=lambda outcome: self._inbox.put(lambda: self._in_flight.finish(outcome)),
            metrics=self._metrics,
        )
        self._metrics.follow(self._claimant.worker, lambda: len(self._in_flight))
        # One that ends when nothing waits any more cannot stand by.
        self._intake = Intake(
            self._database, step, settings, self._claimant, self._in_flight, self._insist, may_stand_by=not once
        )
        self._sweep_due = -math.inf  # monotonic time
        self._last_turn = time.monotonic()  # of the loop
        self._unplaced: list[str] = []
        self._stopping = False

    def stop(self) -> None:
        """Take nothing new, finish what runs, and return; called again, give up what runs. Safe in a signal handler."""
        self._inbox.put(self._told_to_stop)

    def run(self) -> int:
        """Listen until told to stop. Returns how many documents the step failed on."""
        try:
            with contextlib.suppress(Stopping):
                self._start()
            while not self._is_done():
                # A turn that is broken off is followed by one that only finishes what runs.
                with contextlib.suppress(Stopping):
                    self._turn()
        except GivenUp:
            self._give_up()
        except LoginRefused:
            raise  # not another request: a server may lock the address out after a few refused ones
        except EdwError as error:
            self._give_up()
            if type(error) is NotFound:
                # A database that is being deleted may not say so yet, but only that something in it is missing.
                with contextlib.suppress(Unavailable):
                    self._check_design()
            raise
        finally:
            self._intake.end()
            self._in_flight.end()
            self._claimant.end(holds_claims=bool(self._in_flight))
        return self._in_flight.failed

    def _turn(self) -> None:
        self._notice_a_pause()
        if self._sweep_is_due():
            self._sweep()
        self._in_flight.resume_rested()
        if self._intake.can_take:
            self._intake.take()
        if self._in_flight.is_quick:
            self._handle(QUICK)  # so that a result is on its way before the feed is asked for more
        if time.monotonic() >= self._claimant.watch_due:
            watch = partial(self._claimant.watch, holds_claims=bool(self._in_flight))
            self._insist(watch, even_when_stopping=True)
        if self._in_flight.write_is_due:
            self._write()
        self._intake.watch()
        if self._stopping:
            self._in_flight.withdraw()  # a document that failed meanwhile is not tried again now
        self._wait()

    def _start(self) -> None:
        self._insist(self._check_design)
        if not self._once:
            self._claimant.start()
        after = self._step.after
        documents_wanted = 'new documents' if after == 0 else f'documents after {after}'
        sequence = short_sequence(self._insist(self._database.info)['update_seq'])
        log.info('%s: listening for %s from sequence: %s', self._step.name, documents_wanted, sequence)
        feed = Feed(
            self._settings,
            self._step.after,
            self._outage,
            on_page=lambda page: self._inbox.put(lambda: self._intake.catch(page)),
            on_end=lambda error: self._inbox.put(lambda: _throw(error)),
            by_selector=self._insist(self._database.knows_selectors),
        )
        self._intake.follow(feed)

    def _check_design(self) -> None:
        lastproc = self._settings.viewname.split('/')[-1]
        needed = (lastproc, views.CLAIMS, views.UNPLACED, *self._metrics.views)
        design.check(self._database, views=needed, filters=(design.FILTER,))

    def _write(self) -> None:
        """Write back what was finished, and claim what comes next, all in one request."""
        updates = self._in_flight.unwritten
        written: results.Written = []

        def write_with(claimed: list[Document]) -> list[dict[str, Any]]:
            nonlocal written
            written, rows = results.write_along(self._database, updates, self._step.after, claimed)
            return rows

        won = self._intake.claim(self._intake.next_along(), write_with)
        if not written:
            self._insist(lambda: write_with([]), even_when_stopping=True)
        self._in_flight.settle(written, self._claimant.worker)
        self._in_flight.submit(won)
        if None in written:
            self._intake.look_due = True  # for a document that was passed over while it ran here
            self._ask_whose_they_are()  # a claim was lost: the others may be, too
        self._claimant.tell(holds_claims=bool(self._in_flight))

    def _sweep(self) -> None:
        """Look whatever the feed says, and for what no feed tells."""
        self._sweep_due = time.monotonic() + SWEEP_INTERVAL
        self._intake.look_due = True
        self._claimant.set_aside.clear()
        self._in_flight.submit(self._insist(lambda: self._claimant.left_over(self._in_flight.ids)))
        unplaced = self._insist(lambda: design.unplaced(self._database, MAX_NAMED))
        if unplaced and unplaced != self._unplaced:
            log.warning('good documents that no step will ever see: %s', '; '.join(unplaced))
        self._unplaced = unplaced
        self._metrics.swept(lambda: self._insist(lambda: waiting(self._database, self._step.after)))

    def _notice_a_pause(self) -> None:
        """See whether this process has not run for a lease's time, as when it was stopped or its machine slept."""
        paused = time.monotonic() - self._last_turn
        self._last_turn = time.monotonic()
        if paused >= self._settings.lease:
            log.warning('no turn for %.0f s', paused)
            self._ask_whose_they_are()

    def _ask_whose_they_are(self) -> None:
        """Of the documents that wait for a callback, keep those that are still claimed by this worker.

        Others may have taken them over meanwhile. Their results would be refused, but the work would be done twice.
        """
        waiting = self._in_flight.take_back()
        if waiting:
            kept = self._insist(lambda: self._claimant.unknown(self._in_flight.ids), even_when_stopping=True)
            log.warning('of %d documents that waited here, %d are still claimed', len(waiting), len(kept))
            self._in_flight.submit(kept)

    def _wait(self) -> None:
        """Wait for the next thing that happens, or the next thing that is due."""
        now_due = self._is_done() or self._sweep_is_due() or self._intake.can_take or self._in_flight.write_is_due
        sweep_due = math.inf if self._stopping else self._sweep_due
        due = min(sweep_due, self._claimant.watch_due, self._in_flight.next_due, self._intake.next_due)
        self._handle(0.0 if now_due else max(0.0, due - time.monotonic()))

    def _is_done(self) -> bool:
        return not self._in_flight and (self._stopping or (self._once and self._intake.is_empty))

    def _sweep_is_due(self) -> bool:
        return not self._stopping and time.monotonic() >= self._sweep_due

    def _told_to_stop(self) -> None:
        if self._stopping:
            raise GivenUp
        self._stopping = True
        self._intake.close()
        self._in_flight.withdraw()
        running = self._in_flight.running
        log.info('stopping%s', f', after the {running} that still run' if running else '')

    def _insist(self, request: Callable[[], T], even_when_stopping: bool = False) -> T:
        """Answer of the server, waited for as long as it takes, or until there is no use in it any more."""

        def pause(seconds: float) -> bool:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0 and (even_when_stopping or not self._stopping):
                self._handle(left)
            return self._stopping and not even_when_stopping

        try:
            return Retry(pause, self._outage)(request)
        except Unavailable:
            raise Stopping from None

    def _handle(self, timeout: float) -> None:
        for event in self._inbox.take(timeout):
            event()

    def _give_up(self) -> None:
        """Release all that is claimed, in one request, and no more than that."""
        log.warning('giving up %d that still run', self._in_flight.running)
        self._in_flight.give_up()
        updates = self._in_flight.unwritten
        try:
            if updates:
                written = results.write(self._database, updates, self._step.after)
                self._in_flight.settle(written, self._claimant.worker)
        except EdwError as error:
            log.error('%d documents stay claimed by %s: %s', len(updates), self._claimant.worker, error)


def _throw(error: EdwError) -> None:
    raise error
