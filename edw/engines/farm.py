"""The engine of a farm: callbacks run on the nodes of a Dask cluster that is there; `edw.engines.node` is what does it.

What Dask does by itself contradicts what the suite promises: it runs a task again, unseen, when the worker that ran it
is gone, and begins it elsewhere while the old one still runs. So each task is for one worker and no other, there are
never more of them than that has threads, and what becomes of a document whose worker is gone is decided here: an
attempt where the callback had begun, else nobody's.

One thread with an event loop serves all that is in flight. Of the futures that it gives out, it alone sets results.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import dask
from distributed import CancelledError, Client, Future
from distributed.scheduler import KilledWorker

from edw.config import Settings
from edw.engines import node, orders
from edw.engines.addresses import NoSchedulerFile, scheduler_at
from edw.engines.callbacks import Callback, Outcome, describe, failed_outcome
from edw.engines.engine import FarmState, NotRun, Running, Tell, Workers
from edw.errors import EdwError
from edw.model.documents import Document

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between two attempts to reach the scheduler
PATIENCE = 10.0  # seconds for the scheduler, or a worker, to answer what takes no time
TICK = 1.0  # seconds between two looks at what nothing tells of
LOOK = 5.0  # seconds between two questions for the workers that are there, of which events tell sooner
GRACE = 30.0  # seconds beyond the time limit, after which a task is lost: nodes keep the limit themselves
TRY_AGAIN = 60.0  # seconds after which a worker that could not run the step is asked again
END_PATIENCE = 5.0  # seconds for the end: a scheduler that does not answer must not hold a listener
MOST_UNSEEN = 3  # times that a document's worker may be gone before it has said that the callback began

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Worker:
    """A Dask worker: so many places for callbacks."""

    address: str
    threads: int
    hostname: str = ''
    is_fit: bool = False  # the step can be run there
    is_tried: bool = False  # or is being asked
    trial: Future | None = None  # kept while the worker is: children on the node live as long as it does
    try_due: float = 0.0  # monotonic time
    tasks: set[_Task] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.hostname or self.address


@dataclass(eq=False)
class _Task:
    """A document at a worker."""

    running: Running
    doc: Document
    key: str
    worker: _Worker
    sent: float  # monotonic time
    future: Future | None = None
    began: float | None = None  # monotonic time


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
        self.farm = FarmState()
        self._address, self._insecure = address, insecure
        level = logging.getLogger('edw').level
        self._order = orders.make(callback, settings, uuid.uuid4().hex, level, timeout, packages)
        self._most, self._timeout = workers, timeout
        self._tell = tell
        self._room = 0
        self._waiting: deque[tuple[Running, Document]] = deque()
        self._workers: dict[str, _Worker] = {}  # by address
        self._tasks: dict[str, _Task] = {}  # by key
        self._fetched: list[_Task] = []  # finished, and to be fetched with the next ones
        self._unseen: Counter[str] = Counter()  # by id of the document
        self._told: set[str] = set()  # why workers cannot run the step
        self._is_filling = False
        self._client: Client | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        self._ended = False
        with contextlib.suppress(NoSchedulerFile):  # of a scheduler that is to be started
            scheduler_at(address, insecure)  # or what is wrong would be told only later, in the log
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()  # look at once
        self._to_fetch = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name='farm', daemon=True)
        self._thread.start()

    def submit(self, doc: Document) -> Running:
        """Run the callback as soon as there is a place on the farm."""
        running = Running()
        self._call(self._accept, running, doc)
        return running

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

    def _accept(self, running: Running, doc: Document) -> None:
        self._waiting.append((running, doc))
        self._fill_soon()

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
                if self.farm.away:
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
            if not self.farm.away:
                log.warning('the farm %s is away, and waited for: %s', self._address, words)
                self._set_state(since=time.time())
            self._wake.clear()
            self._give_all_back(words)
            self._workers.clear()
            self._set_state(away=words)
            self._set_room()
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _connect(self) -> Client:
        """A client of a scheduler that can be worked with."""
        address = scheduler_at(self._address, self._insecure)
        client = Client(address, asynchronous=True, set_as_default=False, timeout=PATIENCE, name='edw')
        try:
            await asyncio.wait_for(client, 2 * PATIENCE)
            try:
                words = await asyncio.wait_for(client.run_on_scheduler(node.scheduler_facts, self._order), PATIENCE)
            except (ImportError, AttributeError, RuntimeError) as error:
                words = f'it cannot import the suite: {describe(error)}'
            if words:
                raise orders.WrongNode(f'its scheduler cannot be worked with: {words}')
        except BaseException:
            await self._disconnect(client)
            raise
        client.subscribe_topic('all', self._hear_of_workers)
        client.subscribe_topic(client.id, self._hear_of_tasks)
        return client

    async def _disconnect(self, client: Client | None) -> None:
        self._client = None
        for job in self._jobs:
            job.cancel()
        if client is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncio.TimeoutError, CancelledError):
                # The scheduler lets go of all that was this client's, and the nodes end it.
                await asyncio.wait_for(client.close(), END_PATIENCE / 2)

    async def _work(self, client: Client) -> str:
        """Have callbacks run until the end, or until the scheduler is away; returns why that is thought."""
        self._client, self._broken = client, None
        self._start(self._fetch())
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
            self._lose_overdue()
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
        now = time.monotonic()
        for address, number in threads.items():
            worker = self._workers.setdefault(address, _Worker(address, number))
            if not worker.is_fit and not worker.is_tried and worker.try_due <= now:
                worker.is_tried = True
                self._start(self._try(worker))

    async def _try(self, worker: _Worker) -> None:
        """Hear whether the step can be run on a worker."""
        try:
            found = await self._found_of_trial(worker)
        except (OSError, TimeoutError, asyncio.TimeoutError) as silence:
            self._mistrust(worker, describe(silence), LOOK)  # it may only be slow to start
            return
        if found is None or worker.address not in self._workers:
            return  # the worker is gone, of which an event tells, or the scheduler
        worker.hostname = found['hostname']
        if not found['error']:
            worker.is_fit = True
            self._set_room()
            self._fill_soon()
            return
        self._mistrust(worker, found['error'])

    async def _found_of_trial(self, worker: _Worker) -> dict[str, str] | None:
        """What a trial has found there; None where the worker is gone. Raises what tells of its silence."""
        assert self._client is not None
        # A task that a worker cannot unpickle would end it; this is answered with the error.
        knocked = self._client.run(node.knock, workers=[worker.address], on_error='return')
        answer = (await asyncio.wait_for(knocked, PATIENCE)).get(worker.address)
        if isinstance(answer, BaseException):
            return {'error': describe(answer), 'hostname': ''}
        key = _key('try', worker.address)
        worker.trial = self._send({key: (node.trial, self._order)})[key]
        error = await _end_of(worker.trial)
        if worker.trial is None:
            return None
        if worker.trial.status == 'error' and not isinstance(error, KilledWorker):
            return {'error': describe(error), 'hostname': ''}
        data = await self._gather([key]) if worker.trial.status == 'finished' else None
        return None if data is None else dict(json.loads(data[key]))

    def _mistrust(self, worker: _Worker, words: str, pause: float = TRY_AGAIN) -> None:
        """Send nothing more to a worker until another trial, after `pause` seconds."""
        if words not in self._told:
            self._told.add(words)
            log.warning('the farm cannot run the step on %s: %s', worker.name, words)
        worker.is_fit, worker.is_tried, worker.try_due = False, False, time.monotonic() + pause
        if worker.trial is not None:
            worker.trial.release()
            worker.trial = None
        self._set_room()

    def _remove(self, address: str) -> None:
        """A worker is gone: what it ran has failed, what was only sent there goes back."""
        worker = self._workers.pop(address, None)
        if worker is None:
            return
        if worker.trial is not None:
            worker.trial.release()
        self._set_room()
        for task in [*worker.tasks]:
            self._lose(task)
        log.info('the farm has lost a worker on %s', worker.name)

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
        self.farm = replace(self.farm, **changed)

    # Documents go there.

    def _fill_soon(self) -> None:
        """Give out documents, with those that come in the same moment: a graph for one costs as much as for many."""
        if not self._is_filling:
            self._is_filling = True
            self._loop.call_soon(self._fill)

    def _fill(self) -> None:
        self._is_filling = False
        if self._client is None:
            return
        graph, tasks = {}, []
        free = [
            worker
            for worker in self._workers.values()
            for _ in range(worker.threads - len(worker.tasks))
            if worker.is_fit
        ]
        while self._waiting and free and (self._most is None or len(self._tasks) < self._most):
            running, doc = self._waiting.popleft()
            if running.cancelled():
                continue
            try:
                sent = json.dumps(doc).encode()
            except Exception as error:  # nested too deep: the same words as where it cannot go into a process
                self._finish(running, failed_outcome(describe(error)))
                continue
            worker = free.pop()
            task = _Task(running, doc, _key('run', worker.address), worker, time.monotonic())
            graph[task.key] = (node.serve, self._order, sent, self._client.id)
            self._tasks[task.key] = task
            worker.tasks.add(task)
            tasks.append(task)
        futures = self._send(graph)
        for task in tasks:
            task.future = futures[task.key]
            task.running.add_done_callback(partial(self._note_cancellation, task))
            self._start(self._follow(task))
        self._set_state(running=len(self._tasks))

    def _send(self, graph: dict[str, tuple[Any, ...]]) -> dict[str, Future]:
        """Send tasks, each for the one worker that its key names."""
        if not graph or self._client is None:
            return {}
        keys = list(graph)
        with dask.annotate(workers=node.place_of):
            return dict(zip(keys, self._client.get(graph, keys, sync=False), strict=True))

    def _note_cancellation(self, task: _Task, running: Running) -> None:
        """In any thread: the listener may want it no more. Letting go of it ends the child, where there is one."""
        if running.cancelled():
            self._call(self._forget, task)

    def _forget(self, task: _Task) -> bool:
        """Expect nothing more of a task; False where that was so already."""
        if self._tasks.pop(task.key, None) is None:
            return False
        task.worker.tasks.discard(task)
        if task.future is not None:
            task.future.release()
        self._set_state(running=len(self._tasks))
        self._fill_soon()
        return True

    # And come back.

    def _hear_of_tasks(self, event: tuple[float, Any]) -> None:
        told = event[1]
        task = self._tasks.get(told.get(node.BEGAN, '')) if isinstance(told, dict) else None
        if task is not None and task.began is None:
            task.began = time.monotonic()
            if task.running.set_running_or_notify_cancel():
                # Said when it is so: who reads it may stop this listener, which gives back what does not run.
                log.debug('%s begins on %s', task.doc['_id'], task.worker.name)
            else:
                self._forget(task)

    async def _follow(self, task: _Task) -> None:
        """Wait for what becomes of a task."""
        assert task.future is not None
        error = await _end_of(task.future)
        if task.key not in self._tasks:
            return
        match task.future.status:
            case 'finished':
                self._fetched.append(task)
                self._to_fetch.set()
            case 'error' if isinstance(error, KilledWorker):
                self._lose(task)
            case 'error':
                self._mistrust(task.worker, describe(error))
                self._give_back(task, describe(error))
            case _:
                self._wake.set()  # Dask has cancelled it, most likely because the scheduler is away
                self._give_back(task, 'Dask has cancelled it')

    async def _fetch(self) -> None:
        """Fetch results, all at once that have come meanwhile."""
        while True:
            await self._to_fetch.wait()
            self._to_fetch.clear()
            tasks = [task for task in self._fetched if task.key in self._tasks]
            self._fetched = []
            if tasks and not await self._fetch_those(tasks):
                # One of them is lost or late, and the others need not be.
                for task in tasks:
                    self._start(self._fetch_one(task))

    async def _fetch_one(self, task: _Task) -> None:
        if not await self._fetch_those([task]) and task.key in self._tasks:
            # Finished, but nobody has the result: it is not computed again unseen.
            self._lose(task)

    async def _fetch_those(self, tasks: list[_Task]) -> bool:
        data = await self._gather([task.key for task in tasks])
        if data is None:
            return False
        for task in tasks:
            if self._forget(task):
                self._settle(task, data[task.key])
        return True

    async def _gather(self, keys: list[str]) -> dict[str, bytes] | None:
        """Results by key; None where any of them cannot be had.

        Not by Dask's own `gather`, which has what is lost computed again, and waits for that.
        """
        if self._client is None:
            return None
        try:
            answer = await asyncio.wait_for(self._client.scheduler.gather(keys=keys), PATIENCE)
        except (OSError, TimeoutError, asyncio.TimeoutError):
            return None
        return answer['data'] if answer['status'] == 'OK' else None

    def _settle(self, task: _Task, said: bytes) -> None:
        found: dict[str, Any] = json.loads(said) if said else {'not_run': 'it was cancelled'}
        for name, level, text in found.get('lines', []):
            logging.getLogger(name).log(level, '%s on %s: %s', task.doc['_id'], task.worker.name, text)
        self._unseen.pop(task.doc['_id'], None)
        if 'not_run' in found:
            self._mistrust(task.worker, found['not_run'])
            self._set_exception(task.running, found['not_run'])
        else:
            self._finish(task.running, Outcome(**found['outcome']))

    def _lose(self, task: _Task) -> None:
        """The worker of a task is gone, or has lost its result."""
        if not self._forget(task):
            return
        doc_id, words = task.doc['_id'], f'WorkerGone: the farm lost the worker on {task.worker.name}'
        if task.began is None and self._unseen[doc_id] < MOST_UNSEEN:
            # One that kills its worker before a word gets out would go round for ever: hence the limit.
            self._unseen[doc_id] += 1
            self._set_exception(task.running, f'{words} before the callback began')
            return
        del self._unseen[doc_id]
        self._finish(task.running, failed_outcome(f'{words} while the callback ran', task.began, task.worker.name))

    def _lose_overdue(self) -> None:
        """Give back what Dask never answers."""
        if self._timeout is None:
            return
        limit = time.monotonic() - self._timeout - GRACE
        for task in [task for task in self._tasks.values() if (task.began or task.sent) < limit]:
            log.warning('the farm never answered for %s on %s', task.doc['_id'], task.worker.name)
            self._give_back(task, 'Dask never answered')
            self._mistrust(task.worker, 'it never answered', LOOK)  # or it would swallow one document after the other

    def _give_back(self, task: _Task, words: str) -> None:
        if self._forget(task):
            self._set_exception(task.running, words)

    def _give_all_back(self, words: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for running, _ in waiting:
            self._set_exception(running, words)
        for task in [*self._tasks.values()]:
            self._give_back(task, words)
        self._fetched = []

    def _finish(self, running: Running, outcome: Outcome) -> None:
        if running.running() or running.set_running_or_notify_cancel():
            running.set_result(outcome)

    def _set_exception(self, running: Running, words: str) -> None:
        if running.running() or running.set_running_or_notify_cancel():
            running.set_exception(NotRun(words))


async def _end_of(future: Future) -> BaseException:
    """Wait for the end of a task; what it raised, if it did."""
    try:
        return await future.exception()  # type: ignore[no-any-return]
    except CancelledError as error:
        return error  # type: ignore[no-any-return]


def _key(what: str, address: str) -> str:
    """A key that no task had before, and that says which worker it is for (`node.place_of`)."""
    return f'edw-{what}-{uuid.uuid4().hex}|{address}'
