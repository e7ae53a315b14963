"""What the heartbeat process does: it beats, says that its listener is there, and releases what that leaves."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

from edw import cli, logs
from edw.claiming import cluster
from edw.claiming.ear import Ear, outlive
from edw.config import Settings
from edw.database.client import Database
from edw.database.retry import JITTER, Retry
from edw.errors import Conflict, DatabaseError, EdwError, LoginRefused, NotFound
from edw.model.documents import Document
from edw.model.listeners import heartbeat_id
from edw.telling.presence import LOGIN_PAUSE, Presence, Teller

log = logging.getLogger(__name__)


def run(ear: Ear) -> int:
    """Beat for a listener until it ends; then release what it held. Returns the exit code."""
    settings = Settings(**{**ear.order['settings'], 'file': Path(ear.order['settings']['file'])})
    return cli.ending(partial(_beat, Database(settings), Presence(**ear.order['presence']), ear))


def _beat(database: Database, presence: Presence, ear: Ear) -> int:
    """Write the heartbeat, the first time when that is due since the process began."""
    outlive()  # again: whoever runs a script sets signals
    logs.set_up(logging.INFO)
    settings, step, listener = database.settings, presence.step, presence.listener
    beats = _Beats(database, {'_id': heartbeat_id(listener), 'counter': 0, 'process': step})
    teller = Teller(database, presence)
    if not ear.ended.is_set():
        teller.tell()
        if not ear.ended.wait(JITTER.uniform(0.0, settings.heartbeat / 10)):
            teller.tell()
    due = ear.since + settings.heartbeat
    # By the parent too: children of the callback's own may hold the pipe open after their listener's death.
    while not ear.ended.wait(max(0.0, due - time.monotonic())) and os.getppid() == ear.listener:
        due = time.monotonic() + settings.heartbeat
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

    def __init__(self, database: Database, doc: Document) -> None:
        self._database = database
        self._doc = doc
        self._lease = database.settings.lease
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


def _is_paused(pid: int) -> bool:
    """Whether a process is stopped by a signal: then it must not look alive, for it does not work."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace').rpartition(')')[2].split()[0]
    except FileNotFoundError:
        state = subprocess.run(
            ['ps', '-o', 'state=', '-p', str(pid)], capture_output=True, text=True, check=False
        ).stdout.strip()[:1]
    return state in ('T', 't')
