"""Registering data files, and reserving runs against others who do the same."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edw import files
from edw.database.client import Database
from edw.errors import EdwError
from edw.registering import catalogue, folders, registration, runs
from edw.registering.folders import Selection
from edw.registering.registration import Registered, Registrar

CONDITIONS = {'temperature': 0.0158}


def register(
    database: Database,
    folder: Path,
    settle: float = 0,
    update: bool = False,
    while_waiting: Callable[[], object] = lambda: None,
    **selection: object,
) -> Registered:
    registrar = Registrar(database, lambda file: CONDITIONS, update)
    chosen = Selection(**selection)
    return registration.register(registrar, folder, chosen, settle, lambda batch: batch, lambda _: while_waiting())


def data_file(folder: Path, name: str, content: bytes = b'rootdata', age: float = 3600) -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
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
    file = data_file(folder, 'ma22a007_003.root', b'root data')
    data_file(folder, 'calibration.root')
    for name in ('ma22a007_003.amp.root', '.hidden.root', 'notes.txt'):
        data_file(folder, name)
    (folder / 'folder.root').mkdir()
    done = register(database, folder)
    assert done.new == [folder / 'calibration.root', file] and not done.complaints
    assert folders.listed(done.passed) == '1 analysed file, 1 file of another name, 1 folder, 1 hidden file'
    doc = database.get('ma22a007_003')
    assert doc.pop('_rev') and abs(doc.pop('datecreated') - time.time()) < 60
    assert doc == {
        '_id': 'ma22a007_003',
        'run': 'ma22a007',
        'conditions': CONDITIONS,
        'original_file': str(file),
        'size': 9,
        'modified': file.stat().st_mtime,
        'md5sum': files.md5_of(file),
        'status': 'good',
        'process': [],
    }
    assert database.get('calibration')['run'] == 'calibration'
    again = register(database, folder)
    assert again.new == [] and again.known == [folder / 'calibration.root', file]


def test_what_cannot_be_registered_is_named_and_the_rest_goes_on(database: Database, tmp_path: Path) -> None:
    bad = data_file(tmp_path, '_x.root')
    data_file(tmp_path, 'fine.root')
    (tmp_path / 'gone.root').symlink_to(tmp_path / 'nowhere')
    done = register(database, tmp_path)
    assert done.new == [tmp_path / 'fine.root'] and list(done.refused) == [bad] and '_x.root' in done.refused[bad]
    assert '1 link that leads nowhere' in folders.listed(done.passed)


def test_a_run_whose_seeding_was_broken_off_is_completed(database: Database, tmp_path: Path) -> None:
    reserved = catalogue.reserve_run(database, not_taken)
    data_file(tmp_path, f'{reserved["_id"]}.root')
    assert len(register(database, tmp_path).new) == 1
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
