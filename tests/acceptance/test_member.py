"""The listeners' own database user: what deploy/make_member.sh makes is enough for them, and no more."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from edw.database.client import Database
from tests.conftest import Server
from tests.scripts import ROOT, Scripts

SCRIPT = ROOT / 'deploy' / 'make_member.sh'


@pytest.fixture
def couchdb(server: Server, database: Database) -> Server:
    if not database.knows_selectors():
        pytest.skip('the embedded server has no users; EDW_TEST_SERVER names a CouchDB')
    return server


@pytest.fixture
def member(server: Server) -> Iterator[dict[str, str]]:
    name = f'edwtest-{secrets.token_hex(6)}'
    yield {'EDW_USERNAME': name, 'EDW_PASSWORD': f'secret-{secrets.token_hex(8)}'}
    user = server.request('GET', f'_users/org.couchdb.user:{name}')
    if user.ok:
        server.request('DELETE', f'_users/org.couchdb.user:{name}', params={'rev': user.json()['_rev']})


def make_member(server: Server, dbname: str, **environment: str) -> subprocess.CompletedProcess[str]:
    admin = {'COUCHDB_USER': server.username, 'COUCHDB_PASSWORD': server.password}
    wanted = {'EDW_SERVER': server.url, 'EDW_DBNAME': dbname, **admin, **environment}
    return subprocess.run(
        ['sh', SCRIPT], env={**os.environ, **wanted}, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_member_runs_every_step_and_cannot_change_the_design_document(
    couchdb: Server, database: Database, member: dict[str, str], scripts: Scripts
) -> None:
    dbname = database.settings.dbname
    # Twice: the second time sets the password anew.
    for password in ('another', member['EDW_PASSWORD']):
        done = make_member(couchdb, dbname, **{**member, 'EDW_PASSWORD': password})
        assert done.returncode == 0, done.stderr
        assert password not in done.stdout + done.stderr
    environment = {**os.environ, **member}
    for script in ('make_metadata.py', 'listen_newfiles.py', 'listen_analysis1.py'):
        arguments = ['--events', '50'] if script == 'make_metadata.py' else ['--once']
        done = scripts.run(script, *arguments, env=environment)
        assert done.returncode == 0, done.stderr
    assert len(database.get('ma22a000_000')['process']) == 2
    # The same design document needs no write; another one is refused, and nothing is changed.
    assert scripts.run('upload_design.py', env=environment).returncode == 0
    present = database.get('_design/process')
    database.put({**present, 'filters': {}})
    done = scripts.run('upload_design.py', env=environment)
    assert done.returncode == 1 and '403' in done.stderr and member['EDW_USERNAME'] in done.stderr
    assert database.get('_design/process')['filters'] == {}


def test_members_that_somebody_chose_are_kept(couchdb: Server, database: Database, member: dict[str, str]) -> None:
    path = f'{database.settings.dbname}/_security'
    chosen = {'admins': {'names': [], 'roles': ['_admin']}, 'members': {'names': ['shift'], 'roles': []}}
    assert couchdb.request('PUT', path, json=chosen).ok
    done = make_member(couchdb, database.settings.dbname, **member)
    assert done.returncode == 1 and 'has members already' in done.stderr and '"shift"' in done.stderr
    assert couchdb.request('GET', path).json() == chosen


@pytest.mark.parametrize(
    ('environment', 'says'),
    [
        ({'EDW_PASSWORD': ''}, 'EDW_PASSWORD is not set'),
        ({'EDW_PASSWORD': 'a"b'}, 'EDW_PASSWORD: only letters'),
        ({'EDW_USERNAME': 'a b'}, 'EDW_USERNAME: only letters'),
        ({'EDW_USERNAME': 'a', 'EDW_SERVER': 'http://127.0.0.1:1'}, 'the user a cannot be made'),
    ],
)
def test_what_cannot_be_a_member(server: Server, environment: dict[str, str], says: str) -> None:
    wanted = {'EDW_USERNAME': 'nobody', 'EDW_PASSWORD': 'nothing', **environment}
    done = make_member(server, 'edwexample', **wanted)
    assert done.returncode == 1 and says in done.stderr
    assert server.password not in done.stdout + done.stderr
