"""dashboard.py as a process: how it starts, what it asks of the database, and how it ends."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from edw.config import Settings
from edw.database.client import Database
from tests.chaos.proxy import Proxy
from tests.scripts import LIMIT, Process, Scripts, wait_until

REQUEST = re.compile(rb'^(?:GET|POST|PUT) (\S+)', re.MULTILINE)


class CountingProxy(Proxy):
    """Notes the path of each request that goes through."""

    def __init__(self, target: int) -> None:
        self.paths: list[str] = []
        super().__init__(target)

    def count(self, name: str) -> int:
        return sum(name in path for path in self.paths)

    def lead_to(self, port: int) -> int:
        """Take connections to another port from now on; returns the one before."""
        before, self._target = self._target, port
        return before

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        super()._pump(_Noting(source, self.paths), sink)


class _Noting:
    """A socket that notes the requests that come out of it."""

    def __init__(self, inner: socket.socket, paths: list[str]) -> None:
        self._inner, self._paths = inner, paths

    def recv(self, size: int) -> bytes:
        data = self._inner.recv(size)
        self._paths += [path.decode() for path in REQUEST.findall(data)]
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def __eq__(self, other: object) -> bool:
        return other == self._inner

    def __hash__(self) -> int:
        return hash(self._inner)


@dataclasses.dataclass
class Stream:
    """A browser's connection for events; what it was sent, and whether it has ended."""

    url: str

    def __post_init__(self) -> None:
        self._response = requests.get(f'{self.url}events', stream=True, timeout=LIMIT)
        self.text = ''
        self.ended = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._response.iter_lines(decode_unicode=True):
            self.text += f'{line}\n'
        self.ended.set()

    def close(self) -> None:
        self._reader.join(LIMIT)
        self._response.close()


def address_of(dashboard: Process) -> str:
    dashboard.wait_for('dashboard at ')
    return re.search(r'dashboard at (\S+)', dashboard.output)[1]


@pytest.fixture
def proxy(settings: Settings) -> Iterator[CountingProxy]:
    through = CountingProxy(urlsplit(settings.server).port)
    yield through
    through.close()


def lead_through(settings: Settings, proxy: Proxy) -> None:
    settings.file.write_text(settings.file.read_text().replace(settings.server, f'http://127.0.0.1:{proxy.port}'))


def seed(database: Database, count: int, first: int = 0) -> None:
    numbers = range(first, first + count)
    database.bulk_docs([{'_id': f'd{n}', 'run': 'r', 'status': 'good', 'process': []} for n in numbers])


def test_it_ends_in_order_and_takes_open_pages_with_it(database: Database, scripts: Scripts) -> None:
    dashboard = scripts.start('dashboard.py', '--port', '0')
    url = address_of(dashboard)
    streams = [Stream(url) for _ in range(3)]
    assert requests.get(url, timeout=30).status_code == 200
    assert dashboard.stop(signal.SIGINT) == 0 and dashboard.output.endswith('stopping\n')
    for stream in streams:
        stream.close()
        assert stream.ended.is_set()
    where, said, _ = dashboard.output.splitlines()
    assert f' database {database.url}' in where and said == f'dashboard at {url}'


def test_it_ends_although_the_database_does_not_answer(
    database: Database, scripts: Scripts, settings: Settings, proxy: CountingProxy
) -> None:
    lead_through(settings, proxy)
    dashboard = scripts.start('dashboard.py', '--port', '0')
    url = address_of(dashboard)
    with socket.create_server(('127.0.0.1', 0)) as silent, ThreadPoolExecutor(1) as pool:
        proxy.lead_to(silent.getsockname()[1])
        proxy.cut()
        asked = proxy.count('/_session') + proxy.count('/_view/newest')
        answer = pool.submit(requests.get, f'{url}runs', timeout=LIMIT)
        # What the page reads, and no request of the watch; a database that is not new to the server logs in first.
        wait_until(lambda: proxy.count('/_session') + proxy.count('/_view/newest') > asked)
        assert dashboard.stop(signal.SIGTERM) == 0
        assert answer.result().status_code == 503
    assert 'Traceback' not in dashboard.output


def test_without_a_password_there_is_nothing_to_log_in_to(database: Database, scripts: Scripts) -> None:
    url = address_of(scripts.start('dashboard.py', '--port', '0'))
    origin = {'Origin': url.rstrip('/')}
    for path in ('login', 'logout', 'reprocess'):
        assert requests.post(url + path, data={'id': 'd'}, headers=origin, timeout=30).status_code == 404
    answer = requests.get(url, timeout=30)
    assert 'Log in' not in answer.text
    assert 'Set-Cookie' not in answer.headers


def test_a_port_that_is_taken_is_said_in_one_line(database: Database, scripts: Scripts) -> None:
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        run = scripts.call('dashboard.py', '--port', str(port))
    assert run.returncode == 1
    _, error = run.stderr.splitlines()
    assert error == f'error: port {port} on 127.0.0.1 is taken by another program. Choose one with --port.'


def test_without_a_design_document_it_says_what_to_do(empty_database: Database, scripts: Scripts) -> None:
    run = scripts.call('dashboard.py', '--port', '0')
    assert run.returncode == 1
    assert 'upload_design.py' in run.stderr and 'Traceback' not in run.stderr


def test_ten_browsers_cost_the_database_one_feed(
    database: Database, scripts: Scripts, settings: Settings, proxy: CountingProxy
) -> None:
    seed(database, 3)
    lead_through(settings, proxy)
    dashboard = scripts.start('dashboard.py', '--port', '0')
    url = address_of(dashboard)
    streams = [Stream(url) for _ in range(10)]
    wait_until(lambda: all('<dt>Documents</dt><dd>3</dd>' in stream.text for stream in streams))
    wait_until(lambda: proxy.count('/_changes') == 1)
    readings = proxy.count('/_view/conflicts')
    seed(database, 1, first=3)
    wait_until(lambda: all('<dt>Documents</dt><dd>4</dd>' in stream.text for stream in streams))
    wait_until(lambda: proxy.count('/_changes') == 2)
    assert proxy.count('/_view/conflicts') < readings + len(streams)
    assert proxy.count('/_changes') == 2
    assert dashboard.stop() == 0
    for stream in streams:
        stream.close()


def test_an_outage_is_said_waited_out_and_over(
    database: Database, scripts: Scripts, settings: Settings, proxy: CountingProxy
) -> None:
    seed(database, 3)
    lead_through(settings, proxy)
    dashboard = scripts.start('dashboard.py', '--port', '0')
    url = address_of(dashboard)
    stream = Stream(url)
    wait_until(lambda: '<strong>Live</strong>' in stream.text)
    target = proxy.lead_to(1)
    proxy.cut()
    wait_until(lambda: '<strong>Not live</strong>' in stream.text)
    overview = requests.get(url, timeout=30)
    assert overview.status_code == 200
    assert '<strong>Not live</strong>' in overview.text and '<dt>Documents</dt><dd>3</dd>' in overview.text
    runs = requests.get(f'{url}runs', timeout=30)
    assert runs.status_code == 502
    assert 'cannot be reached' in runs.text and settings.password not in runs.text
    before = stream.text
    proxy.lead_to(target)
    seed(database, 2, first=3)
    wait_until(lambda: '<dt>Documents</dt><dd>5</dd>' in stream.text.removeprefix(before))
    assert stream.text.rindex('<strong>Live</strong>') > stream.text.rindex('<strong>Not live</strong>')
    assert dashboard.stop() == 0
    stream.close()


def test_guessing_the_password_is_stopped(database: Database, scripts: Scripts) -> None:
    environment = {**os.environ, 'EDW_DASHBOARD_PASSWORD': 'the-right-one'}
    url = address_of(scripts.start('dashboard.py', '--port', '0', env=environment))

    def guess(password: str) -> requests.Response:
        with requests.Session() as session:
            page = session.get(f'{url}login', timeout=30).text
            token = re.search(r'name="csrf" value="([^"]+)"', page)[1]
            form = {'csrf': token, 'password': password, 'then': '/'}
            origin = {'Origin': url.rstrip('/')}
            return session.post(f'{url}login', data=form, headers=origin, timeout=30, allow_redirects=False)

    assert guess('the-right-one').status_code == 303
    with ThreadPoolExecutor(5) as pool:
        assert [answer.status_code for answer in pool.map(guess, ['wrong'] * 5)] == [403] * 5
    answer = guess('the-right-one')
    assert answer.status_code == 429
    assert answer.headers['Retry-After']
