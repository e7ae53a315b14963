"""Fixtures: a server (embedded, or EDW_TEST_SERVER), and a database, folders and settings for each test."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import hypothesis
import pytest
import requests

import local_couchdb
from edw import config
from edw.config import Settings
from edw.database import design
from edw.database.client import Database
from tests.scripts import Scripts
from tests.sharing import Sharing, is_long
from upload_design import DESIGN_FILE

# Nothing of the caller's own settings may reach a test.
for variable in config.ENVIRONMENT:
    os.environ.pop(variable, None)

# No time is asserted: a machine that is busy otherwise is no fault. `make check` looks at a tenth of the examples, and
# `make test-long` at four times as many where they are costly.
NO_CLOCK = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile('test', NO_CLOCK)
hypothesis.settings.register_profile('check', NO_CLOCK, max_examples=10)
hypothesis.settings.register_profile('long', NO_CLOCK, max_examples=400)
hypothesis.settings.load_profile('test')

DESIGN = design.read(DESIGN_FILE)
MEMORY, ROOM = Path('/dev/shm'), 2 << 30  # a file system in memory, and the bytes that have to be free there

SETTINGS = """
[Cloudant]
server = {server}
dbname = {dbname}
username = {username}
password = {password}
viewname = _design/process/_view/lastproc
[data]
raw = raw
sps = sps
[listener]
workers = 1
batch = 500
attempts = 3
retry_pause = 0.1
heartbeat = 1
lease = 3
"""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test` does not even read the long ones: each of its processes would take half a second for that."""
    left_out = config.getoption('markexpr') == 'not long' and collection_path.is_relative_to(config.rootpath)
    return True if left_out and is_long(collection_path.relative_to(config.rootpath).as_posix()) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test` leaves out."""
    for item in items:
        if is_long(item.nodeid):
            item.add_marker('long')


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """For `-n auto`: two processes more than there are processors, because tests with a server often wait for it."""
    return (os.cpu_count() or 1) + 2 if config.getoption('numprocesses') == 'auto' else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing | None:
    """Share the tests out as tests/sharing.py says, unless another way is asked for."""
    return Sharing(config, log) if config.getvalue('dist') == 'load' else None


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """Reports of tests of odd text hold half surrogate pairs, which pytest-xdist cannot send from its processes."""
    return sendable((yield))


def sendable(value: Any) -> Any:
    """The same lists, tuples and dicts, with strings that can be encoded."""
    if isinstance(value, str):
        return value.encode('utf-8', 'backslashreplace').decode()
    if isinstance(value, (list, tuple)):
        return type(value)(map(sendable, value))
    return {sendable(key): sendable(inner) for key, inner in value.items()} if isinstance(value, dict) else value


class Server:
    """A CouchDB-style server and an administrator's login."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url, self.username, self.password = url, username, password
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no ~/.netrc

    def request(self, method: str, path: str, **options: object) -> requests.Response:
        """A request with the login, past everything the project does itself."""
        login = self.username, self.password
        return self._session.request(method, f'{self.url}/{path}', auth=login, timeout=30, **options)

    def make(self, path: str, **options: object) -> None:
        """Make a database or a document."""
        answer = self.request('PUT', path, **options)
        assert answer.ok, answer.text

    def settings_text(self, dbname: str) -> str:
        """An edw.ini for this server."""
        return SETTINGS.format(server=self.url, dbname=dbname, username=self.username, password=self.password)


@pytest.fixture(scope='session')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the whole run."""
    given = os.environ.get('EDW_TEST_SERVER')
    if given:
        parts = urlsplit(given)
        login = unquote(parts.username or ''), unquote(parts.password or '')
        yield Server(f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}', *login)
        return
    login = 'tester', f'secret-{secrets.token_hex(8)}'
    with folder_of_server(tmp_path_factory) as folder, local_couchdb.running(folder / 'couchdb', *login) as url:
        yield Server(url, *login)


@contextlib.contextmanager
def folder_of_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is room: to make and delete the files of a thousand databases is a sixth of its work."""
    try:
        has_room = shutil.disk_usage(MEMORY).free >= ROOM and os.access(MEMORY, os.W_OK)
    except OSError:
        has_room = False
    if has_room:
        with tempfile.TemporaryDirectory(prefix='edwtest-', dir=MEMORY) as folder:
            yield Path(folder)
    else:
        yield tmp_path_factory.mktemp('server')


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> Iterator[Settings]:
    """Settings, in a file of their own, for a database that is not there yet."""
    dbname = f'edwtest-{secrets.token_hex(6)}'
    file = tmp_path / 'edw.ini'
    file.write_text(server.settings_text(dbname))
    yield config.load(file)
    server.request('DELETE', dbname)


@pytest.fixture
def empty_database(server: Server, settings: Settings) -> Database:
    """A database without a design document."""
    server.make(settings.dbname)
    return Database(settings)


@pytest.fixture
def database(server: Server, empty_database: Database) -> Database:
    """A database with the design document; `edw.database.design.upload` would first look what is there."""
    server.make(f'{empty_database.settings.dbname}/_design/process', json=DESIGN)
    return empty_database


@pytest.fixture
def scripts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripts]:
    """Runs the scripts with the test's settings, and ends those that still run."""
    monkeypatch.setenv('XDG_STATE_HOME', str(settings.file.parent / 'state'))
    with Scripts(settings.file) as running:
        yield running
