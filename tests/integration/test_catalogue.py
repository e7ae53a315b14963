"""Registering data files, and reserving runs against others who do the same."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from edw import files
from edw.database.client import Database
from edw.errors import EdwError
from edw.registering import catalogue, runs
from edw.registering.catalogue import Registered

CONDITIONS = {'temperature': 0.0158}


def register(database: Database, folder: Path, settle: float = 0) -> Registered:
    return catalogue.register(database, folder, settle, lambda file: CONDITIONS, lambda batch: batch)


def data_file(folder: Path, name: str, content: bytes = b'data', age: float = 3600) -> Path:
    file = folder / name
    file.write_bytes(content)
    os.utime(file, (time.time() - age,) * 2)
    return file


def not_taken(run: str) -> bool:
    return False


@pytest.mark.parametrize(
    ('present', 'run'),
    [
        ([], 'ma22a000'),
        (['ma22a004_000', 'ma22a004_001', 'ma22a003_000'], 'ma22a005'),
        (['ma22a004_000', 'mb01a002_000', 'la31l999_000'], 'mb01a003'),
        (['ma22a000_1000', 'ma22a000_999'], 'ma22a001'),
        (['zzz', 'nonsense_000', 'ma99a999_000', 'ma22a004_000', 'z' * 40], 'ma22a005'),
        (['Ma22a004_000', 'note'], 'ma22a000'),
    ],
)
def test_next_run_follows_the_highest(database: Database, present: list[str], run: str) -> None:
    database.bulk_docs([{'_id': doc_id} for doc_id in present])
    doc = catalogue.reserve_run(database, not_taken)
    assert doc['run'] == run and doc['_id'] == f'{run}_000'
    assert database.get(doc['_id'])['status'] == catalogue.ACQUIRING


def test_highest_run_behind_many_other_documents(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, 'PAGE', 7)
    database.bulk_docs([{'_id': f'note{number:03d}'} for number in range(50)] + [{'_id': 'ma22a004_000'}])
    assert runs.highest_run(database) == 'ma22a004'


def test_runs_that_cannot_be_used_are_passed_over(database: Database) -> None:
    assert catalogue.reserve_run(database, lambda run: run < 'ma22a002')['run'] == 'ma22a002'


def test_no_two_get_the_same_run(database: Database) -> None:
    taken: list[str] = []
    barrier = threading.Barrier(8)

    def reserve() -> None:
        own = Database(database.settings)
        barrier.wait()
        taken.append(catalogue.reserve_run(own, not_taken)['run'])

    threads = [threading.Thread(target=reserve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [f'ma22a{number:03d}' for number in range(8)]


def test_a_document_per_file(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / 'there'
    folder.mkdir()
    file = data_file(folder, 'ma22a007_003.root', b'some data')
    data_file(folder, 'calibration.root')
    for name in ('ma22a007_003.amp.root', '.hidden.root', 'notes.txt'):
        data_file(folder, name)
    (folder / 'folder.root').mkdir()
    assert register(database, folder) == Registered(new=2)
    doc = database.get('ma22a007_003')
    assert doc.pop('_rev') and abs(doc.pop('datecreated') - time.time()) < 60
    assert doc == {
        '_id': 'ma22a007_003',
        'run': 'ma22a007',
        'conditions': CONDITIONS,
        'original_file': str(file),
        'size': 9,
        'md5sum': files.md5_of(file),
        'status': 'good',
        'process': [],
    }
    assert database.get('calibration')['run'] == 'calibration'
    again = register(database, folder)
    assert again.new == 0 and sorted(again.known) == ['calibration.root', 'ma22a007_003.root']


def test_files_that_may_still_be_written_to_are_left(database: Database, tmp_path: Path) -> None:
    data_file(tmp_path, 'old.root', age=120)
    data_file(tmp_path, 'young.root', age=10)
    done = register(database, tmp_path, settle=60)
    assert done == Registered(new=1, unsettled=['young.root'])
    assert register(database, tmp_path, settle=5) == Registered(new=1, known=['old.root'])


def test_what_cannot_be_registered_is_named_and_the_rest_goes_on(database: Database, tmp_path: Path) -> None:
    data_file(tmp_path, '_x.root')
    data_file(tmp_path, 'fine.root')
    (tmp_path / 'gone.root').symlink_to(tmp_path / 'nowhere')
    done = register(database, tmp_path)
    assert done.new == 1 and list(done.failed) == ['_x.root'] and '_x.root' in done.failed['_x.root']


def test_a_run_whose_seeding_was_broken_off_is_completed(database: Database, tmp_path: Path) -> None:
    reserved = catalogue.reserve_run(database, not_taken)
    data_file(tmp_path, f'{reserved["_id"]}.root')
    assert register(database, tmp_path).new == 1
    assert database.get(reserved['_id'])['status'] == 'good'


def test_many_files_and_rows_that_are_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, 'BATCH', 10)
    file = data_file(tmp_path, 'x.root')
    docs = [catalogue.new_document(f'x{number:02d}', 'x', file, {}) for number in range(25)]
    database.put({**docs[3], 'md5sum': 'of another file'})
    database.put(docs[4])
    batches: list[int] = []
    refused = catalogue.insert(database, docs, batches.append)
    assert batches == [10, 10, 5]
    assert list(refused) == ['x03'] and refused['x03'].startswith('x03: ')


def test_no_such_folder(database: Database, tmp_path: Path) -> None:
    with pytest.raises(EdwError, match='no such folder'):
        register(database, tmp_path / 'none')


def test_a_file_that_is_dated_in_the_future_is_named(database: Database, tmp_path: Path) -> None:
    for name, ahead in (('a', 3600), ('b', 10)):
        (tmp_path / f'{name}.root').write_bytes(b'x')
        os.utime(tmp_path / f'{name}.root', (time.time() + ahead,) * 2)
    done = register(database, tmp_path, settle=60)
    assert done.new == 0 and done.unsettled == ['b.root']
    (reason,) = done.failed.values()
    assert reason.startswith(f'{tmp_path}/a.root: is dated in the future') and 'touch' in reason
