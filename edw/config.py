"""Settings: edw.ini, then local.edw.ini beside it, then the environment."""

from __future__ import annotations

import configparser
import ipaddress
import logging
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from edw.errors import SettingsError

log = logging.getLogger(__name__)

LEAST_BEATS = 2.0  # heartbeats in a lease
DEFAULT_FILE = Path(__file__).resolve().parent.parent / 'edw.ini'


@dataclass(frozen=True)
class Settings:
    """What edw.ini says, checked. `raw` and `sps` are absolute paths or URLs, times are in seconds."""

    file: Path
    server: str
    dbname: str
    username: str
    password: str = field(repr=False)
    iam_apikey: str = field(repr=False)
    iam_url: str
    ca_bundle: str
    viewname: str
    raw: str
    sps: str
    workers: int
    batch: int
    attempts: int
    retry_pause: float
    heartbeat: float
    lease: float
    dashboard_password: str = field(repr=False)

    @property
    def design(self) -> str:
        """Id of the design document, `_design/process`."""
        return '/'.join(self.viewname.split('/')[:2])


# The settings that a callback works with. Not a global, so that two listeners in one process keep their own.
current: ContextVar[Settings] = ContextVar('current')


def _text(value: str) -> str:
    if not value:
        raise ValueError('must not be empty')
    return value


def _server(value: str) -> str:
    parts = urlsplit(value)
    # The port as it stands: asking for it as a number raises an error that nobody understands.
    port = parts.netloc.rpartition('@')[2].partition(']')[2] or parts.netloc.rpartition('@')[2]
    if parts.scheme not in ('http', 'https') or not parts.hostname or not re.fullmatch(r'[^:]*(:\d{1,5})?', port):
        raise ValueError('must be a URL like https://HOST:PORT, and nothing after it')
    if parts.username is not None:
        raise ValueError('must not hold a login: that goes into username and password')
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip('/'), '', ''))


def _dbname(value: str) -> str:
    if not re.fullmatch(r'[a-z][a-z0-9_$()+/-]*', value):
        raise ValueError('must be a database name: a small letter, then small letters, digits and _$()+-/')
    return value


def _viewname(value: str) -> str:
    if not re.fullmatch(r'_design/[^/]+/_view/[^/]+', value):
        raise ValueError('must be like _design/process/_view/lastproc')
    return value


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError('must be a whole number, 1 or more')
    return int(value)


def _seconds(value: str) -> float:
    if not re.fullmatch(r'\d+(\.\d*)?|\.\d+', value):
        raise ValueError('must be a number of seconds, 0 or more')
    return float(value)


def _interval(value: str) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError('must be a number of seconds, more than 0')
    return seconds


OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
    'Cloudant': {
        'server': _server,
        'dbname': _dbname,
        'username': str,
        'password': str,
        'iam_apikey': str,
        'iam_url': _server,
        'ca_bundle': str,
        'viewname': _viewname,
    },
    'data': {'raw': _text, 'sps': _text},
    'listener': {
        'workers': _count,
        'batch': _count,
        'attempts': _count,
        'retry_pause': _seconds,
        'heartbeat': _interval,
        'lease': _interval,
    },
    'dashboard': {'dashboard_password': str},
}
# What only some sites need; every other option must be there.
DEFAULTS = {
    ('Cloudant', 'iam_apikey'): '',
    ('Cloudant', 'iam_url'): 'https://iam.cloud.ibm.com/identity/token',
    ('Cloudant', 'ca_bundle'): '',
    ('dashboard', 'dashboard_password'): '',
}
ENVIRONMENT = {
    'EDW_SERVER': ('Cloudant', 'server'),
    'EDW_DBNAME': ('Cloudant', 'dbname'),
    'EDW_USERNAME': ('Cloudant', 'username'),
    'EDW_PASSWORD': ('Cloudant', 'password'),
    'EDW_IAM_APIKEY': ('Cloudant', 'iam_apikey'),
    'EDW_DASHBOARD_PASSWORD': ('dashboard', 'dashboard_password'),
}


def load(file: str | Path | None = None) -> Settings:
    """Read FILE (by default edw.ini beside the scripts), local.FILE beside it, and the environment.

    Raises SettingsError, which names file, section and key.
    """
    path = Path(file or DEFAULT_FILE).resolve()
    values = _read(path)
    if not values:
        raise SettingsError(f'{path}: no such settings file. Give one with --config FILE.')
    local = path.with_name(f'local.{path.name}')
    for place, (text, _) in _read(local).items():
        values[place] = (text, local)
    for variable, place in ENVIRONMENT.items():
        if variable in os.environ:
            values[place] = (os.environ[variable], variable)
    for place, text in DEFAULTS.items():
        values.setdefault(place, (text, path))
    known = {}
    for section, options in OPTIONS.items():
        for option, check in options.items():
            if (section, option) not in values:
                raise SettingsError(f'{path}: section [{section}] has no option {option}. Add it.')
            text, origin = values[section, option]
            try:
                known[option] = check(text)
            except ValueError as error:
                raise SettingsError(f'{origin}: [{section}] {option} {error}') from None
    if known['lease'] < LEAST_BEATS * known['heartbeat']:
        raise SettingsError(
            f'{path}: [listener] lease must be at least {LEAST_BEATS:g} times heartbeat, '
            'or a single late one would cost a living worker its claims.'
        )
    known['raw'] = _location(known['raw'], path.parent)
    known['sps'] = _location(known['sps'], path.parent)
    if known['ca_bundle']:
        known['ca_bundle'] = _location(known['ca_bundle'], path.parent)
        if not Path(known['ca_bundle']).exists():
            raise SettingsError(f'{path}: [Cloudant] ca_bundle: there is no file {known["ca_bundle"]}')
    settings = Settings(file=path, **known)
    if settings.server.startswith('http:') and settings.password and not _is_loopback(settings.server):
        log.warning('%s: the password goes over the network in the clear; use https', settings.server)
    return settings


def _read(path: Path) -> dict[tuple[str, str], tuple[str, str | Path]]:
    """{(section, option): (text, where it stands)} of one file; nothing where there is no file."""
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding='utf-8') as stream:
            parser.read_file(stream)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f'{path}: cannot be read: {error}') from None
    except configparser.Error as error:
        # The parser quotes the line, which may hold the password.
        line = getattr(error, 'lineno', None) or (getattr(error, 'errors', None) or [('?', '')])[0][0]
        raise SettingsError(f'{path}: line {line} is not of the form "option = value" in a [section].') from None
    values = {}
    for section in parser.sections():
        known = {name.lower(): name for name in OPTIONS}.get(section.lower(), section)
        if known != section:
            raise SettingsError(f'{path}: section [{section}] is written [{known}].')
        for option, text in parser.items(section):
            if section in OPTIONS and option not in OPTIONS[section]:
                raise SettingsError(
                    f'{path}: [{section}] has an option {option} that nobody reads. '
                    f'Known are: {", ".join(OPTIONS[section])}.'
                )
            values[section, option] = (text.strip(), path)
    if not values:
        raise SettingsError(f'{path}: holds no settings; compare it with the edw.ini of the project.')
    return values


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ''
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _location(value: str, base: Path) -> str:
    """An absolute path as it is, a relative one as seen from the settings file, a URL as it is."""
    return value if '://' in value else str(base / Path(value).expanduser())
