"""Registering data files, and reserving runs against others who do the same."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from edw import files
from edw.database.client import Database
from edw.errors import EdwError
from edw.registering import acquiring, catalogue, folders, registration, runs
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
    registrar = Registrar(database, lambda file: (CONDITIONS, None), update)
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
    doc = acquiring.reserve_run(database, not_taken)
    assert doc['run'] == run and doc['_id'] == f'{run}_000'
    assert database.get(doc['_id'])['status'] == acquiring.ACQUIRING


def test_highest_run_behind_many_other_documents(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, 'PAGE', 7)
    database.bulk_docs([{'_id': f'note{number:03d}'} for number in range(50)] + [{'_id': 'ma22a004_000'}])
    assert runs.highest_run(database) == 'ma22a004'


def test_runs_that_cannot_be_used_are_passed_over(database: Database) -> None:
    assert acquiring.reserve_run(database, lambda run: run < 'ma22a002')['run'] == 'ma22a002'


def test_no_two_get_the_same_run(database: Database) -> None:
    taken: list[str] = []
    barrier = threading.Barrier(8)

    def reserve() -> None:
        own = Database(database.settings)
        barrier.wait()
        taken.append(acquiring.reserve_run(own, not_taken)['run'])

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
    reserved = acquiring.reserve_run(database, not_taken)
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


def test_two_files_of_one_name_are_both_refused_and_the_one_that_has_a_document_keeps_it(
    database: Database, tmp_path: Path
) -> None:
    first, second = (data_file(tmp_path / name, 'x.root', b'root' + name.encode()) for name in ('a', 'b'))
    done = register(database, tmp_path, recursive=True)
    assert done.new == [] and set(done.refused) == {first, second}
    assert f'{second}: document x would be that of {first} too' in done.refused[second]
    assert register(database, tmp_path / 'b').new == [second]
    for _ in range(2):
        done = register(database, tmp_path, recursive=True, update=True)
        assert done.known == [second] and f'another file of this name, {second}' in done.refused[first]
    assert database.get('x')['original_file'] == str(second)


def test_another_file_of_the_same_name_size_and_date(database: Database, tmp_path: Path) -> None:
    first, second = (data_file(tmp_path / name, 'x.root', b'root' + name.encode()) for name in ('a', 'b'))
    for file in (first, second):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    assert register(database, tmp_path / 'a').new == [first]
    assert list(register(database, tmp_path / 'b').refused) == [second]


def test_with_and_without_the_ending_is_one_id(database: Database, tmp_path: Path) -> None:
    for name in ('x', 'x.root'):
        data_file(tmp_path / 'there', name, b'root' + name.encode())
    done = register(database, tmp_path / 'there', patterns=('x*',))
    assert {path.name for path in done.refused} == {'x', 'x.root'}


def test_a_file_that_was_moved_is_the_same(database: Database, tmp_path: Path) -> None:
    file = data_file(tmp_path / 'a', 'x.root')
    assert register(database, tmp_path / 'a').new == [file]
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert register(database, tmp_path / 'b').known == [tmp_path / 'b' / 'x.root']
    os.utime(tmp_path / 'b' / 'x.root')  # and a copy, too, by its bytes
    assert register(database, tmp_path / 'b').known == [tmp_path / 'b' / 'x.root']


@pytest.mark.parametrize('order', [('a', 'b'), ('b', 'a')])
def test_two_links_to_one_file(database: Database, tmp_path: Path, order: tuple[str, str]) -> None:
    data_file(tmp_path / 'store', '0815')
    folder = tmp_path / 'there'
    folder.mkdir()
    links = [folder / f'{name}.root' for name in order]
    for link in links:
        link.symlink_to('../store/0815')
    done = register(database, folder)
    assert done.new == [] and set(done.refused) == set(links) and 'leads to the same file' in done.refused[links[0]]
    links[1].unlink()
    assert register(database, folder).new == [links[0]]
    links[1].symlink_to('../store/0815')
    done = register(database, folder)
    assert done.known == [links[0]] and set(done.refused) == {links[1]}


def test_one_link_in_two_folders_is_one_document(database: Database, tmp_path: Path) -> None:
    data_file(tmp_path / 'store', '0815')
    for name in ('a', 'b'):
        (tmp_path / 'there' / name).mkdir(parents=True)
        (tmp_path / 'there' / name / 'x.root').symlink_to(tmp_path / 'store/0815')
    done = register(database, tmp_path / 'there', recursive=True)
    assert len(done.new) == 1 and len(done.known) == 1 and not done.complaints


def test_a_link_that_leads_elsewhere_by_now(database: Database, tmp_path: Path) -> None:
    for name in ('1', '2'):
        data_file(tmp_path / 'store', name, b'root' + name.encode())
    folder = tmp_path / 'there'
    folder.mkdir()
    (folder / 'x.root').symlink_to('../store/1')
    assert len(register(database, folder).new) == 1
    (folder / 'x.root').unlink()
    (folder / 'x.root').symlink_to('../store/2')
    assert 'another file of this name' in register(database, folder, update=True).complaints[0]


def test_what_happens_between_two_looks(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / 'there'
    for name in ('grows', 'goes', 'stays', 'is replaced', 'becomes a fifo', 'becomes a folder'):
        data_file(folder, f'{name}.root')

    def happen() -> None:
        data_file(folder, 'grows.root', b'root and more')
        data_file(folder, 'other')
        os.utime(folder / 'other', ns=((folder / 'is replaced.root').stat().st_mtime_ns,) * 2)
        (folder / 'other').replace(folder / 'is replaced.root')
        for name in ('goes', 'becomes a fifo', 'becomes a folder'):
            (folder / f'{name}.root').unlink()
        os.mkfifo(folder / 'becomes a fifo.root')
        (folder / 'becomes a folder.root').mkdir()
        data_file(folder, 'comes.root')

    done = register(database, folder, settle=0.01, while_waiting=happen)
    assert done.new == [folder / 'stays.root'] and not done.complaints
    left = {path.stem for path in done.unsettled}
    assert left == {'grows', 'is replaced', 'becomes a fifo', 'becomes a folder'}


def test_a_file_that_changes_while_it_is_read(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = data_file(tmp_path, 'x.root')
    read_to_the_end = files.md5_of_stream

    def and_then_written_to(stream: BinaryIO) -> str:
        md5sum = read_to_the_end(stream)
        with file.open('ab') as writer:
            writer.write(b'more')
        return md5sum

    with monkeypatch.context() as changed:
        changed.setattr(files, 'md5_of_stream', and_then_written_to)
        done = register(database, tmp_path)
    assert done.unsettled == [file] and not done.complaints
    assert register(database, tmp_path).new == [file]


def test_a_listener_that_claims_while_a_file_is_registered_anew(database: Database, tmp_path: Path) -> None:
    file = data_file(tmp_path, 'x.root')
    register(database, tmp_path)
    file.write_bytes(b'root anew')

    def claim(file: Path) -> tuple[dict[str, object], None]:
        database.put({**database.get('x'), 'claim': {'process': 's', 'worker': 'w', 'since': 1.0}})
        return {}, None

    registrar = Registrar(database, claim, update=True)
    (looked_at,) = folders.look(tmp_path, Selection()).files
    done = registrar.register([looked_at])
    assert list(done.failed) == [file] and 'conflict' in done.failed[file]
    assert database.get('x')['size'] == 8 and database.get('x')['claim']
    done = registrar.register([looked_at])
    assert 's is at that; when it is done: python make_metadata.py' in done.changed[file]
