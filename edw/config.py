"""Settings: edw.ini, then local.edw.ini beside it, then the environment.

Each setting is declared once, as a field of `Settings`. How it is read, what an error says, the shipped edw.ini and the
table in docs/settings.md follow from that; `python -m docs.generate` writes the last two anew.
"""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import difflib
import errno
import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from edw.errors import SettingsError
from edw.redact import keep_secret

log = logging.getLogger(__name__)

LAST_PORT = 65535
MOST = 1_000_000  # of anything that is counted; more is a slip of the pen
MOST_WORKERS = 1000
MOST_COPIES = 100
ENGINES = THREADS, PROCESSES = ('threads', 'processes')
LONGEST = 2e6  # seconds, about three weeks; poll() of the system counts milliseconds in 31 bits
LEAST_BEATS = 2.0  # heartbeats in a lease
WRITTEN_OPENLY = ('server', 'dbname', 'username')  # and all locations: what stands in them is no secret
DEFAULT_FILE = Path(__file__).resolve().parent.parent / 'edw.ini'


@dataclass(frozen=True)
class Option:
    """How one setting is declared. Its name is that of the field of `Settings`."""

    section: str
    check: Callable[[str], Any]  # makes the value out of the text, or raises ValueError with a text "must …"
    help: str  # Markdown, one or two sentences
    default: str | None  # text that counts where none is given; None: one must be given
    shipped: str | None  # text in the shipped edw.ini, where that is not the default
    variable: str  # of the environment; empty: none
    secret: bool  # never printed
    location: bool  # a path, relative to the settings file, or a URL
    rare: bool  # stands in the shipped edw.ini as a comment
    name: str = ''


def option(
    section: str,
    check: Callable[[str], Any],
    help: str,
    *,
    default: str | None = None,
    shipped: str | None = None,
    variable: str = '',
    secret: bool = False,
    location: bool = False,
    rare: bool = False,
) -> Any:
    """A field of `Settings` that is read from a section of the settings file. `Option` says what each argument is."""
    declared = Option(section, check, help, default, shipped, variable, secret, location, rare)
    return dataclasses.field(repr=not secret, metadata={'option': declared})


def _text(value: str) -> str:
    if not value:
        raise ValueError('must not be empty')
    return value


def _server(value: str) -> str:
    parts = urlsplit(value)
    # The port as it stands: asking for it as a number raises an error that nobody understands.
    port = parts.netloc.rpartition('@')[2].partition(']')[2] or parts.netloc.rpartition('@')[2]
    given = re.fullmatch(r'[^:]*(?::(\d{1,5}))?', port, re.ASCII)
    if parts.scheme not in ('http', 'https') or not parts.hostname or not given or int(given[1] or 0) > LAST_PORT:
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


def _file_or_nothing(value: str) -> str:
    if value and not Path(value).exists():
        raise ValueError(f'must be the name of a file, and there is no file {value}')
    return value


def _count(value: str, most: int = MOST) -> int:
    # The length first: Python refuses to read numbers of thousands of digits, in words of its own.
    if not value.isdecimal() or len(value) > len(str(most)) or not 1 <= int(value) <= most:
        raise ValueError(f'must be a whole number from 1 to {most}')
    return int(value)


def _workers(value: str) -> int:
    return _count(value, MOST_WORKERS) if value else 0  # as many as the engine makes by itself


def _engine(value: str) -> str:
    if value and value not in ENGINES:
        raise ValueError(f'must be {" or ".join(ENGINES)}, or empty')
    return value


def _seconds(value: str) -> float:
    if not re.fullmatch(r'\d+(\.\d*)?|\.\d+', value) or float(value) > LONGEST:
        raise ValueError(f'must be a number of seconds, 0 to {LONGEST:g}')
    return float(value)


def _interval(value: str) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError('must be a number of seconds, more than 0')
    return seconds


@dataclass(frozen=True)
class Settings:
    """What the settings say, checked. Locations are absolute paths or URLs, times are in seconds."""

    file: Path
    server: str = option(
        'Cloudant',
        _server,
        'URL of the server, without a login in it. `http://127.0.0.1:5984` is the embedded one, '
        '`python local_couchdb.py`; of a Cloudant account: `https://ACCOUNT.cloudant.com`',
        shipped='http://127.0.0.1:5984',
        variable='EDW_SERVER',
    )
    dbname: str = option('Cloudant', _dbname, 'Name of the database', shipped='edwexample', variable='EDW_DBNAME')
    username: str = option(
        'Cloudant',
        str,
        'The login. Empty: it is taken from `~/.netrc`',
        default='',
        shipped='edw',
        variable='EDW_USERNAME',
    )
    password: str = option(
        'Cloudant',
        str,
        'Its password; yours belongs into `local.edw.ini`, into the environment or into `~/.netrc`. The embedded '
        'server writes its own into `local.edw.ini`',
        default='',
        variable='EDW_PASSWORD',
        secret=True,
    )
    iam_apikey: str = option(
        'Cloudant',
        str,
        "Cloudant's IAM API key, instead of a login",
        default='',
        variable='EDW_IAM_APIKEY',
        secret=True,
        rare=True,
    )
    iam_url: str = option(
        'Cloudant',
        _server,
        'Where IAM sells its tokens',
        default='https://iam.cloud.ibm.com/identity/token',
        rare=True,
    )
    ca_bundle: str = option(
        'Cloudant',
        _file_or_nothing,
        "Certificate file of a site's own authority, for `https`, relative to the settings file",
        default='',
        location=True,
        rare=True,
    )
    viewname: str = option(
        'Cloudant',
        _viewname,
        'The view of what waits for a step. It also names the design document',
        default='_design/process/_view/lastproc',
    )
    raw: str = option(
        'data',
        _text,
        'Folder that the simulated acquisition writes to, relative to the settings file',
        default='data/raw',
        location=True,
    )
    sps: str = option(
        'data',
        _text,
        'Folder, relative to the settings file, or URL such as `sftp://USER@HOST/PATH`, that `move_to_sps` copies to; '
        'a new one must hold a file `.edw-storage`',
        default='data/sps',
        location=True,
    )
    scratch: str = option(
        'data',
        str,
        'Folder, relative to the settings file, for copies of files of other machines while they are worked on. '
        'Empty: the temporary folder of the system',
        default='',
        location=True,
        rare=True,
    )
    copies: int = option(
        'data',
        partial(_count, most=MOST_COPIES),
        'How many verified copies of an original there must be before `delete_originals.py` deletes it',
        default='1',
    )
    engine: str = option(
        'listener',
        _engine,
        'Where callbacks run: in `threads`, for those that wait, or in `processes`, for those that compute. Empty: as '
        'the script of the step says; `--engine` overrides',
        default='',
    )
    workers: int = option(
        'listener',
        _workers,
        'Callbacks that run at once; `--workers` overrides. Empty: one thread, or as many processes as there are '
        'processors for the listener',
        default='',
    )
    batch: int = option(
        'listener',
        _count,
        'Documents that are claimed and written in one request, at most; `--batch` overrides',
        default='500',
    )
    attempts: int = option(
        'listener',
        _count,
        'How often a step is tried on a document before its status says that it failed',
        default='3',
    )
    retry_pause: float = option(
        'listener',
        _seconds,
        'Seconds before the second attempt; the pause doubles with every further one',
        default='2',
    )
    heartbeat: float = option(
        'listener', _interval, 'Seconds between the heartbeats of a listener that holds claims', default='10'
    )
    lease: float = option(
        'listener',
        _interval,
        'Seconds without a heartbeat after which other listeners release its claims; at least twice `heartbeat`',
        default='30',
    )
    address: str = option(
        'farm',
        str,
        'Scheduler of a Dask cluster that callbacks run on, `tcp://HOST:8786` or `tls://HOST:8786`, or the name of its '
        'scheduler file; `--farm` overrides, see [a farm](farm.md). Empty: they run on this machine',
        default='',
        rare=True,
    )
    dashboard_password: str = option(
        'dashboard',
        str,
        'Whoever knows it may reprocess documents from the pages of `dashboard.py`. Empty: they only show',
        default='',
        variable='EDW_DASHBOARD_PASSWORD',
        secret=True,
    )

    @property
    def lastproc(self) -> str:
        """Name of the view of what waits for a step, within the design document."""
        return self.viewname.split('/')[3]

    @property
    def design(self) -> str:
        """Id of the design document, `_design/process`."""
        return '/'.join(self.viewname.split('/')[:2])


OPTIONS: tuple[Option, ...] = tuple(
    dataclasses.replace(field.metadata['option'], name=field.name)
    for field in dataclasses.fields(Settings)
    if 'option' in field.metadata
)
SECTIONS = tuple(dict.fromkeys(option.section for option in OPTIONS))
ENVIRONMENT = {option.variable: option for option in OPTIONS if option.variable}

# The settings that a callback works with. Not a global, so that two listeners in one process keep their own.
current: ContextVar[Settings] = ContextVar('current')


@contextlib.contextmanager
def using(settings: Settings) -> Iterator[None]:
    """A block that works with these settings, outside a callback."""
    token = current.set(settings)
    try:
        yield
    finally:
        current.reset(token)


Found = dict[tuple[str, str], tuple[str, str | Path]]  # (section, option): text, and where it stands

_unread: set[tuple[Path, str]] = set()  # sections that were warned of


def load(file: str | Path | None = None) -> Settings:
    """Read FILE (by default edw.ini beside the scripts), local.FILE beside it, and the environment.

    Raises SettingsError, which names file, section and key, and never quotes a value that could be a secret.
    """
    try:
        path = Path(DEFAULT_FILE if file is None else file).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links that go round in a circle, a null character
        raise SettingsError(f'--config {str(file)!r}: {error}') from None
    found = _read(path)
    if found is None:
        raise SettingsError(f'{path}: no such settings file. Give one with --config FILE.')
    found |= _read(path.with_name(f'local.{path.name}')) or {}
    for variable, declared in ENVIRONMENT.items():
        if variable in os.environ:
            found[declared.section, declared.name] = (os.environ[variable], variable)
    settings = Settings(file=path, **{declared.name: _value(declared, found, path) for declared in OPTIONS})
    if settings.lease < LEAST_BEATS * settings.heartbeat:
        raise SettingsError(
            f'{path}: [listener] lease must be at least {LEAST_BEATS:g} times heartbeat, '
            'or a single late one would cost a living listener its claims.'
        )
    if settings.server.startswith('http:') and settings.password and not is_loopback(settings.server):
        log.warning('%s: the password goes over the network in the clear; use https', settings.server)
    return settings


def origin_of_password(settings: Settings) -> str | None:
    """Where the password of these settings stands: in a variable of `ENVIRONMENT`, or in which file.

    None where it stands nowhere any more.
    """
    place = ('Cloudant', 'password')
    variable = next(name for name, declared in ENVIRONMENT.items() if (declared.section, declared.name) == place)
    if os.environ.get(variable) == settings.password:
        return variable
    with contextlib.suppress(SettingsError):
        for file in (settings.file.with_name(f'local.{settings.file.name}'), settings.file):
            if ((_read(file) or {}).get(place) or (None,))[0] == settings.password:
                return str(file)
    return None


def hide_secrets(settings: Settings) -> None:
    """Let nothing that is printed, logged or written into a document hold a secret of these settings."""
    openly = [
        str(getattr(settings, option.name)) for option in OPTIONS if option.location or option.name in WRITTEN_OPENLY
    ]
    for option in OPTIONS:
        if option.secret:
            keep_secret(getattr(settings, option.name), settings.username, [str(settings.file), *openly])


def _read(path: Path) -> Found | None:
    """What one file says; None where there is no file."""
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding='utf-8') as stream:
            parser.read_file(stream)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        if getattr(error, 'errno', None) == errno.ENAMETOOLONG:
            return None  # there can be no such file, also where `local.` makes the name too long
        raise SettingsError(f'{path}: cannot be read: {getattr(error, "strerror", None) or error}') from None
    except configparser.Error as error:
        # The parser quotes the line, which may hold the password.
        line = getattr(error, 'lineno', None) or (getattr(error, 'errors', None) or [('?', '')])[0][0]
        raise SettingsError(f'{path}: line {line} is not of the form "option = value" in a [section].') from None
    if not any(parser.items(section) for section in parser.sections()):
        raise SettingsError(f'{path}: holds no settings; compare it with the edw.ini of the project.')
    found: Found = {}
    for section in parser.sections():
        if section not in SECTIONS:
            _tell_of_unread(path, section)
            continue
        for name, text in parser.items(section):
            if not any((declared.section, declared.name) == (section, name) for declared in OPTIONS):
                raise SettingsError(
                    f'{path}: [{section}] has an option {name} that nobody reads. {_meant(section, name)}'
                )
            found[section, name] = (text.strip(), path)
    return found


def _tell_of_unread(path: Path, section: str) -> None:
    """Warn once of a section that is somebody else's, or a slip of the pen; its options have their defaults then."""
    known = {name.lower(): name for name in SECTIONS}
    if section.lower() in known:
        raise SettingsError(f'{path}: section [{section}] is written [{known[section.lower()]}].')
    if (path, section) not in _unread:
        _unread.add((path, section))
        near = difflib.get_close_matches(section.lower(), known, 1)
        meant = f' Did you mean [{known[near[0]]}]?' if near else ''
        log.warning('%s: nobody reads the section [%s].%s', path, section, meant)


def _meant(section: str, name: str) -> str:
    """The way out for an option that nobody reads."""
    elsewhere = [declared.section for declared in OPTIONS if declared.name == name]
    if elsewhere:
        return f'It belongs into [{elsewhere[0]}].'
    known = [declared.name for declared in OPTIONS if declared.section == section]
    near = difflib.get_close_matches(name, known, 1)
    return f'Did you mean {near[0]}?' if near else f'Known are: {", ".join(known)}.'


def _value(declared: Option, found: Found, path: Path) -> Any:
    """The checked value of one option."""
    place = (declared.section, declared.name)
    if place not in found and declared.default is None:
        raise SettingsError(f'{path}: section [{declared.section}] has no option {declared.name}. Add it.')
    text, origin = found.get(place) or (declared.default or '', path)
    try:
        return declared.check(_location(text, path.parent) if declared.location and text else text)
    except ValueError as error:
        raise SettingsError(f'{origin}: [{declared.section}] {declared.name} {error}') from None


def is_loopback(server: str) -> bool:
    """Whether a URL is one of this machine alone."""
    host = urlsplit(server).hostname or ''
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _location(value: str, base: Path) -> str:
    """An absolute path as it is, a relative one as seen from the settings file, a URL as it is."""
    if '\0' in value:
        raise ValueError('must not hold a null character')
    if '://' in value:
        return value
    try:
        return str(base / Path(value).expanduser())
    except RuntimeError:
        raise ValueError('must not begin with the ~ of a user whom nobody knows') from None
