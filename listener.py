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
import random
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial

from edw import cli, config, logs, software
from edw.claiming.claimant import Claimant
from edw.claiming.heartbeat import Heartbeat
from edw.claiming.peers import passed
from edw.database import design, views
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.engines import choice
from edw.engines.callbacks import Callback, When
from edw.engines.engine import CannotRun, Running, Workers
from edw.errors import EdwError, LoginRefused, NotFound, TryLater, Unavailable
from edw.inbox import Inbox, StopRequest
from edw.listening import options, place
from edw.listening.feed import Feed, FeedFailed, Page
from edw.listening.in_flight import InFlight
from edw.listening.intake import FIRST_REST, Intake
from edw.listening.metrics import UNHEARD, Metrics
from edw.listening.policy import NEVER, NOW, Policy
from edw.listening.steps import Step
from edw.logs import short_sequence
from edw.model import listeners
from edw.telling.farms import FARM, FarmStatus
from edw.telling.presence import Presence
from edw.telling.teller import Teller

SWEEP_INTERVAL = 60.0  # seconds after which the view is looked at whatever the feed says
MAX_NAMED = 5  # documents that one warning names
FEED_PATIENCE = 60.0  # seconds in which the feed may fail for good once, if the database itself has no objection
PATIENCE = 30.0  # seconds that a callback waits for an answer of the server, before its document goes back

# What batch systems send before they kill. Counted once: beyond its soft limit a process gets SIGXCPU every second.
BATCH_SIGNALS = (signal.SIGUSR1, signal.SIGXCPU)

log = logging.getLogger('listener')


def main(
    callback: Callback,
    *,
    name: str,
    after: str | int,
    failed: str,
    version: str = '1',
    packages: tuple[str, ...] = (),
    when: When | None = None,
    engine: str = config.THREADS,
    argv: Sequence[str] | None = None,
) -> int:
    """Run a step as a script: read the command line, listen until a signal, return the exit code.

    `callback` gets a document and returns its entry for `process`, a dict. `name` is the step's own name,
    `after` that of the step before it, or 0; `failed` is the status of documents that the step fails on for good.
    `version` is the step's own, to be counted up when it does something else than before, and `packages` names those
    whose versions each entry tells. `when` gets a document and returns True, or else the reason to skip it. `engine` is
    where callbacks run by default: in `threads`, or in `processes`.
    """
    return cli.ending(lambda: _listen(callback, Step(name, after, failed, version, packages, when), engine, argv))


def run(
    callback: Callback,
    *,
    name: str,
    after: str | int,
    failed: str,
    version: str = '1',
    packages: tuple[str, ...] = (),
    when: When | None = None,
    settings: config.Settings | None = None,
    workers: int | None = None,
    batch: int | None = None,
    once: bool = False,
    engine: str | None = None,
    timeout: float | None = None,
    instead_of: Collection[str] = (),
) -> int:
    """The same as `main` for callers in Python: no command line, no signals, and errors are raised.

    `timeout` is in seconds, and for processes. Returns how many documents the step failed on. Raises EdwError for
    permanent errors.
    """
    settings = settings or config.load()
    return Listener(
        callback,
        Step(name, after, failed, version, packages, when),
        settings,
        workers=workers or settings.workers,
        batch=batch or settings.batch,
        once=once,
        engine=choice.engine_of(config.THREADS, engine, timeout, settings.engine),
        timeout=timeout,
        instead_of=instead_of,
    ).run()


def settings() -> config.Settings:
    """The settings that a callback works with: those of its listener, else those of edw.ini."""
    return config.current.get(None) or config.load()


def database() -> Database:
    """The database of the listener, for a callback that needs other documents than its own: to read, not to write.

    A new one for each callback, as it is not to be shared between threads. Its requests wait PATIENCE for their answer
    and then raise Unavailable; a callback that lets it pass is as one that raises TryLater. Raises TryLater on nodes of
    a farm, which are told no password: a server may lock out an address after a few logins without one.
    """
    found = settings()
    if found.username and not found.password:
        raise TryLater(f'no password for {found.server} here, as on nodes of a farm: give --engine processes instead')
    return Database(found, Retry(threading.Event().wait, patience=PATIENCE))


class BrokenOff(Exception):
    """The listener was told twice to stop: what runs is broken off."""


class NothingLeft(Exception):
    """The listener was told to stop while it waited for the server, and nothing is left to write."""


class Listener:
    """The loop of one step.

    Everything that happens elsewhere, in the feed, in the engine, in a signal handler, arrives in one inbox as a value.
    Requests are made by the loop alone, but for the feed's.
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
        engine: str = config.THREADS,
        timeout: float | None = None,
        farm: str = '',
        insecure: bool = False,
        instead_of: Collection[str] = (),
        order: views.Order = views.ORDERS[views.OLDEST],
        duration: float = math.inf,
        limit: float = math.inf,
        metrics: Metrics = UNHEARD,
    ) -> None:
        """0 `workers` are as many as the engine makes by itself.

        Nothing is claimed after `duration` seconds, or when `limit` documents were.
        """
        self._step = step
        self._instead_of = instead_of
        self._order = order
        self._settings = settings
        self._once = once
        self._metrics = metrics
        self._database = Database(settings)
        outage = Outage(metrics.outage, metrics.reached)
        self._retry = Retry(self._wait_for_server, outage, believes_at_once=False)
        self._inbox: Inbox[Page | FeedFailed | Running | StopRequest | Workers | CannotRun] = Inbox()
        name = listeners.new_name()
        # One that ends when nothing waits any more cannot leave documents to others.
        self._policy = Policy(name, batch, clock=time.monotonic, uniform=random.Random().uniform, may_back_off=not once)
        self._feed = Feed(Database(settings), step.after, outage, self._inbox)
        # One that ends when nothing waits any more tries each document once.
        self._intake = Intake(
            self._database, step.after, self._feed, first_rest=math.inf if once else FIRST_REST, order=order
        )
        made_by = software.here(step.packages)  # as it is now; what lies in the folder later may be newer
        presence = Presence(
            name,
            step.name,
            step.after,
            FARM if farm else engine,
            choice.workers_of(engine, workers, farm),
            {**made_by, 'step': step.version},
            time.time(),
        )
        self._claimant = Claimant(self._database, step.name, step.after, Heartbeat(settings, presence))
        tell, packages = self._inbox.put, step.packages
        self._engine = choice.start(
            engine, callback, settings, workers, timeout, tell, packages, farm=farm, insecure=insecure
        )
        self._in_flight = InFlight(self._engine, step, settings, self._policy, metrics, self._inbox)
        self._sweep_at = NOW  # monotonic time
        self._last_turn = passed()
        self._feed_failed_at = -NEVER  # monotonic time
        self._unplaced: list[str] = []
        self._teller = Teller(self._database, self._retry, name, step.name, step.after)
        self._end_at = time.monotonic() + duration
        self._left = limit  # documents that may be claimed
        self._stopping = False
        self._told_to_stop = False
        # What one brings is met by the next in the same turn. The feed, by which documents come, is polled last: what
        # can be written is written before the server has to look for more.
        self._parts: tuple[tuple[Callable[[], float], Callable[[], None]], ...] = (
            (self._end_due, self._stop_claiming),
            (self._sweep_due, self._sweep),
            (self._rest_due, self._in_flight.resume),
            (self._wake_due, self._intake.wake),
            (self._look_due, self._look),
            (self._exchange_due, self._exchange),
            (self._peers_due, self._check_peers),
            (self._wait_due, self._tell_of_wait),
            (self._farm_due, self._tell_of_farm),
            (self._poll_due, self._poll),
        )
        metrics.follow(self._claimant.name, self._in_flight.__len__)

    def stop(self) -> None:
        """Claim nothing new, finish what runs, and return; called again, break it off. Safe in signal handlers."""
        self._inbox.put(StopRequest())

    def run(self) -> int:
        """Listen until told to stop. Returns how many documents the step failed on for good, or had to put off."""
        try:
            with contextlib.suppress(NothingLeft):
                self._start()
                while not self._is_done():
                    self._turn()
        except BrokenOff:
            self._break_off()
        except LoginRefused:
            raise  # no request to release anything: a server may lock the address out after a few refused ones
        except EdwError as error:
            self._break_off()
            if type(error) is NotFound:
                # A database that is being deleted may not say so yet, but only that something in it is missing.
                with contextlib.suppress(Unavailable):
                    self._check_design()
            raise
        finally:
            self._feed.end()
            self._in_flight.close()  # nothing more begins; the heartbeat process releases what is left
            self._in_flight.end()
            self._claimant.end(self._in_flight.holds_claims)
            self._teller.withdraw()
        return self._in_flight.failed + len(self._in_flight.put_off)

    def _start(self) -> None:
        self._retry(self._check_design)
        self._retry(place.check, self._database, self._step, self._instead_of)
        if not self._once:
            self._claimant.start()
        log.info('%s: database %s', self._step.name, self._retry(self._database.place))
        after = self._step.after
        documents_wanted = 'new documents' if after == 0 else f'documents after {after}'
        sequence = short_sequence(self._retry(self._database.info)['update_seq'])
        log.info('%s: listening for %s from sequence: %s', self._step.name, documents_wanted, sequence)
        self._feed.open(by_selector=self._retry(self._database.knows_selectors))

    def _turn(self) -> None:
        """Do what is due, and sleep until something happens or the next is due."""
        self._notice_a_pause()
        for due, act in self._parts:
            if due() <= time.monotonic():
                act()
        if not self._is_done():
            self._handle_events(min(due() for due, _ in self._parts) - time.monotonic())

    def _is_done(self) -> bool:
        return self._may_end() or (self._once and self._intake.is_empty and not self._in_flight)

    def _handle_events(self, timeout: float) -> None:
        """Handle all that has happened; wait up to `timeout` seconds for the first of it."""
        for event in self._inbox.take(timeout):
            match event:
                case Page():
                    self._policy.page_came()
                    self._intake.catch(event)
                case Future():
                    if (ended := self._in_flight.finish(event)) is not None:
                        if ended.is_away:
                            self._intake.rest(ended.doc, self._policy.wait.waits)
                        else:
                            self._intake.done(ended.doc)
                case Workers(number):
                    self._policy.workers_are(number)
                case FeedFailed(error):
                    self._doubt(error)
                case CannotRun(error):
                    raise error
                case StopRequest():
                    if self._told_to_stop:
                        raise BrokenOff
                    self._told_to_stop = True
                    self._stop_claiming()

    def _end_due(self) -> float:
        return NEVER if self._stopping else self._end_at

    def _stop_claiming(self) -> None:
        self._stopping = True
        self._in_flight.close()
        running = self._in_flight.load.running
        log.info('stopping%s', f', after the {running} that still run' if running else '')

    # 1. Ask the view for documents that wait, and drop what is no longer free.

    def _look_due(self) -> float:
        return self._policy.claim_due if self._intake.needs_look and self._room() else NEVER

    def _look(self) -> None:
        look = self._policy.look(self._in_flight.load, self._retry(self._database.copies))
        choose = partial(self._policy.choose, look)
        self._retry(self._intake.look, look.rows, self._in_flight.ids, choose, self._policy.wait.waits)
        if self._policy.backs_off:
            self._intake.leave_the_rest()

    # 2. Claim them, and write what callbacks have made of those before, in one request.

    def _may_claim_at(self, writes: bool = False) -> float:
        return self._policy.claim_due if self._intake.has_waiting and self._room(writes) else NEVER

    def _exchange_due(self) -> float:
        return min(self._in_flight.write_due, self._may_claim_at())

    def _exchange(self) -> None:
        now = time.monotonic()
        writes = self._in_flight.write_due <= now
        may_claim, waits = self._may_claim_at(writes) <= now, self._policy.wait.waits
        wanted = self._intake.pick(self._room(writes), self._in_flight.ids, waits) if may_claim else []
        updates, known = self._in_flight.unwritten, self._in_flight.ids
        exchanged = self._retry(self._claimant.exchange, updates, wanted, known)
        self._metrics.claimed(exchanged.won)
        self._left -= len(exchanged.won)
        self._policy.claimed(len(exchanged.won), len(exchanged.lost), len(exchanged.refused))
        self._intake.leave_alone(exchanged.refused)
        self._in_flight.settle(exchanged.written, self._claimant.name)
        self._in_flight.submit(exchanged.won)
        if exchanged.lost:
            self._tell_of_lost(exchanged.lost, len(exchanged.won))
        if None in exchanged.written:
            self._intake.doubt()  # because of a document that was passed over while it ran here
            self._ask_whose_they_are()  # a claim was lost: the others may be, too
        self._claimant.tell(self._in_flight.holds_claims)

    def _tell_of_lost(self, lost: list[str], won: int) -> None:
        what = lost[0] if len(lost) == 1 else f'{len(lost)} of {len(lost) + won}'
        then = '; they are faster, and what comes next is left to them for a while' if self._policy.backs_off else ''
        log.info('others were first to claim or change %s%s', what, then)

    # 3. The engine runs the callback on each; 4. its outcome comes as an event, and is written by the next exchange.

    def _rest_due(self) -> float:
        return self._in_flight.rest_due

    # 5. Wait for changes since the sequence up to which all has been seen.

    def _poll_due(self) -> float:
        may_poll = self._intake.may_poll and not self._stopping
        return self._policy.poll_due(self._in_flight.load) if may_poll else NEVER

    def _poll(self) -> None:
        self._intake.poll(self._policy.page_limit)

    def _doubt(self, error: Exception) -> None:
        """Open the feed again, unless it has just failed for good, or the database says the same when it is asked."""
        if not isinstance(error, EdwError) or time.monotonic() - self._feed_failed_at < FEED_PATIENCE:
            raise error
        self._feed_failed_at = time.monotonic()
        log.warning('the feed has ended: %s', error)
        self._retry(self._check_design)
        self._feed.reopen()

    # Whatever the feed says, and for what no feed tells.

    def _sweep_due(self) -> float:
        return NEVER if self._stopping else self._sweep_at

    def _sweep(self) -> None:
        self._sweep_at = time.monotonic() + SWEEP_INTERVAL
        self._intake.try_all_again(self._policy.wait.waits)
        self._in_flight.submit(self._retry(self._claimant.left_over, self._in_flight.ids))
        unplaced = self._retry(design.unplaced, self._database, MAX_NAMED)
        if unplaced and unplaced != self._unplaced:
            log.warning('no step takes these documents: %s', '; '.join(unplaced))
        self._unplaced = unplaced
        if self._metrics.views:
            self._metrics.swept(self._retry(views.waiting_behind, self._database, self._step.after))

    def _peers_due(self) -> float:
        return self._claimant.peers_due

    def _check_peers(self) -> None:
        self._metrics.released(self._retry(self._claimant.check_peers, self._in_flight.holds_claims))

    def _wake_due(self) -> float:
        return self._intake.wake_due

    # Told to people.

    def _wait_due(self) -> float:
        wait = self._policy.wait
        return NOW if self._teller.has_news_of_wait(wait.reason, wait.try_due) else NEVER

    def _tell_of_wait(self) -> None:
        self._teller.tell_of_wait(self._policy.wait.reason, self._policy.wait.try_due)
        self._metrics.waits(self._teller.waits_since)

    def _farm_due(self) -> float:
        return self._teller.farm_due(self._engine.farm)

    def _tell_of_farm(self) -> None:
        if (farm := self._engine.farm) is not None:
            self._teller.tell_of_farm(farm, FarmStatus(self._claimant.name, self._step.name, **asdict(farm)))

    def _notice_a_pause(self) -> None:
        """See whether this process has not run for a lease's time, as when it was stopped or its machine slept."""
        now = passed()
        paused, self._last_turn = now - self._last_turn, now
        if paused >= self._settings.lease:
            log.warning('nothing was done for %.0f s: others may have released the claims', paused)
            self._ask_whose_they_are()

    def _ask_whose_they_are(self) -> None:
        """Of the documents that wait for a callback here, drop those that are claimed by this listener no longer.

        Their results would be refused, but the work would be done twice.
        """
        held = self._retry(self._claimant.held) if self._in_flight else None
        if held is not None and (lost := self._in_flight.keep(held)):
            log.warning('%d documents that waited here are no longer claimed by this listener', lost)

    def _room(self, writes: bool = False) -> int:
        """How many documents may be claimed now, in a request that is made anyway to write results or not."""
        return 0 if self._stopping else int(min(self._policy.room(self._in_flight.load, writes), self._left))

    def _check_design(self) -> None:
        needed = (
            self._settings.lastproc,
            *filter(None, [self._order.view]),
            views.CLAIMS,
            views.ENTRIES,
            views.UNPLACED,
            *self._metrics.views,
        )
        design.check(self._database, views=needed, filters=(design.FILTER,))

    def _wait_for_server(self, seconds: float) -> bool:
        """Wait while the server is away. Raises NothingLeft when there is no use in it any more; never returns True."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._end_due() <= time.monotonic():
                self._stop_claiming()
            if self._may_end():
                raise NothingLeft
            self._handle_events(min(left, self._end_due() - time.monotonic()))
        return False

    def _may_end(self) -> bool:
        return (self._stopping or self._left <= 0) and not self._in_flight

    def _break_off(self) -> None:
        """Release all that is claimed, in one request, and no more than that."""
        if running := self._in_flight.load.running:
            log.warning('breaking off %d that still run', running)
        self._in_flight.break_off()
        updates = self._in_flight.unwritten
        try:
            if updates:
                exchanged = self._claimant.exchange(updates, [], self._in_flight.ids)
                self._in_flight.settle(exchanged.written, self._claimant.name)
                self._in_flight.submit(exchanged.won)  # claims that were answered only now: released at the very end
        except EdwError as error:
            log.error('%d documents stay claimed by %s: %s', len(updates), self._claimant.name, error)


def _listen(callback: Callback, step: Step, engine: str, argv: Sequence[str] | None) -> int:
    given = options.parser(step, engine).parse_args(argv)
    logs.set_up(given.level)
    settings = config.load(given.config)
    farm = given.farm or settings.address
    listener = Listener(
        callback,
        step,
        settings,
        workers=given.workers or (0 if farm else settings.workers),  # those of the settings are of this machine
        batch=given.batch or settings.batch,
        once=given.once,
        engine=choice.engine_of(engine, given.engine, given.timeout, settings.engine),
        timeout=given.timeout,
        farm=farm,
        insecure=given.insecure,
        instead_of=given.instead_of,
        order=views.ORDERS[given.order],
        duration=given.duration or math.inf,
        limit=given.limit or math.inf,
        metrics=options.metrics_of(step, settings, given.metrics),
    )
    for number in (signal.SIGTERM, signal.SIGINT, *BATCH_SIGNALS):
        signal.signal(number, partial(_stop, listener))
    return 1 if listener.run() and given.once else 0


def _stop(listener: Listener, number: int, _: object) -> None:
    if number in BATCH_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    listener.stop()
