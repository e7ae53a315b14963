"""Finding documents: what the server narrows down is exactly what is wanted."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest

import list_files
from edw import select_files
from edw.database.client import Database
from edw.errors import EdwError
from edw.model.documents import Document
from edw.selecting import conditions, finding, wanted
from edw.selecting.finding import find
from edw.selecting.wanted import ANY, Wanted

RUNS = [f'ma22{day}{number:03d}' for day in 'ab' for number in range(5)]
CONDITIONS = ['conditions.temperature < 0.0155', 'conditions.mode = scan', 'conditions.mode >= s', 'extra != 3']
CONDITIONS += ['conditions.volts.detector_a.0 > 7', 'conditions.temperature >= 0.0152', 'conditions.mode < 3']


def some_documents() -> list[Document]:
    """Documents of all kinds: with and without what newer ones have."""
    choose = random.Random(1)
    made: list[Document] = []
    for run in RUNS:
        for number in range(6):
            doc_id = f'{run}_{number:03d}'
            doc: dict[str, Any] = {
                '_id': doc_id,
                'run': run,
                'original_file': f'/raw/{doc_id}',
                'md5sum': f'{number:032}',
            }
            doc['status'] = choose.choice(['good', 'good', 'good', 'failed move to sps'])
            steps = choose.choice([[], ['move_to_sps'], ['move_to_sps', 'signal_processing']])
            doc['process'] = [{'name': step, 'file': f'/sps/{step}/{doc_id}', 'md5sum': 'b' * 32} for step in steps]
            doc['datecreated'] = 1000.0 * RUNS.index(run) + number
            doc['conditions'] = choose.choice(
                [
                    {'temperature': choose.choice([0.015, 0.0152, 0.016]), 'volts': {'detector_a': [8, -8]}},
                    {'temperature': 'cold', 'mode': 'scan'},
                    {'mode': choose.choice(['stare', 4, None]), 'volts': {'detector_a': {'0': 9}}},
                ]
            )
            doc |= choose.choice([{}, {'quality': {'value': 'bad'}}, {'tags': [{'name': 'golden'}], 'extra': 3}])
            doc |= choose.choice([{}, {'condition': 'calibration'}])
            made.append(doc)
    return [*made, {'_id': 'odd', 'run': 7}, {'_id': 'none'}, {'_id': 'zz', 'run': 'ma22a000', 'status': None}]


@pytest.fixture
def catalogue(database: Database) -> list[Document]:
    docs = some_documents()
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    return docs


def asked() -> list[Wanted]:
    """A selection by each thing alone, and by several."""
    return [
        Wanted(),
        Wanted(status=ANY),
        Wanted(runs=wanted.union(['ma22a001'])),
        Wanted(runs=wanted.union(['ma22a003..ma22b001', 'ma22b004'])),
        Wanted(runs=wanted.union(['ma22b*']), status=ANY),
        Wanted(step='signal_processing'),
        Wanted(tags=('golden',)),
        Wanted(quality='bad'),
        Wanted(quality='unknown', condition='calibration'),
        Wanted(since=2001.0, until=5000.0),
        *(Wanted(status=ANY, where=(conditions.parse(text),)) for text in CONDITIONS),
        Wanted(runs=wanted.union(['ma22*']), step='move_to_sps', where=(conditions.parse(CONDITIONS[0]),)),
    ]


@pytest.mark.parametrize('few', [0, 10_000], ids=['asked', 'read'])
def test_found_is_what_is_wanted(
    database: Database, catalogue: list[Document], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, 'FEW', few)
    monkeypatch.setattr(finding, 'PAGE', 7)
    monkeypatch.setattr(finding, 'STRETCH', 7)
    for one in asked():
        found = [doc['_id'] for doc in find(database, one)]
        assert found == sorted(doc['_id'] for doc in catalogue if one.matches(doc)), one
        assert found or one.where  # each of them finds something, or the test would show nothing


def lines(capsys: pytest.CaptureFixture[str], *arguments: str, config: str) -> list[str]:
    capsys.readouterr()
    assert list_files.main([*arguments, '--config', config]) == 0
    return capsys.readouterr().out.splitlines()


def test_documents_are_looked_through_in_stretches_whatever_their_ids(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, 'STRETCH', 2)
    ids = ['B1', 'Z', 'a0', 'a-1', 'a_1', 'a1', 'A1', 'b', 'é', 'e', 'f', '10', '9', '~', ' ', '.', 'a.1', 'a_B', 'a_a']
    docs = [{'_id': doc_id, 'run': 'r', 'status': 'good', 'process': []} for doc_id in ids]
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    there = [row['id'] for row in database.all_docs() if row['id'] in ids]
    assert len(there) == len(ids)
    assert [doc['_id'] for doc in find(database, Wanted())] == there
    monkeypatch.setattr(finding, 'FEW', 0)
    assert [doc['_id'] for doc in find(database, Wanted(runs=wanted.union(['r'])))] == there


def test_the_list(database: Database, catalogue: list[Document], capsys: pytest.CaptureFixture[str]) -> None:
    config = str(database.settings.file)
    table = lines(capsys, 'ma22a000', '--status', 'any', config=config)
    assert (
        table[0].split() == ['document', 'status', 'time', 'condition', 'quality', 'tags', 'file'] and len(table) == 8
    )
    rows = json.loads('\n'.join(lines(capsys, '--step', 'signal_processing', '--json', config=config)))
    assert rows and all(row['path'] == f'/sps/signal_processing/{row["id"]}' for row in rows)
    paths = lines(capsys, '--step', 'signal_processing', '--paths', config=config)
    assert paths == [row['path'] for row in rows]
    assert lines(capsys, '--tag', 'none', '--json', config=config) == ['[]']
    assert lines(capsys, '--csv', config=config)[0].startswith('id,run,path,md5sum,step,')


def test_paths_with_their_md5_are_what_md5sum_reads(
    database: Database, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'x y.root').write_bytes(b'')
    doc = {'_id': 'a', 'run': 'r', 'status': 'good', 'original_file': str(tmp_path / 'x y.root'), 'process': []}
    database.put(doc | {'md5sum': 'd41d8cd98f00b204e9800998ecf8427e'})
    (line,) = lines(capsys, 'r', '--paths', '--md5', config=str(database.settings.file))
    checked = subprocess.run(['md5sum', '-c'], input=line + '\n', text=True, capture_output=True, check=False)
    assert checked.returncode == 0 and checked.stdout.endswith(': OK\n')


@pytest.mark.parametrize(
    ('arguments', 'error'),
    [
        (['--step', 'signal_procesing'], 'here: move_to_sps, signal_processing. Did you mean signal_processing?'),
        (['ma23a000'], 'has no run ma23a000$'),
        (['mz*'], r'has no run mz\*$'),
        (['ma23a000..ma23b000'], r'has no run ma23a000\.\.ma23b000$'),
        (['--where', 'conditions.nosuch = 3'], 'no document has a field conditions.nosuch$'),
        (['--where', 'extra < abc'], "extra is a text in no document: it cannot be compared with 'abc'"),
        (['--quality', 'terrible'], "'terrible' is no quality: good, bad, unknown"),
    ],
)
def test_a_name_that_is_not_there_is_an_error(
    database: Database, catalogue: list[Document], arguments: list[str], error: str
) -> None:
    with pytest.raises(EdwError, match=error):
        list_files.main([*arguments, '--config', str(database.settings.file)])


@pytest.mark.parametrize('where', ['conditions.temperature > warm', 'conditions.volts.detector_a.9 = 8', 'extra = 4'])
def test_that_nothing_fits_is_no_error(
    database: Database, catalogue: list[Document], capsys: pytest.CaptureFixture[str], where: str
) -> None:
    assert lines(capsys, '--where', where, '--paths', config=str(database.settings.file)) == []


def test_nul_goes_with_paths(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        list_files.main(['-0', '--csv'])
    assert '-0 goes with --paths' in capsys.readouterr().err


def test_a_data_frame(database: Database, catalogue: list[Document]) -> None:
    pytest.importorskip('pandas')
    frame = select_files('ma22a*', 'move_to_sps', where=CONDITIONS[0], settings=str(database.settings.file))
    one = Wanted(wanted.union(['ma22a*']), 'move_to_sps', where=(conditions.parse(CONDITIONS[0]),))
    assert list(frame['id']) == sorted(doc['_id'] for doc in catalogue if one.matches(doc))
    assert (frame['conditions.temperature'] < 0.0155).all() and str(frame['time'].dtype).endswith('UTC]')
    assert list(select_files('ma22a000', tag='none', settings=str(database.settings.file)).columns[:2]) == ['id', 'run']
