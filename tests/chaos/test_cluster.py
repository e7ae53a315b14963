"""Listeners on different nodes of a real cluster, all wanting the same documents.

EDW_TEST_CLUSTER=http://USER:PASSWORD@HOST:PORT,http://… names the nodes. For the test that kills one of them under
load, EDW_TEST_CLUSTER_KILL and EDW_TEST_CLUSTER_START are shell commands: one kills a node other than the first, the
other starts it again.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from edw import config
from edw.database import design
from edw.database.client import Database
from tests.conftest import Server
from tests.scripts import ROOT, Process, Scripts, wait_until
from upload_design import DESIGN_FILE

NODES = [node for node in os.environ.get('EDW_TEST_CLUSTER', '').split(',') if node]
DOCUMENTS = 1000
LIMIT = 240.0  # seconds
KILL, START = (os.environ.get(f'EDW_TEST_CLUSTER_{what}', '') for what in ('KILL', 'START'))

pytestmark = pytest.mark.skipif(not NODES, reason='EDW_TEST_CLUSTER names no cluster')


def node_server(url: str) -> Server:
    parts = urlsplit(url)
    return Server(
        f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}', unquote(parts.username), unquote(parts.password)
    )


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Scripts]]:
    """The scripts, by node, on one database."""
    dbname = f'edwtest-{secrets.token_hex(6)}'
    running = []
    for number, url in enumerate(NODES):
        file = tmp_path / f'node{number}.ini'
        # Three nodes on one machine keep a heartbeat waiting: the lease must not end meanwhile.
        text = node_server(url).settings_text(dbname)
        file.write_text(text.replace('heartbeat = 1\nlease = 3', 'heartbeat = 2\nlease = 30'))
        running.append(Scripts(file))
    yield running
    for scripts in running:
        scripts.__exit__(None, None, None)
    node_server(NODES[0]).request('DELETE', dbname)


def prepared(scripts: Scripts, number: int) -> Database:
    database = Database(config.load(scripts.config))
    database.create()
    assert database.copies() > 1
    design.upload(database, design.read(DESIGN_FILE))
    for start in range(0, number, 500):
        docs = [{'_id': f'x{index:04d}', 'status': 'good', 'process': []} for index in range(start, start + 500)]
        assert all(row.get('ok') for row in database.bulk_docs(docs))
    return database


class Race:
    """Two listeners on each node, all wanting the same documents."""

    def __init__(self, nodes: list[Scripts], folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
        self._journal = folder / 'journal'
        monkeypatch.setenv('EDW_TEST_JOURNAL', str(self._journal))
        monkeypatch.setenv('EDW_TEST_SECONDS', seconds)
        monkeypatch.setenv('PYTHONPATH', str(ROOT))
        self._nodes = nodes
        self._listeners: list[Process] = []
        self._database = prepared(nodes[0], DOCUMENTS)

    def start(self, batch: str) -> None:
        self._listeners = [
            scripts.start('tests/chaos/journal_step.py', '--batch', batch, first=('one', '0'))
            for scripts in self._nodes
            for _ in range(2)
        ]

    def done(self) -> int:
        database = self._database
        rows = database.view(database.settings.viewname, startkey=['one'], endkey=['one', {}])['rows']
        return rows[0]['value'] if rows else 0

    def wait_for(self, number: int) -> None:
        wait_until(lambda: self.done() >= number, limit=LIMIT, every=0.5)

    def check(self) -> int:
        """Everything was done once, and nothing is left behind; returns how many claims were disputed."""
        database = self._database
        self.wait_for(DOCUMENTS)
        wait_until(lambda: not database.view('_design/process/_view/claims')['rows'], every=0.5)
        for listener in self._listeners:
            assert listener.stop() == 0, listener.output
        said = ''.join(listener.output for listener in self._listeners).splitlines()
        assert not [line for line in said if 'written no heartbeat' in line]
        journal = self._journal.read_text().splitlines()
        begun = Counter(line.split()[2] for line in journal if line.startswith('begins'))
        assert len(begun) == DOCUMENTS and set(begun.values()) == {1}
        docs = database.existing(sorted(begun))
        assert len(docs) == DOCUMENTS
        assert all([entry['name'] for entry in doc['process']] == ['one'] for doc in docs.values())
        # The copies tell each other of deleted leaves in their own time.
        wait_until(lambda: database.conflicts(sorted(begun)) == {}, every=0.5)
        return sum('is claimed by others too' in line for line in said)


@pytest.mark.parametrize('batch', ['1', '20', '500'])
@pytest.mark.parametrize('seconds', ['0', '0.01'])
def test_all_claim_the_same_documents(
    nodes: list[Scripts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str, seconds: str
) -> None:
    race = Race(nodes, tmp_path, monkeypatch, seconds)
    race.start(batch)
    print(f'batch {batch}, {seconds} s: {race.check()} disputed claims, each settled')


@pytest.mark.skipif(not (KILL and START), reason='EDW_TEST_CLUSTER_KILL and EDW_TEST_CLUSTER_START are not set')
@pytest.mark.parametrize('batch', ['1', '20', '500'])
def test_a_node_that_is_killed_and_started_again_under_load(
    nodes: list[Scripts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str
) -> None:
    """The listeners of that node wait for it; it is back before their lease ends, so that nobody takes their claims."""
    race = Race(nodes, tmp_path, monkeypatch, '0.05')
    race.start(batch)
    race.wait_for(DOCUMENTS // 10)
    subprocess.run(['sh', '-c', KILL], check=True)
    try:
        race.wait_for(race.done() + DOCUMENTS // 10)
    finally:
        subprocess.run(['sh', '-c', START], check=True, timeout=LIMIT)
    print(f'batch {batch}, a node killed: {race.check()} disputed claims, each settled')
