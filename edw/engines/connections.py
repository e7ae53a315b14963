"""Where a farm's scheduler and nodes are, whether they may be spoken with, and what is said to a node.

Whoever reaches a port of Dask runs code there, and what comes from there is unpickled here. So it is one of this
machine alone, or one with certificates on both sides, unless somebody says that the network is closed to others.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edw.config import is_loopback
from edw.errors import EdwError, SettingsError

TLS_OPTIONS = 'distributed.comm.tls: ca-file, client.cert and client.key'
PAUSE = 0.002  # seconds between two writes to a stream: what is said meanwhile goes together


def scheduler_at(farm: str, insecure: bool) -> str:
    """The address of a scheduler, `tcp://HOST:PORT` or `tls://HOST:PORT`, of itself or of a scheduler file's name.

    Raises SettingsError where that may not be worked with, and EdwError where there is no such file now.
    """
    if '://' in farm:
        address = farm
    elif re.fullmatch(r'[^/]+:\d+', farm):
        raise SettingsError(f'--farm {farm}: write tcp://{farm} or tls://{farm}, or the name of a scheduler file.')
    else:
        address = _in_file(farm)
    check(address, insecure, f'--farm {farm}')
    return address


def check(address: str, insecure: bool, name: str) -> None:
    """Raises SettingsError, which begins with the `name`, where an address of Dask may not be worked with."""
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ('tcp', 'tls') and parts.hostname and parts.port and not parts.username
    except ValueError:
        is_address = False
    if not is_address:
        raise SettingsError(f'{name}: must be tcp://HOST:PORT, tls://HOST:PORT, or the name of a scheduler file.')
    if parts.scheme == 'tcp' and not is_loopback(address) and not insecure:
        raise SettingsError(
            f'{name}: whoever reaches a port of Dask runs code there, and tcp:// asks nobody who he is. Use '
            'tls:// (docs/farm.md), or say --insecure where nobody else reaches the network of the farm.'
        )
    if parts.scheme == 'tls' and not _has_certificates():
        raise SettingsError(
            f'{name}: tls:// needs certificates, which stand in a configuration file of Dask, such as '
            f'~/.config/dask/edw.yaml ({TLS_OPTIONS}); docs/farm.md shows one.'
        )


def _in_file(name: str) -> str:
    try:
        text = Path(name).expanduser().read_text(encoding='utf-8', errors='replace')
    except (OSError, RuntimeError, ValueError) as error:
        raise NoSchedulerFile(f'{name}: no scheduler has written its file there: {error}') from None
    try:
        return str(json.loads(text)['address'])
    except (ValueError, KeyError, TypeError):
        if not text.strip() or text.startswith('{'):
            raise NoSchedulerFile(f'{name}: the scheduler has not written all of its file') from None
        raise SettingsError(
            f'--farm {name}: this is no file that dask scheduler --scheduler-file has written.'
        ) from None


class NoSchedulerFile(EdwError):
    """The scheduler has not written its file yet."""


def _has_certificates() -> bool:
    from distributed.security import Security

    try:
        found = Security().get_connection_args('client')
    except (OSError, ValueError) as error:
        raise SettingsError(f'the certificates of {TLS_OPTIONS} cannot be used: {error}') from None
    return found.get('ssl_context') is not None


class Stream:
    """Messages between a listener and a node, over a connection of Dask's: many go in one go, or each would cost more.

    A connection that is lost is told to whoever receives; what is said to it then is lost.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._comm.allow_offload = False  # bytes are serialized in no time: to look whether they are many takes longer
        self._unsaid: list[tuple[Any, ...]] = []
        self._writing: asyncio.Task[None] | None = None
        self._due = 0.0  # time of the loop at which to write again

    def send(self, *message: Any) -> asyncio.Task[None]:
        """Say it soon. Returns what is done when it is on its way, or lost."""
        self._unsaid.append(message)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        return self._writing

    async def receive(self) -> list[tuple[Any, ...]]:
        """What the other side says next, one message or several. Raises OSError when the connection is lost."""
        said: list[tuple[Any, ...]] = await self._comm.read()
        return said

    def abort(self) -> None:
        """Close it at once."""
        self._comm.abort()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if (pause := self._due - loop.time()) > 0:
                await asyncio.sleep(pause)
            else:
                await asyncio.sleep(0)  # where a callback has ended, the begin of the next one goes with that
            while self._unsaid:
                said, self._unsaid = self._unsaid, []
                await self._comm.write(said)
            self._due = loop.time() + PAUSE
        except OSError:
            self.abort()
        finally:
            self._writing = None
