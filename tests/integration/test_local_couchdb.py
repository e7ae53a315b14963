"""The embedded server, with requests that end PouchDB Server as published."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import local_couchdb
from tests.scripts import Scripts

LOGIN = ('someone', 'a-password-of-its-own')


@pytest.fixture(scope='module')
def url(tmp_path_factory: pytest.TempPathFactory):
    with local_couchdb.running(tmp_path_factory.mktemp('own') / 'couchdb', *LOGIN) as url:
        requests.put(f'{url}/db', auth=LOGIN, timeout=10).raise_for_status()
        requests.put(f'{url}/db/_design/d', auth=LOGIN, json={'filters': {'f': 'function() {'}}, timeout=10)
        yield url


@pytest.mark.parametrize(
    ('method', 'path', 'body', 'status'),
    [
        ('GET', 'db/_changes?filter=no/such', None, 404),
        ('GET', 'db/_changes?filter=d/none&feed=longpoll', None, 404),
        ('GET', 'db/_changes?filter=d/f', None, None),  # its JavaScript is broken
        ('GET', 'db/_changes?filter=_selector', None, 400),
        ('POST', 'db/_changes?filter=_selector', '{"selector": {}}', 400),
        ('GET', 'db/_changes?filter=nonsense', None, 400),
        ('GET', 'db/_changes?filter=a/b&filter=c/d', None, 400),
        ('GET', 'none/_changes?filter=d/f', None, 404),
        ('POST', 'db/_bulk_docs', '{"docs": [', 400),
        ('POST', 'db/_bulk_docs', 'null', None),
        ('POST', 'db/_bulk_docs', '{"docs": [null]}', None),
        ('PUT', 'db/x', '"text"', None),
        ('GET', 'db/_design/none/_view/x', None, 404),
        ('GET', 'db/_all_docs?startkey="', None, None),
    ],
)
def test_bad_requests_are_answered_and_survived(
    url: str, method: str, path: str, body: str | None, status: int | None
) -> None:
    headers = {'Content-Type': 'application/json'}
    answer = requests.request(method, f'{url}/{path}', data=body, headers=headers, auth=LOGIN, timeout=10)
    if status is not None:
        assert answer.status_code == status
        assert answer.json()['error']
    assert requests.get(f'{url}/db', auth=LOGIN, timeout=10).json()['db_name'] == 'db'


@pytest.mark.parametrize('path', ['', 'db', 'db/_all_docs', 'db/_changes?feed=longpoll', '_all_dbs'])
@pytest.mark.parametrize('login', [None, ('someone', 'wrong'), ('nobody', LOGIN[1])])
def test_every_request_needs_the_login(url: str, path: str, login: tuple[str, str] | None) -> None:
    answer = requests.get(f'{url}/{path}', auth=login, timeout=10)
    assert answer.status_code == 401
    assert answer.json()['error'] == 'unauthorized'


PROBE = """
const { EventEmitter } = require('node:events');
const emit = EventEmitter.prototype.emit;
EventEmitter.prototype.emit = function (event, ...values) {
  if (event === 'ref') console.error('database opened'); // what PouchDB emits for each that is made
  return emit.call(this, event, ...values);
};
"""


def test_clients_that_follow_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node warned of a leak at six clients; and each poll through a filter left a database open."""
    clients, rounds = 12, 10
    (tmp_path / 'probe.js').write_text(PROBE)
    monkeypatch.setenv('NODE_OPTIONS', f'--require {tmp_path / "probe.js"}')
    design = {'filters': {'all': 'function (doc, req) { return true; }'}}

    def follow(url: str) -> None:
        since: object = 0
        with requests.Session() as session:
            session.auth = LOGIN
            for _ in range(rounds):
                query = {'feed': 'longpoll', 'since': since, 'filter': 'd/all', 'heartbeat': 10_000}
                since = session.get(f'{url}/db/_changes', params=query, timeout=30).json()['last_seq']

    with local_couchdb.running(tmp_path / 'couchdb', *LOGIN) as url, ThreadPoolExecutor(clients) as threads:
        requests.put(f'{url}/db', auth=LOGIN, timeout=10).raise_for_status()
        requests.put(f'{url}/db/_design/d', auth=LOGIN, json=design, timeout=10).raise_for_status()
        opened = (tmp_path / 'couchdb.log').read_text().count('database opened')
        following = [threads.submit(follow, url) for _ in range(clients)]
        number = 0
        while not all(future.done() for future in following):
            requests.put(f'{url}/db/{number}', auth=LOGIN, json={}, timeout=10).raise_for_status()
            number += 1
        for future in following:
            future.result()
    said = (tmp_path / 'couchdb.log').read_text()
    assert opened and said.count('database opened') == opened
    assert 'MaxListenersExceededWarning' not in said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_data_are_kept_and_a_signal_ends_it(scripts: Scripts, tmp_path: Path, number: int) -> None:
    arguments = ('--port', '0', '--dir', str(tmp_path / 'kept'))
    login = tuple(
        line.split(' = ')[1] for line in scripts.config.read_text().splitlines() if line.startswith(('user', 'pass'))
    )
    for expected in (201, 412):  # created, and already there
        process = scripts.start('local_couchdb.py', *arguments)
        process.wait_for('http://127.0.0.1:')
        url = process.output.split()[-1]
        assert requests.put(f'{url}kept', auth=login, timeout=10).status_code == expected
        # A listener's longpoll does not hold the server.
        with requests.get(f'{url}kept/_changes?feed=longpoll&since=now', auth=login, stream=True, timeout=10):
            assert process.stop(number) == 0
    assert login[1] not in process.output


def test_a_port_in_use_is_one_line(scripts: Scripts, tmp_path: Path, url: str) -> None:
    done = scripts.run('local_couchdb.py', '--port', url.rpartition(':')[2], '--dir', str(tmp_path / 'd'))
    assert done.returncode == 1
    assert 'already in use' in done.stderr and len(done.stderr.splitlines()) == 1


def test_two_servers_on_one_folder(scripts: Scripts, tmp_path: Path) -> None:
    arguments = ('--port', '0', '--dir', str(tmp_path / 'shared'))
    first = scripts.start('local_couchdb.py', *arguments)
    first.wait_for('http://127.0.0.1:')
    second = scripts.run('local_couchdb.py', *arguments)
    assert second.returncode == 1 and 'is another server using it?' in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert first.stop(signal.SIGINT) == 0
