"""The heartbeat of a listener that holds claims, written by a process of its own, which also says that it is there.

Not by a thread: a callback may hold the interpreter's lock for hours. The process is also the first to
know when its listener is gone: its standard input ends, and it releases the claims at once. Where it is
killed together with its listener, peers see the counter stand still; `edw.claiming.peers` is their side.

This is the listener's side. The process begins in `ear.py`, and beats in `beats.py`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from edw.claiming.ear import ENDS, HOLDS_CLAIMS, HOLDS_NONE
from edw.config import Settings
from edw.telling.presence import Presence

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
