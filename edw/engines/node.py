"""What runs in a Dask worker on a farm's node: each callback in a child process of its own.

Listeners speak to a node over a stream of their own, which the worker's server takes as it takes those of Dask: with
the same addresses, and the same certificates. No document is a task of Dask. All that is here runs in the event loop of
the worker. A thread cannot be ended, a process can: what is not wanted any more ends with its child. Children are kept
for the next documents of the same listener, until its stream is closed, by it or because it is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Any

from distributed import Status, Worker, WorkerPlugin

from edw.engines import child
from edw.engines.callbacks import HOSTNAME, failed_outcome
from edw.engines.connections import Stream
from edw.engines.processes import KILL_PATIENCE, how_it_ended

NAME = 'edw'  # of the plugin, and of what a listener asks the server for
# What a listener says: with number and document, with number, with number, alone.
RUN, CANCEL, ASK_BACK, END = 'run', 'cancel', 'ask back', 'end'
# What a node says: with its name and what is wrong there, number, number and outcome and lines, number and why, number.
HELLO, BEGAN, DONE, NOT_RUN, BACK = 'hello', 'began', 'done', 'not run', 'back'
MOST_LINES = 1000  # of the log of one callback, that its listener gets; the last ones
START_PATIENCE = 300.0  # seconds for a child to import the step
LARGEST_READ = 1 << 20  # bytes

log = logging.getLogger(__name__)


async def open_to_listeners(dask_worker: Worker) -> None:
    """Have a worker take the streams of listeners. Called by them, through Dask, in the worker."""
    if NAME not in dask_worker.plugins:
        await dask_worker.plugin_add(Node(), name=NAME, catch_errors=False)


class Node(WorkerPlugin):  # type: ignore[misc]  # without the package it is Any
    """One worker, with as many places for callbacks as it has threads, whichever listener they are for."""

    def __init__(self) -> None:
        self._guests: list[_Guest] = []

    def setup(self, worker: Worker) -> None:
        """Called by Dask."""
        self.places = asyncio.Semaphore(worker.state.nthreads)
        worker.handlers[NAME] = self.serve

    async def teardown(self, worker: Worker) -> None:
        """Called by Dask when the worker closes, before the scheduler hears that it is gone."""
        await asyncio.gather(*(guest.end() for guest in self._guests))

    async def serve(self, comm: Any, order: bytes) -> Status:
        """Serve one listener, as long as its stream is open. Called by Dask."""
        # One that has lost its connection comes again, perhaps before this side has noticed: all that it had here ends.
        await asyncio.gather(*(guest.end() for guest in self._guests if guest.order == order))
        guest = _Guest(self, Stream(comm), order)
        self._guests.append(guest)
        try:
            await guest.serve()
        finally:
            await guest.end()
            self._guests.remove(guest)
        return Status.dont_reply


class _Guest:
    """A listener at a node: its stream, and its children."""

    def __init__(self, node: Node, stream: Stream, order: bytes) -> None:
        self.order = order
        self._places, self._stream = node.places, stream
        self._timeout: float | None = json.loads(order)['timeout']
        self._idle: list[Child] = []
        self._running: dict[int, asyncio.Task[None]] = {}  # by number of the document
        self._placed: set[int] = set()  # those of them that have a place
        self._ended = False

    async def serve(self) -> None:
        """Do what the listener says, until it says no more."""
        self._start(0, self._greet())
        while not self._ended:
            try:
                said = await self._stream.receive()
            except OSError:
                return
            for what, *about in said:
                if what == RUN:
                    self._start(about[0], self._run(*about))
                elif what == CANCEL and about[0] in self._running:
                    self._running[about[0]].cancel()
                elif what == ASK_BACK and about[0] in self._running.keys() - self._placed:
                    self._running[about[0]].cancel()
                    self._stream.send(BACK, about[0])
                elif what == END:
                    return

    async def end(self) -> None:
        """End all children, and then close the stream: the listener may take it for a sign that none is left."""
        self._ended = True
        for running in self._running.values():
            running.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*self._running.values(), *(one.close() for one in idle), return_exceptions=True)
        self._stream.abort()

    def _start(self, number: int, what: Awaitable[None]) -> None:
        if not self._ended:
            self._running[number] = running = asyncio.ensure_future(what)
            running.add_done_callback(lambda _: self._running.pop(number))

    async def _greet(self) -> None:
        """See whether the step can be run here, with a child that is ready then, and say it."""
        try:
            await self._give_back(await self._take())
            error = ''
        except child.WrongNode as wrong:
            error = str(wrong)
        self._stream.send(HELLO, HOSTNAME, error)

    async def _run(self, number: int, document: bytes) -> None:
        """Run the callback on a document, as soon as there is a place."""
        async with self._places:
            self._placed.add(number)
            try:
                await self._run_in_place(number, document)
            finally:
                self._placed.discard(number)

    async def _run_in_place(self, number: int, document: bytes) -> None:
        try:
            one = await self._take()
        except child.WrongNode as error:
            self._stream.send(NOT_RUN, number, str(error))
            return
        try:
            # On its way before the callback can end this worker, or nobody would count the attempt.
            await asyncio.shield(self._stream.send(BEGAN, number))
            outcome = await one.run(document, self._timeout)
            self._stream.send(DONE, number, outcome, one.lines[-MOST_LINES:])
        finally:
            await self._give_back(one)

    async def _take(self) -> Child:
        """A child that waits for a document. Raises WrongNode where there can be none."""
        while self._idle:
            if (one := self._idle.pop()).is_fit:
                return one
            await one.close()
        try:
            one = Child(self.order)
        except OSError as error:
            raise child.WrongNode(f'no process can be started there: {error}') from None
        try:
            await one.make_ready()
        except BaseException:
            await one.close()
            raise
        return one

    async def _give_back(self, one: Child) -> None:
        """Keep a child for the next document; one that cannot go on is buried."""
        if one.is_fit and not self._ended:
            self._idle.append(one)
        else:
            await one.close()


class Child:
    """One process that runs callbacks."""

    def __init__(self, order: bytes) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # The kernel kills it with the *thread* that started it: that of the event loop lasts as long as the worker.
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'edw.engines.child', str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=child.environment(),
            )
        self._order = order
        self._waits = False  # for a document
        self.lines: list[bytes] = []  # of the log, of the last callback, as JSON
        self._loop = asyncio.get_running_loop()
        self._socket = ours
        self._socket.setblocking(False)
        self._heard = b''  # of what is no whole line yet
        self._word: asyncio.Future[tuple[bytes, bytes] | None] = self._loop.create_future()  # None: it has ended
        # Its end too: the socket of a process that died may be held open by children of its own.
        self._end = os.pidfd_open(self._process.pid)
        self._ended = asyncio.Event()
        self._loop.add_reader(self._socket, self._hear)
        self._loop.add_reader(self._end, self._hear_end)

    @property
    def is_fit(self) -> bool:
        """Whether it can be given a document."""
        return self._waits and not self._ended.is_set()

    async def make_ready(self) -> None:
        """Wait until it has imported the step. Raises WrongNode where it cannot."""
        try:
            what, value = await asyncio.wait_for(self._answer(self._order), START_PATIENCE)
        except (TimeoutError, asyncio.TimeoutError):
            raise child.WrongNode('the step was not imported in time') from None
        except EOFError as end:
            raise child.WrongNode(f'the process that imported the step ended with {end}') from None
        if what != child.READY:
            raise child.WrongNode(json.loads(value))
        self._waits = True

    async def run(self, document: bytes, timeout: float | None) -> bytes:
        """The outcome of the callback, as JSON; that of its process where it ends that."""
        began = time.monotonic()
        self.lines = []
        self._waits = False
        try:
            _, outcome = await asyncio.wait_for(self._answer(document), timeout)
            self._waits = True
            return outcome
        except (TimeoutError, asyncio.TimeoutError):
            words = f'TimeoutError: no result after {timeout:g} s'
        except EOFError as end:
            words = f'ProcessDied: the process of the callback ended with {end}'
        return json.dumps(asdict(failed_outcome(words, began))).encode()

    async def close(self) -> None:
        """End it, whatever it does, and let go of all that it holds here."""
        self._process.kill()
        try:
            await asyncio.wait_for(self._ended.wait(), KILL_PATIENCE)
        except (TimeoutError, asyncio.TimeoutError):
            log.error('process %s cannot be ended: it is left behind', self._process.pid)
        self._loop.remove_reader(self._socket)
        self._loop.remove_reader(self._end)
        self._socket.close()
        os.close(self._end)

    async def _answer(self, said: bytes) -> tuple[bytes, bytes]:
        """Say it, and wait for an answer, with its value as JSON. Raises EOFError, with how it ended, where it ends."""
        try:
            await self._loop.sock_sendall(self._socket, said + b'\n')
        except OSError as error:
            log.debug('process %s: %s; it has died in this moment, which its end tells next', self._process.pid, error)
        if (word := await self._word) is None:
            raise EOFError(how_it_ended(self._process.poll()))
        self._word = self._loop.create_future()
        if self._ended.is_set():
            self._word.set_result(None)
        return word

    def _hear(self) -> None:
        """Take what it has said: lines of the log, which are kept, and the answer."""
        try:
            while said := self._socket.recv(LARGEST_READ):
                *lines, self._heard = (self._heard + said).split(b'\n')
                for line in lines:
                    what, _, value = line.partition(b' ')
                    if what == child.LINE:
                        self.lines.append(value)
                    elif not self._word.done():
                        self._word.set_result((what, value))
        except BlockingIOError:
            return
        except OSError as error:
            log.debug('process %s: %s', self._process.pid, error)
        self._loop.remove_reader(self._socket)
        self._process.kill()  # most likely it has ended already; else it has nothing more to say

    def _hear_end(self) -> None:
        self._hear()  # what was said before still counts
        self._loop.remove_reader(self._end)
        self._ended.set()
        if not self._word.done():
            self._word.set_result(None)
