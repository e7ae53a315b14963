"""Where a farm's scheduler is, and whether it may be worked with.

Whoever reaches a port of Dask runs code there, and what comes from there is unpickled here. So it is one of this
machine alone, or one with certificates on both sides, unless somebody says that the network is closed to others.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from edw.config import is_loopback
from edw.errors import EdwError, SettingsError

TLS_OPTIONS = 'distributed.comm.tls: ca-file, client.cert and client.key'


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
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ('tcp', 'tls') and parts.hostname and parts.port and not parts.username
    except ValueError:
        is_address = False
    if not is_address:
        raise SettingsError(
            f'--farm {farm}: must be tcp://HOST:PORT, tls://HOST:PORT, or the name of a scheduler file.'
        )
    if parts.scheme == 'tcp' and not is_loopback(address) and not insecure:
        raise SettingsError(
            f'--farm {farm}: whoever reaches a port of Dask runs code there, and tcp:// asks nobody who he is. Use '
            'tls:// (docs/farm.md), or say --insecure where nobody else reaches the network of the farm.'
        )
    if parts.scheme == 'tls' and not _has_certificates():
        raise SettingsError(
            f'--farm {farm}: tls:// needs certificates, which stand in a configuration file of Dask, such as '
            f'~/.config/dask/edw.yaml ({TLS_OPTIONS}); docs/farm.md shows one.'
        )
    return address


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
