"""The embedded server, with requests that end PouchDB Server as published."""

from __future__ import annotations

import signal
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
