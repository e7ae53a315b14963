"""Listeners on different nodes of a real cluster, all wanting the same documents.

EDW_TEST_CLUSTER=http://USER:PASSWORD@HOST:PORT,http://… names the nodes.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from edw import config
from edw.database import design
from edw.database.client import Database
from tests.conftest import Server
from tests.scripts import ROOT, Scripts, wait_until
from upload_design import DESIGN_FILE

NODES = [node for node in os.environ.get('EDW_TEST_CLUSTER', '').split(',') if node]
DOCUMENTS = 1000
LIMIT = 240.0  # seconds

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


@pytest.mark.parametrize('batch', ['1', '20', '500'])
@pytest.mark.parametrize('seconds', ['0', '0.01'])
def test_all_claim_the_same_documents(
    nodes: list[Scripts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str, seconds: str
) -> None:
    journal = tmp_path / 'journal'
    monkeypatch.setenv('EDW_TEST_JOURNAL', str(journal))
    monkeypatch.setenv('EDW_TEST_SECONDS', seconds)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    database = prepared(nodes[0], DOCUMENTS)
    listeners = [
        scripts.start('tests/chaos/journal_step.py', '--batch', batch, first=('one', '0'))
        for scripts in nodes
        for _ in range(2)
    ]

    def done() -> int:
        rows = database.view(database.settings.viewname, startkey=['one'], endkey=['one', {}])['rows']
        return rows[0]['value'] if rows else 0

    wait_until(lambda: done() == DOCUMENTS, limit=LIMIT, every=0.5)
    wait_until(lambda: not database.view('_design/process/_view/claims')['rows'], every=0.5)
    for listener in listeners:
        assert listener.stop() == 0, listener.output
    said = ''.join(listener.output for listener in listeners).splitlines()
    assert not [line for line in said if 'written no heartbeat' in line]
    begun = Counter(line.split()[2] for line in journal.read_text().splitlines() if line.startswith('begins'))
    assert len(begun) == DOCUMENTS and set(begun.values()) == {1}
    docs = database.existing(sorted(begun))
    assert len(docs) == DOCUMENTS
    assert all([entry['name'] for entry in doc['process']] == ['one'] for doc in docs.values())
    # The copies tell each other of deleted leaves in their own time.
    wait_until(lambda: database.conflicts(sorted(begun)) == {}, every=0.5)
    disputed = sum(listener.output.count('is claimed by others too') for listener in listeners)
    print(f'batch {batch}, {seconds} s: {disputed} disputed claims, each settled')
