"""The engine of a farm: callbacks run on the nodes of a Dask cluster that is there; `edw.engines.node` is what does it.

What Dask does with tasks contradicts what the suite promises: it runs one again, unseen, when the worker that ran it is
gone, and begins it elsewhere while the old one still runs. And a task costs it milliseconds. So no document is one:
Dask's scheduler tells which workers there are, and documents go over a stream to each of them: as many as it has
threads, and as many again that wait there, while callbacks are short. What becomes of a document whose stream is closed
is decided here: an attempt where the callback had begun and the scheduler says that the worker is gone, else nobody's;
and not before nothing can run there any more.

One thread with an event loop serves all that is in flight. Of the futures that it gives out, it alone sets results.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from distributed import CancelledError, Client
from distributed.core import connect

from edw.config import Settings
from edw.engines import child, connections, node
from edw.engines.callbacks import Callback, describe
from edw.engines.connections import NoSchedulerFile, Stream
from edw.engines.engine import FarmState, Running, Tell, Workers
from edw.engines.tasks import Tasks, Worker
from edw.errors import EdwError
from edw.model.documents import Document

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts to reach the scheduler
PATIENCE = 10.0  # seconds for the scheduler, or a worker, to answer what takes no time
TICK = 1.0  # seconds between two looks at what nothing tells of
LOOK = 5.0  # seconds between two questions for the workers that are there, of which events tell sooner
GRACE = 30.0  # seconds beyond the time limit, after which an answer is lost: nodes keep the limit themselves
DOUBT = 60.0  # seconds until nothing runs on a node that cannot be reached: it notices that in 30 (comm.timeouts.tcp)
TRY_AGAIN = 60.0  # seconds after which a worker that could not run the step is asked again
END_PATIENCE = 5.0  # seconds for the end: a scheduler that does not answer must not hold a listener
STREAM_LOST = 'the stream to the node was lost'

log = logging.getLogger(__name__)


class Farm:
    """Runs callbacks on a Dask cluster. `workers` is how many at once, at most; None: as many as it has threads."""

    def __init__(
        self,
        callback: Callback,
        settings: Settings,
        workers: int | None,
        timeout: float | None,
        tell: Tell,
        address: str,
        packages: tuple[str, ...] = (),
        *,
        insecure: bool = False,
    ) -> None:
        """`address` is that of the scheduler, or the name of its file; `insecure`: also one that anybody reaches.

        Raises SettingsError where the address cannot be right, or no node would find the callback.
        """
        self._state = FarmState()
        self._address, self._insecure = address, insecure
        level = logging.getLogger('edw').level
        self._order = child.make_order(callback, settings, uuid.uuid4().hex, level, timeout, packages)
        self._most, self._timeout = workers, timeout
        self._tell = tell
        self._room = 0
        self._workers: dict[str, Worker] = {}  # by address
        self._leaving: set[Worker] = set()  # gone, says the scheduler, but what they said last is still read
        self._tasks = Tasks(self._workers, workers, self._call)
        self._told: set[str] = set()  # why workers cannot run the step
        self._client: Client | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        self._ended = False
        with contextlib.suppress(NoSchedulerFile):  # of a scheduler that is to be started
            connections.scheduler_at(address, insecure)  # or what is wrong would be told only later, in the log
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()  # look at once
        self._thread = threading.Thread(target=self._run, name='farm', daemon=True)
        self._thread.start()

    @property
    def farm(self) -> FarmState:
        """How it stands with the farm."""
        return replace(self._state, running=self._tasks.running)

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as there is a place on the farm."""
        return self._tasks.submit(doc)

    def end(self) -> None:
        """End all callbacks on the nodes, as far as they are to be reached."""
        self._call(self._stop)
        self._thread.join(END_PATIENCE)

    # All that follows is in the farm's own thread.

    def _call(self, what: Callable[..., object], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what, *arguments)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        # What fails within Dask when its scheduler is away, and nobody waits for.
        self._loop.set_exception_handler(lambda loop, context: log.debug('%s', context.get('message')))
        # What matters of what these say is said here, in one line. Each of them has a level of its own.
        for name in ('distributed', 'distributed.client', 'tornado', 'tornado.application', 'asyncio'):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:
            log.exception('the engine of the farm failed; nothing more is claimed')
            self._give_all_back(f'the engine of the farm failed: {describe(error)}')
            self._set_room()
        finally:
            self._loop.close()

    def _stop(self) -> None:
        self._ended = True
        self._wake.set()

    async def _serve(self) -> None:
        """Connect, work, and connect anew when the scheduler is away, until the end."""
        pause = FIRST_PAUSE
        while not self._ended:
            client = None
            try:
                client = await self._connect()
                if self._state.away:
                    log.warning('the farm %s is back', self._address)
                self._set_state(away='', since=time.time())
                pause = FIRST_PAUSE
                words = await self._work(client)
            except (EdwError, OSError, TimeoutError, asyncio.TimeoutError, CancelledError) as error:
                words = str(error) if isinstance(error, EdwError) else describe(error)
            finally:
                await self._disconnect(client)
            if self._ended:
                break
            if not self._state.away:
                log.warning('the farm %s is away, and waited for: %s', self._address, words)
                self._set_state(since=time.time())
            self._wake.clear()
            self._give_all_back(words)
            self._set_state(away=words)
            self._set_room()
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _connect(self) -> Client:
        """A client of a scheduler that can be worked with."""
        address = connections.scheduler_at(self._address, self._insecure)
        client = Client(address, asynchronous=True, set_as_default=False, timeout=PATIENCE, name='edw')
        try:
            await asyncio.wait_for(client, 2 * PATIENCE)
        except BaseException:
            await self._disconnect(client)
            raise
        client.subscribe_topic('all', self._hear_of_workers)
        return client

    async def _disconnect(self, client: Client | None) -> None:
        self._client = None
        for worker in [*self._workers.values(), *self._leaving]:
            if worker.stream is not None:
                worker.stream.send(node.END)
        if self._jobs:  # until the nodes have closed the streams: then nothing runs there any more
            await asyncio.wait(self._jobs, timeout=END_PATIENCE / 2)
        for job in self._jobs:
            job.cancel()
        if client is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncio.TimeoutError, CancelledError):
                await asyncio.wait_for(client.close(), END_PATIENCE / 2)

    async def _work(self, client: Client) -> str:
        """Have callbacks run until the end, or until the scheduler is away; returns why that is thought."""
        self._client, self._broken = client, None
        looked = 0.0
        while not self._ended:
            if self._broken is not None:
                return f'the engine failed: {describe(self._broken)}'
            if client.status != 'running':
                return 'the connection is lost'
            if self._wake.is_set() or time.monotonic() - looked >= LOOK:
                self._wake.clear()
                looked = time.monotonic()
                try:
                    self._see(await asyncio.wait_for(client.scheduler.ncores(), PATIENCE))
                except (OSError, TimeoutError, asyncio.TimeoutError) as error:
                    return f'it does not answer: {describe(error)}'
            self._give_up_overdue()
            self._tasks.ask_back()
            await self._sleep(TICK)
        return ''

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    def _start(self, job: Awaitable[None]) -> None:
        task = asyncio.ensure_future(job)
        self._jobs.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            # What it was to do is not done: all that runs goes back, and a new client begins anew.
            log.error('the engine of the farm failed', exc_info=error)
            self._broken = error
            self._wake.set()

    # Workers come and go.

    def _hear_of_workers(self, event: tuple[float, Any]) -> None:
        told = event[1]
        if not isinstance(told, dict):
            return
        if told.get('action') == 'remove-worker':
            self._remove(told.get('worker', ''))
        elif told.get('action') == 'add-worker':
            self._wake.set()

    def _see(self, threads: dict[str, int]) -> None:
        """Take note of the workers that are there, with their threads; try those that are not known to be fit."""
        for address in self._workers.keys() - threads.keys():
            self._remove(address)
        for worker in [*self._leaving]:
            # Only now: the scheduler is there, and not about to end with all of its workers.
            if worker.stream is None:
                self._leaving.discard(worker)
                self._tasks.lose(worker)
        now = time.monotonic()
        for address, number in threads.items():
            worker = self._workers.setdefault(address, Worker(address, number))
            if not worker.is_tried and worker.try_due <= now:
                worker.is_tried = True
                self._start(self._attend(worker))

    async def _attend(self, worker: Worker) -> None:
        """Open a stream to a worker, and hear what it says until that is closed."""
        try:
            try:
                worker.stream = await self._open(worker)
            except (EdwError, OSError, TimeoutError, asyncio.TimeoutError) as error:
                await asyncio.sleep(TICK)  # nothing is to be said of a worker that ends
                if not worker.is_gone:
                    self._mistrust(worker, str(error) if isinstance(error, EdwError) else describe(error), LOOK)
                return
            while True:
                said = await worker.stream.receive()
                worker.heard = time.monotonic()
                for message in said:
                    self._hear(worker, *message)
        except OSError as error:
            log.debug('the stream to %s is closed: %s', worker.name, error)
        finally:
            self._part(worker)

    async def _open(self, worker: Worker) -> Stream:
        """Raises EdwError or OSError."""
        assert self._client is not None
        connections.check(worker.address, self._insecure, worker.address)
        knocked = self._client.run(node.open_to_listeners, workers=[worker.address], on_error='return')
        answer = (await asyncio.wait_for(knocked, PATIENCE)).get(worker.address)
        if isinstance(answer, BaseException):
            raise child.WrongNode(describe(answer))
        # What is not deserialized is not unpickled, either.
        comm = await connect(worker.address, timeout=PATIENCE, deserialize=False, **self._client.connection_args)
        await comm.write({'op': node.NAME, 'order': self._order})
        return Stream(comm)

    def _hear(self, worker: Worker, what: str, *about: Any) -> None:
        """Take what a worker says."""
        if what == node.HELLO:
            self._take_in(worker, *about)
        elif (task := worker.tasks.get(about[0])) is None:
            return  # it was given back meanwhile
        elif what == node.BEGAN:
            self._tasks.begin(task)
        elif what == node.DONE:
            self._tasks.settle(task, *about[1:])
        elif what == node.BACK:
            self._tasks.take_back(task)
        else:
            self._mistrust(worker, about[1])
            self._tasks.give_back(task, about[1])

    def _take_in(self, worker: Worker, hostname: str, error: str) -> None:
        worker.hostname = hostname
        self._tasks.give_back_all_of(worker, STREAM_LOST)  # all that it had begun has ended there
        if error:
            self._mistrust(worker, error)
            return
        worker.is_fit = not worker.is_gone
        self._set_room()
        self._tasks.fill_soon()

    def _mistrust(self, worker: Worker, words: str, pause: float = TRY_AGAIN) -> None:
        """Send nothing more to a worker until another trial, after `pause` seconds."""
        if words not in self._told:
            self._told.add(words)
            log.warning('the farm cannot run the step on %s: %s', worker.name, words)
        worker.try_due = time.monotonic() + pause
        if worker.stream is not None:
            worker.stream.abort()
        worker.is_fit = False
        self._set_room()

    def _part(self, worker: Worker) -> None:
        """The stream to a worker is closed. Why that is, only the scheduler knows."""
        now = time.monotonic()
        if worker.stream is not None:
            worker.stream.abort()
            worker.stream, worker.closed = None, now
        worker.is_fit, worker.is_tried, worker.try_due = False, False, max(worker.try_due, now + TICK)
        self._set_room()
        self._wake.set()

    def _remove(self, address: str) -> None:
        """A worker is gone: what it ran has failed, what was only sent there goes back."""
        worker = self._workers.pop(address, None)
        if worker is None:
            return
        log.info('the farm has lost a worker on %s', worker.name)
        worker.is_gone, worker.is_fit = True, False
        self._leaving.add(worker)
        self._set_room()
        if worker.stream is not None:
            # It closes the stream when it has ended all children, and what it said last is read before.
            self._loop.call_later(PATIENCE, worker.stream.abort)
        self._wake.set()

    def _set_room(self) -> None:
        fit = [worker for worker in self._workers.values() if worker.is_fit]
        room = sum(worker.threads for worker in fit)
        if self._most is not None:
            room = min(room, self._most)
        self._set_state(room=room, nodes=len({worker.name for worker in fit}))
        if room != self._room:
            log.info('the farm %s has room for %d callbacks', self._address, room)
            self._room = room
            self._tell(Workers(room))

    def _set_state(self, **changed: Any) -> None:
        self._state = replace(self._state, **changed)

    def _give_up_overdue(self) -> None:
        """Give back what is never answered, and what nothing is heard of any more."""
        now = time.monotonic()
        for worker in [*self._workers.values()]:
            if worker.stream is None and worker.closed < now - DOUBT:
                self._tasks.give_back_all_of(worker, STREAM_LOST)
            for task in worker.overdue(now - self._timeout - GRACE) if self._timeout is not None else []:
                log.warning('the farm never answered for %s on %s', task.doc['_id'], worker.name)
                self._tasks.give_back(task, 'the node never answered')
                self._mistrust(worker, 'it never answered', LOOK)  # or it would swallow one document after the other

    def _give_all_back(self, words: str) -> None:
        for worker in [*self._workers.values(), *self._leaving]:
            self._tasks.give_back_all_of(worker, words)
        self._tasks.give_back_waiting(words)
        self._workers.clear()
        self._leaving.clear()
