"""The heartbeat of a listener that holds claims, written by a process of its own, which also says that it is there.

Not by a thread: a callback may hold the interpreter's lock for hours. The process is also the first to
know when its listener is gone: its standard input ends, and it releases the claims at once. Where it is
killed together with its listener, peers see the counter stand still; `edw.claiming.peers` is their side.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from edw import logs
from edw.claiming import cluster
from edw.config import Settings
from edw.database.client import Database
from edw.database.retry import JITTER, Retry
from edw.errors import Conflict, DatabaseError, EdwError, LoginRefused, NotFound
from edw.model.documents import Document
from edw.model.listeners import heartbeat_id
from edw.telling.presence import LOGIN_PAUSE, Presence, Teller

HOLDS_CLAIMS, HOLDS_NONE, ENDS = b'1', b'0', b'.'  # what the listener says on the pipe
END_TIMEOUT = 5.0  # seconds for the process to end when it is told to
PROJECT = Path(__file__).resolve().parent.parent.parent

log = logging.getLogger(__name__)


class Heartbeat:
    """The listener's side: starts the process with the first claim, and tells it what it has to know."""

    def __init__(self, settings: Settings, presence: Presence) -> None:
        self.listener = presence.listener
        self._order = {'settings': dataclasses.asdict(settings), 'presence': dataclasses.asdict(presence)}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: IO[bytes] | None = None  # its standard input
        self._told = HOLDS_NONE

    def start(self) -> None:
        """Start the process before there is anything to tell: the first documents need not wait for it then."""
        self._running_pipe()

    def tell(self, holds_claims: bool) -> None:
        """Say whether the listener holds claims, before the first one is written and after the last is gone."""
        word = HOLDS_CLAIMS if holds_claims else HOLDS_NONE
        if word == self._told and (word == HOLDS_NONE or self._is_alive()):
            return
        self._told = word
        try:
            self._running_pipe().write(word)
        except BrokenPipeError:
            self._running_pipe(must_restart=True).write(word)  # it ended in this very moment

    def end(self, holds_claims: bool) -> None:
        """End the process. Where claims are left, it releases them first, as it does for a listener that dies."""
        if self._process is None or self._pipe is None or not self._is_alive():
            return
        try:
            if not holds_claims:
                self._pipe.write(ENDS)
            self._pipe.close()
            self._process.wait(END_TIMEOUT)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _running_pipe(self, must_restart: bool = False) -> IO[bytes]:
        """The way to the process, which is started where it is not running."""
        if self._pipe is not None and self._is_alive() and not must_restart:
            return self._pipe
        if self._process is not None and self._pipe is not None:
            log.warning('the heartbeat process ended with code %s, starting another', self._process.wait())
            self._pipe.close()
        path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get('PYTHONPATH')])])
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'edw.heartbeat'],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the listener, which may have hours of work to finish
            env={**os.environ, 'PYTHONPATH': path},
        )
        assert self._process.stdin is not None  # it is a pipe
        self._pipe = self._process.stdin
        # By the pipe, because a command line is readable by every user of the machine.
        self._pipe.write(json.dumps(self._order, default=str).encode() + b'\n')
        return self._pipe


class _Ear(threading.Thread):
    """Hears the listener, so that its pipe is never full while a request takes its time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.holds_claims = False
        self.held_claims = False  # at any time since this was last set to False
        self.ended_in_order = False
        self.ended = threading.Event()

    def run(self) -> None:
        while word := os.read(0, 1):
            self.holds_claims = word == HOLDS_CLAIMS
            self.held_claims |= self.holds_claims
            self.ended_in_order = word == ENDS
        self.ended.set()


def main() -> int:
    """Write the heartbeat until the listener ends; then release what it held."""
    # The signals of service managers and batch systems go to every process. This one has to outlive its listener.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    logs.set_up(logging.INFO)
    order = json.loads(_first_line())
    settings = Settings(**{**order['settings'], 'file': Path(order['settings']['file'])})
    presence = Presence(**order['presence'])
    step, listener = presence.step, presence.listener
    database = Database(settings)
    ear = _Ear()
    ear.start()
    beats = _Beats(database, step, listener, settings.lease)
    teller = Teller(database, presence)
    parent = os.getppid()
    teller.tell()
    if not ear.ended.wait(JITTER.uniform(0.0, settings.heartbeat / 10)):
        teller.tell()
    # By the parent too: children of the callback's own may hold the pipe open after their listener's death.
    while not ear.ended.wait(settings.heartbeat) and os.getppid() == parent:
        # Also for claims that came and went in between: to others a fast listener holds some all the time.
        if ear.holds_claims or ear.held_claims:
            if _is_paused(os.getppid()):
                continue
            ear.held_claims = ear.holds_claims
            beats.beat()
        teller.tell()
    # After a lease peers release the claims. Until then a server that is away, or a proxy's word, is waited out.
    retry = Retry(threading.Event().wait, patience=settings.lease)
    try:
        if not ear.ended_in_order:
            released = retry(cluster.release_all, database, step, listener, lambda other: False)
            log.warning('%s is gone: its claims are released: %d', listener, released)
        retry(beats.remove)
        teller.withdraw()
    except EdwError as error:
        log.warning('the last words of %s cannot be written: %s', listener, error)
        return error.exit_code
    return 0


class _Beats:
    """The heartbeat document: a counter that goes on."""

    def __init__(self, database: Database, step: str, listener: str, lease: float) -> None:
        self._database = database
        self._doc: Document = {'_id': heartbeat_id(listener), 'counter': 0, 'process': step}
        self._lease = lease
        self._written: float | None = None  # monotonic time of the last beat, or of the first that was tried
        self._late = False
        self._silent_until = 0.0  # monotonic time

    def beat(self) -> None:
        if time.monotonic() < self._silent_until:
            return
        if self._written is None:
            self._written = time.monotonic()
        self._doc['counter'] += 1
        self._doc['time'] = time.time()  # for people: no lease is decided by it
        try:
            try:
                self._doc['_rev'] = self._database.put(self._doc)['rev']
            except Conflict:
                # Of an earlier beat whose answer was lost, or of the process before this one.
                self._doc['_rev'] = self._database.get(self._doc['_id'])['_rev']
                self._doc['_rev'] = self._database.put(self._doc)['rev']
        except LoginRefused as error:
            self._silent_until = time.monotonic() + LOGIN_PAUSE
            log.warning('no heartbeat for %g s: %s', LOGIN_PAUSE, error)
            return
        except DatabaseError as error:
            if not self._late and time.monotonic() - self._written > self._lease:
                self._late = True
                log.warning('no heartbeat for %g s, claims may be lost: %s', self._lease, error)
            return
        self._written, self._late = time.monotonic(), False

    def remove(self) -> None:
        if '_rev' in self._doc:
            try:
                self._database.delete(self._doc)
            except (NotFound, Conflict):
                return  # somebody tidied up


def _first_line() -> bytes:
    """The order. Byte by byte, because what a buffered reader took in advance would be lost to the ear."""
    line = b''
    while not line.endswith(b'\n'):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)  # the listener ended before it began
        line += byte
    return line


def _is_paused(pid: int) -> bool:
    """Whether a process is stopped by a signal: then it must not look alive, for it does not work."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace').rpartition(')')[2].split()[0]
    except FileNotFoundError:
        state = subprocess.run(
            ['ps', '-o', 'state=', '-p', str(pid)], capture_output=True, text=True, check=False
        ).stdout.strip()[:1]
    return state in ('T', 't')
