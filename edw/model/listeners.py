"""The name of a listener, as claims hold it: `HOST:PID:RANDOM`."""

from __future__ import annotations

import os
import re
import secrets
import socket
from typing import Any

NAME = re.compile(r'(?P<host>[\w.-]+):(?P<pid>\d+):[0-9a-f]+', re.ASCII)


def new_name() -> str:
    """A name for this process that no other has, here or on another machine."""
    return f'{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}'


def is_name(value: Any) -> bool:
    """Whether a value has the form of a name that `new_name` makes."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def hostname(name: str) -> str:
    """The machine that a listener runs on; `name` itself where it has another form."""
    match = NAME.fullmatch(name)
    return match['host'] if match else name


def pid(name: str) -> int | None:
    """Its process there; None where the name has another form."""
    match = NAME.fullmatch(name)
    return int(match['pid']) if match else None


def heartbeat_id(name: str) -> str:
    """Id of a listener's heartbeat document. `_local` documents make no revisions and no changes."""
    return f'_local/worker:{name}'
