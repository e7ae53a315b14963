"""The embedded server, with requests that end PouchDB Server as published."""

from __future__ import annotations

import netrc
import re
import shlex
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests

import local_couchdb
from edw import config
from edw.embedded import ports
from edw.embedded.login import FILE, login_of
from tests.scripts import Scripts
from tests.socket_server import answering, http

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
        process.wait_for('embedded server, data in')
        url = process.output.split()[-1]
        assert requests.put(f'{url}kept', auth=login, timeout=10).status_code == expected
        # A listener's longpoll does not hold the server.
        with requests.get(f'{url}kept/_changes?feed=longpoll&since=now', auth=login, stream=True, timeout=10):
            assert process.stop(number) == 0
    assert login[1] not in process.output


def project(folder: Path, port: int) -> Scripts:
    """Scripts with the settings as they are shipped, in a folder of their own."""
    folder.mkdir()
    file = folder / 'edw.ini'
    file.write_text(config.DEFAULT_FILE.read_text().replace(':5984\n', f':{port}\n'))
    return Scripts(file)


def test_each_folder_has_a_login_of_its_own_and_nobody_works_on_the_wrong_one(tmp_path: Path) -> None:
    port = ports.any_free()
    folders = [tmp_path / 'data of ü', tmp_path / 'other']
    with project(tmp_path / 'mine', port) as mine, project(tmp_path / 'theirs', port) as theirs:
        server = mine.start('local_couchdb.py', '--dir', str(folders[0]))
        server.wait_for(f'{port}/')
        own, local = folders[0] / '.netrc', mine.config.with_name('local.edw.ini')
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in (own, local))
        password = config.load(mine.config).password
        assert password in own.read_text() and password not in server.output
        done = mine.call('upload_design.py')
        assert done.returncode == 0 and f'edwexample (embedded server, data in {folders[0]})' in done.stdout

        refused = theirs.call('upload_design.py')
        assert refused.returncode == 1 and 'refused user' in refused.stderr and str(folders[0]) in refused.stderr
        assert len(refused.stderr.splitlines()) == 2
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv('EDW_PASSWORD', 'of-something-else')
            refused = mine.call('upload_design.py')
        assert refused.returncode == 1 and 'unset EDW_PASSWORD, which comes first' in refused.stderr
        assert len(refused.stderr.splitlines()) == 2
        second = theirs.run('local_couchdb.py', '--dir', str(folders[1]))
        assert second.returncode == 1 and len(second.stderr.splitlines()) == 2
        assert f'already in use by an embedded server with its data in {folders[0]}' in second.stderr
        assert not theirs.config.with_name('local.edw.ini').exists()

        # The way out, as it is said.
        command = shlex.split(second.stderr.splitlines()[1].partition('use that: ')[2])
        assert command[:2] == ['python', 'local_couchdb.py'] and command[-1] == '--use'
        other = theirs.start('local_couchdb.py', *[word for word in command[2:] if word not in mine_only(theirs)])
        other.wait_for('embedded server')
        done = theirs.call('upload_design.py')
        assert done.returncode == 0 and f'data in {folders[1]})' in done.stdout
        assert config.load(theirs.config).password != password

        again = mine.run('local_couchdb.py', '--dir', str(folders[0]))
        assert again.returncode == 1 and 'it runs already' in again.stderr
        for process in (server, other):
            assert process.stop() == 0
        # The login is kept with the data: settings that lost theirs get it back at the next start.
        local.unlink()
        server = mine.start('local_couchdb.py', '--dir', str(folders[0]))
        server.wait_for(f'{port}/')
        assert config.load(mine.config).password == password
        assert server.stop() == 0


def mine_only(scripts: Scripts) -> tuple[str, str]:
    """What `Scripts` gives each script by itself."""
    return '--config', str(scripts.config)


def test_settings_for_another_server_are_left_alone_unless_it_is_wanted(tmp_path: Path) -> None:
    with project(tmp_path / 'mine', ports.any_free()) as mine:
        local = mine.config.with_name('local.edw.ini')
        before = (
            '[Cloudant]\nserver = https://db.example.org\nusername = me\npassword = of-production\n[data]\nraw = /r\n'
        )
        local.write_text(before)
        server = mine.start('local_couchdb.py', '--port', '0', '--dir', str(tmp_path / 'data'))
        server.wait_for('embedded server, data in')
        assert 'https://db.example.org' in server.output and '--use' in server.output
        assert server.stop() == 0 and local.read_text() == before
        server = mine.start('local_couchdb.py', '--port', '0', '--use', '--dir', str(tmp_path / 'data'))
        server.wait_for('embedded server, data in')
        settings = config.load(mine.config)
        assert settings.server == server.output.split()[-1].rstrip('/') and settings.username == 'edw'
        assert settings.raw == '/r' and '# before: password = of-production' in local.read_text()
        assert server.stop() == 0 and settings.password not in server.output


def test_a_folder_of_before_keeps_the_login_of_the_settings(scripts: Scripts, tmp_path: Path) -> None:
    folder = tmp_path / 'old'
    port = ports.any_free()
    scripts.config.write_text(re.sub('server = .*', f'server = http://127.0.0.1:{port}', scripts.config.read_text()))
    server = scripts.start('local_couchdb.py', '--dir', str(folder))
    server.wait_for('embedded server, data in')
    own = folder / '.netrc'
    assert f'its login is that of the settings; for curl it is in {own}' in server.output
    assert scripts.call('upload_design.py').returncode == 0
    settings = config.load(scripts.config)
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    found = netrc.netrc(own).authenticators('127.0.0.1')
    assert found is not None and (found[0], found[2]) == (settings.username, settings.password)
    assert server.stop() == 0


@pytest.mark.parametrize('password', ['with space', 'with"quote', 'with\\backslash'])
def test_a_login_that_readers_of_netrc_differ_about_is_not_written_there(scripts: Scripts, password: str) -> None:
    folder, settings = scripts.config.parent, config.load(scripts.config)
    assert login_of(folder, replace(settings, password=password)).password == password
    assert not (folder / FILE).exists()


@pytest.mark.parametrize(
    ('answer', 'who'),
    [
        (http('200 OK', b'{"couchdb":"Welcome","version":"3.5.0"}', 'Server: CouchDB/3.5.0'), 'another CouchDB'),
        (http('401 Unauthorized', b'{}', 'Server: CouchDB/3.5.0'), 'another CouchDB'),
        (http('401 Unauthorized', b'{}', 'WWW-Authenticate: Basic realm="edw local couchdb"'), 'of an older version'),
        (http('200 OK', b'<html>', 'Server: nginx'), 'something that is no CouchDB'),
        (b'SSH-2.0-OpenSSH\r\n', 'something that is no CouchDB'),
    ],
)
def test_who_has_the_port_is_said(answer: bytes, who: str) -> None:
    with answering(answer) as there:
        port = int(there.rpartition(':')[2])
        assert not ports.is_free(port)
        said, folder = ports.holder(port)
    assert who in said and folder is None


def test_two_servers_on_one_folder(scripts: Scripts, tmp_path: Path) -> None:
    arguments = ('--port', '0', '--dir', str(tmp_path / 'shared'))
    first = scripts.start('local_couchdb.py', *arguments)
    first.wait_for('embedded server, data in')
    second = scripts.run('local_couchdb.py', *arguments)
    assert second.returncode == 1 and 'is another server using it?' in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert first.stop(signal.SIGINT) == 0
