"""How the heartbeat process begins: it hears its listener, and loads what it beats with only when that is needed.

After LIGHT, that is: a listener that is done before pays nothing for it, and one that starts has the processor for
itself. So this module imports nothing but a little of Python's own, and neither does `edw/__init__.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

HOLDS_CLAIMS, HOLDS_NONE, ENDS = b'1', b'0', b'.'  # what the listener says on the pipe
LIGHT = 1.0  # seconds; the first beat is due later, by the shipped settings after ten

TYPE_CHECKING = False  # without `typing`, see edw/__init__.py
if TYPE_CHECKING:
    from typing import Any


class Ear(threading.Thread):
    """Hears the listener, so that its pipe is never full while a request takes its time."""

    def __init__(self, order: dict[str, Any], listener: int, since: float) -> None:
        """`order` is the first line of the process `listener`: its settings, and its presence. `since` is monotonic."""
        super().__init__(daemon=True)
        self.order, self.listener, self.since = order, listener, since
        self.holds_claims = False
        self.held_claims = False  # at any time since this was last set to False
        self.ended_in_order = False
        self.ended = threading.Event()

    def run(self) -> None:
        """Hear it until it ends."""
        while word := os.read(0, 1):
            self.holds_claims = word == HOLDS_CLAIMS
            self.held_claims |= self.holds_claims
            self.ended_in_order = word == ENDS
        self.ended.set()


def hear() -> Ear | None:
    """Hear the listener until LIGHT is over, or it ends: None where that was in order, and nothing is left to do."""
    outlive()
    since, listener = time.monotonic(), os.getppid()
    ear = Ear(json.loads(_first_line()), listener, since)
    ear.start()
    if ear.ended.wait(min(LIGHT, ear.order['settings']['heartbeat'])) and ear.ended_in_order:
        return None
    return ear


def outlive() -> None:
    """The signals of service managers and batch systems go to every process. This one has to outlive its listener."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)


def _first_line() -> bytes:
    """The order. Byte by byte, because what a buffered reader took in advance would be lost to the ear."""
    line = b''
    while not line.endswith(b'\n'):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)  # the listener ended before it began
        line += byte
    return line
