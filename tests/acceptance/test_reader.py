"""A user of the database who may only read, as docs/production.md makes one, can do all that readers do."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from edw.database.client import Database
from tests.acceptance.test_notebook import NOTEBOOK, code
from tests.conftest import Server
from tests.scripts import ROOT, Scripts

RUN = 'ma22a000'
DOC = f'{RUN}_000'
DESIGN = ROOT / 'deploy' / 'readers.json'
ONLY_READS = 'readers may not write'


@pytest.fixture
def night(database: Database, scripts: Scripts, server: Server) -> Database:
    """A database in which a run has been processed, and readers may not write."""
    if not database.knows_selectors():
        pytest.skip('the embedded server has no users; EDW_TEST_SERVER names a CouchDB')
    seeding = ('make_metadata.py', '2', '--events', '60', '--seed', '7', '--condition', 'calibration')
    for script in (
        seeding,
        ('listen_newfiles.py', '--once', '-q'),
        ('listen_analysis1.py', '--once', '-q', '--engine', 'threads'),
    ):
        assert scripts.call(*script).returncode == 0
    path = database.settings.dbname
    members = {'admins': {'names': [], 'roles': ['_admin']}, 'members': {'names': ['listener'], 'roles': ['reader']}}
    assert server.request('PUT', f'{path}/_security', json=members).ok
    assert server.request('PUT', f'{path}/_design/readers', json=json.loads(DESIGN.read_text())).ok
    return database


@pytest.fixture
def reader(server: Server, night: Database) -> Iterator[dict[str, str]]:
    """The environment of a reader."""
    name, password = f'edwtest-{secrets.token_hex(6)}', f'secret-{secrets.token_hex(8)}'
    path = f'_users/org.couchdb.user:{name}'
    user = {'name': name, 'password': password, 'roles': ['reader'], 'type': 'user'}
    assert server.request('PUT', path, json=user).ok
    yield {**os.environ, 'EDW_USERNAME': name, 'EDW_PASSWORD': password}
    server.request('DELETE', path, params={'rev': server.request('GET', path).json()['_rev']})


def test_scripts_that_read(scripts: Scripts, reader: dict[str, str], tmp_path: Path) -> None:
    for command, says in (
        (('list_files.py',), DOC),
        (('list_files.py', 'ma22*', '--condition', 'calibration', '--where', 'conditions.temperature > 0'), DOC),
        (('list_files.py', RUN, '--step', 'signal_processing', '--paths', '--md5'), f'{DOC}.amp.root'),
        (('show_status.py',), '2 documents: 2 finished'),
        (('show_status.py', '--doc', DOC), 'condition: calibration'),
        (('show_status.py', '--check'), 'ok: 0 waiting'),
        (('show_status.py', '--conflicts'), 'no document is in conflict'),
        (('check_files.py',), 'none wrong'),
        (('plot_spectrum.py', RUN, '-o', str(tmp_path / 'x.png')), 'wrote'),
        (('reprocess.py', '--run', RUN, '--from', 'signal_processing', '--dry-run'), '2 documents would be requeued'),
    ):
        done = scripts.run(*command, env=reader)
        assert done.returncode == 0, (command, done.stdout + done.stderr)
        assert says in done.stdout and reader['EDW_PASSWORD'] not in done.stdout + done.stderr, command


def test_the_notebook(reader: dict[str, str], night: Database) -> None:
    pytest.importorskip('pandas', reason='the Python package pandas (requirements-dev.txt) is not here')
    settings = night.settings
    server = {'EDW_SERVER': settings.server, 'EDW_DBNAME': settings.dbname, 'MPLBACKEND': 'agg'}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', f"{code()}\nprint(sorted(files['id']))"],
        cwd=NOTEBOOK.parent,
        env={**reader, **server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"['{DOC}', '{RUN}_001']"


def test_the_dashboard(scripts: Scripts, reader: dict[str, str]) -> None:
    dashboard = scripts.start('dashboard.py', '--port', '0', env=reader)
    dashboard.wait_for('dashboard at ')
    url = dashboard.output.split('dashboard at ')[1].split()[0].rstrip('/')
    for page, says in (('/', 'signal_processing'), (f'/run?name={RUN}', DOC), (f'/document?id={DOC}', 'calibration')):
        answer = requests.get(url + page, timeout=60)
        assert answer.ok and says in answer.text, page
    assert dashboard.stop() == 0


def test_nothing_can_be_written(scripts: Scripts, reader: dict[str, str], night: Database) -> None:
    def written() -> object:
        return sorted((row['id'], row['value']['rev']) for row in night.all_docs())

    before = written()
    for script, *arguments in (
        ('make_metadata.py', '--events', '2'),
        ('annotate.py', RUN, '--hold', 'why'),
        ('reprocess.py', '--run', RUN, '--from', 'signal_processing', '--yes'),
        ('check_files.py', '--md5'),
    ):
        done = scripts.run(script, *arguments, env=reader)
        assert done.returncode == 1 and ONLY_READS in done.stderr and 'Traceback' not in done.stderr, script
    assert written() == before


def test_those_who_write_go_on(scripts: Scripts, reader: dict[str, str], night: Database) -> None:
    assert scripts.call('annotate.py', RUN, '--tag', 'golden').returncode == 0
    assert night.get(DOC)['tags'][0]['name'] == 'golden'
