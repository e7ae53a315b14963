"""The design document: both ways of putting it on the database, and what its functions say of any document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edw.database import design
from edw.database.client import Database
from edw.errors import NoDatabase, NoDesign, SettingsError
from edw.model import documents
from tests.conftest import Server
from tests.scripts import ROOT, Scripts
from upload_design import DESIGN_FILE

COUCHAPP = Path(sys.executable).with_name('couchapp')

ODD_DOCUMENTS: list[dict[str, Any]] = [
    {},
    {'status': 'good'},
    {'status': 'good', 'process': []},
    {'status': 'good', 'process': None},
    {'status': 'good', 'process': 'move_to_sps'},
    {'status': 'good', 'process': {'0': {'name': 'a'}, 'length': 1}},
    {'status': 'good', 'process': [None]},
    {'status': 'good', 'process': ['a']},
    {'status': 'good', 'process': [[]]},
    {'status': 'good', 'process': [{}]},
    {'status': 'good', 'process': [{'name': None}]},
    {'status': 'good', 'process': [{'name': 0}]},
    {'status': 'good', 'process': [{'name': ''}]},
    {'status': 'good', 'process': [{'name': 'a'}]},
    {'status': 'good', 'process': [{'name': 'a'}, {'name': 'b'}]},
    {'status': 'good', 'process': [{'name': 'b'}, {'name': 'a'}]},
    {'status': 'good', 'process': [{'name': 'ab', 'software': None, 'finished': {}}]},
    {'status': 'good', 'process': [{'name': 'a\ufff0'}]},
    {'status': 'good', 'process': [{'name': '0'}]},
    {'status': 'good', 'process': [], 'claim': None},
    {'status': 'good', 'process': [], 'claim': {}},
    {'status': 'good', 'process': [], 'claim': 'x'},
    {'status': 'good', 'process': [], 'claim': False},
    {'status': 'good', 'process': [], 'claim': {'process': 'a', 'worker': 'w'}},
    {'status': 'bad', 'process': []},
    {'status': ['good'], 'process': []},
    {'status': None, 'process': []},
    {'process': []},
]


@pytest.fixture
def odd(database: Database) -> dict[str, dict[str, Any]]:
    docs = {f'odd{number:02d}': doc for number, doc in enumerate(ODD_DOCUMENTS)}
    rows = database.bulk_docs([{'_id': doc_id, **doc} for doc_id, doc in docs.items()])
    assert all(row.get('ok') for row in rows)
    return docs


def view(database: Database, name: str, **query: Any) -> list[dict[str, Any]]:
    return database.view(f'_design/process/_view/{name}', **query)['rows']


def test_the_file_equals_the_couchapp() -> None:
    done = subprocess.run(
        [COUCHAPP, 'push', '-e', '-p', ROOT / 'couchapp', '-c', 'http://127.0.0.1/none'],
        capture_output=True,
        text=True,
        check=True,
    )
    exported = json.loads(done.stdout.split('\n', 1)[1])
    doc = design.read(DESIGN_FILE)
    assert doc['_id'] == exported['_id']
    for part in design.FUNCTIONS:
        assert doc[part] == exported[part]


@pytest.mark.parametrize('after', [0, 'a', 'b', 'ab', 'move_to_sps', '', '0'])
def test_view_filter_and_listener_agree_on_what_waits(
    database: Database, odd: dict[str, dict[str, Any]], server: Server, after: str | int
) -> None:
    waiting = {doc_id for doc_id, doc in odd.items() if documents.is_free(doc, after)}
    rows = view(database, 'lastproc', startkey=[after], endkey=[after, {}], reduce=False)
    assert {row['id'] for row in rows} == waiting
    path = f'{database.settings.dbname}/_changes'
    changes = server.request('GET', path, params={'filter': 'process/with_process', 'last': after}).json()
    if database.knows_selectors():
        body = {'selector': documents.free_selector(after)}
        selected = server.request('POST', path, params={'filter': '_selector'}, json=body).json()
        assert {row['id'] for row in selected['results']} == waiting
    # The function cannot tell a step named '0' from none, and may wake a listener in vain; it never fails to.
    assert {row['id'] for row in changes['results']} >= waiting
    if after not in (0, '0', ''):
        assert {row['id'] for row in changes['results']} == waiting


def test_view_and_listener_agree_since_when_a_document_waits(database: Database) -> None:
    done = {'name': 'a', 'finished': 20}
    docs = [
        *ODD_DOCUMENTS,
        {'status': 'good', 'process': [], 'datecreated': 10},
        {'status': 'good', 'process': [], 'datecreated': '10'},
        {'status': 'good', 'process': [done], 'datecreated': 10},
        {'status': 'good', 'process': [done], 'failures': [{'time': 30}, {'time': 15}]},
        {'status': 'good', 'process': [done], 'failures': [{'time': 30}], 'superseded': [{'time': 40}]},
        {'status': 'good', 'process': [{'name': 'a'}], 'superseded': [{'time': 40}, None]},
        {'status': 'good', 'process': [{'name': 'a'}], 'failures': [{'time': 25}], 'superseded': {'time': 40}},
    ]
    expected = {}
    for number, doc in enumerate(docs):
        doc_id = database.put({**doc, '_id': f'doc{number:02d}'})['id']
        last = documents.last_step(doc)
        if last is not None and documents.is_free(doc, last):
            expected[doc_id] = [last, 0, documents.waiting_since(doc)]
    assert {row['id']: row['key'] for row in view(database, 'queue', reduce=False)} == expected


@pytest.mark.parametrize('length', [1, 2, documents.LONGEST_CHAIN, documents.LONGEST_CHAIN + 1])
def test_the_selector_misses_no_chain(database: Database, server: Server, length: int) -> None:
    process = [{'name': f'step{number}'} for number in range(length)]
    if not database.knows_selectors():
        pytest.skip('the embedded server does not know selectors')
    database.put({'_id': 'chain', 'status': 'good', 'process': process})
    path = f'{database.settings.dbname}/_changes'

    def selects(after: str) -> bool:
        body = {'selector': documents.free_selector(after)}
        changes = server.request('POST', path, params={'filter': '_selector'}, json=body).json()
        return [row['id'] for row in changes['results']] == ['chain']

    assert selects(f'step{length - 1}')
    assert not selects('another')
    if 1 < length <= documents.LONGEST_CHAIN:
        assert not selects('step0')


def test_claims_status_and_unplaced(database: Database, odd: dict[str, dict[str, Any]]) -> None:
    claims = {row['id']: row['key'] for row in view(database, 'claims', reduce=False)}
    assert claims == {
        'odd20': [None, None],
        'odd21': [None, None],
        'odd22': [None, None],
        'odd23': ['a', 'w'],
    }
    status = {row['id']: row['key'] for row in view(database, 'status', reduce=False)}
    assert status == {doc_id: doc['status'] for doc_id, doc in odd.items() if 'status' in doc}
    good = {doc_id for doc_id, doc in odd.items() if doc.get('status') == 'good'}
    unplaced = {row['id'] for row in view(database, 'unplaced', reduce=False)}
    assert unplaced == {doc_id for doc_id in good if documents.last_step(odd[doc_id]) is None}
    assert [row['value'] for row in view(database, 'status', key='good')] == [len(good)]


def test_upload_creates_replaces_and_says_when_nothing_changed(scripts: Scripts, server: Server) -> None:
    first = scripts.call('upload_design.py')
    assert first.returncode == 0, first.stderr
    assert 'created the database' in first.stdout and 'uploaded _design/process' in first.stdout
    second = scripts.call('upload_design.py')
    assert second.returncode == 0 and 'nothing to upload' in second.stdout
    dbname = scripts.config.read_text().split('dbname = ')[1].split()[0]
    present = server.request('GET', f'{dbname}/_design/process').json()
    old = {**present, 'views': {'lastproc': {'map': 'function(doc) {}'}}}
    assert server.request('PUT', f'{dbname}/_design/process', json=old).ok
    third = scripts.call('upload_design.py')
    assert third.returncode == 0 and 'uploaded' in third.stdout
    present = server.request('GET', f'{dbname}/_design/process').json()
    assert present['views'] == design.read(DESIGN_FILE)['views']


def test_couchapp_push_gives_the_same_functions(empty_database: Database, server: Server) -> None:
    url = empty_database.url.replace('://', f'://{server.username}:{server.password}@')
    done = subprocess.run(
        [COUCHAPP, 'push', '-p', ROOT / 'couchapp', '-c', url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    present = empty_database.get('_design/process')
    wanted = design.read(DESIGN_FILE)
    for part in design.FUNCTIONS:
        assert present[part] == wanted[part]
    assert design.upload(empty_database, wanted) is False


def test_check_says_what_is_missing(settings: Any, server: Server) -> None:
    database = Database(settings)
    with pytest.raises(NoDatabase, match=r'upload_design\.py'):
        design.check(database, views=('lastproc',))
    database.create()
    with pytest.raises(NoDesign, match='no design document'):
        design.check(database, views=('lastproc',))
    database.put({'_id': '_design/process', 'views': {'lastproc': {'map': 'function(doc) {}'}}})
    design.check(database, views=('lastproc',))
    with pytest.raises(NoDesign, match='no with_process in its filters'):
        design.check(database, views=('lastproc',), filters=('with_process',))


@pytest.mark.parametrize('text', ['', '{', '[]', '{"_id": "process"}'])
def test_a_file_that_is_no_design_document(tmp_path: Path, text: str) -> None:
    file = tmp_path / 'design.json'
    file.write_text(text)
    with pytest.raises(SettingsError, match=r'design\.json'):
        design.read(file)
