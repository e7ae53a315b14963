"""The watch where the system tells nothing: network file systems, links, too many watches; and what changes."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edw.database.client import Database
from edw.registering import arrivals, contents, folders, registration, watching
from edw.registering.folders import Selection
from edw.registering.registration import Registrar
from edw.registering.watching import Watcher
from tests.scripts import wait_until


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, 'FOLDER_INTERVAL', 0.05)
    monkeypatch.setattr(watching, 'SCAN_INTERVAL', 0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / 'incoming'
    folder.mkdir()
    return folder


@contextmanager
def watched(
    database: Database, folder: Path, settle: float = 0, update: bool = False, **selection: object
) -> Iterator[None]:
    own = Database(database.settings)
    registrar = Registrar(own, lambda file: ({'name': file.name}, None), update)
    watcher = Watcher(own, registrar, folder, Selection(**selection), settle)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield
    finally:
        watcher.stop()
        thread.join()


def registered(database: Database) -> set[str]:
    return ids_of(database) - closed(database)


def closed(database: Database) -> set[str]:
    return {doc_id for doc_id, doc in database.existing(ids_of(database)).items() if doc.get('type') == 'run'}


def ids_of(database: Database) -> set[str]:
    return {row['id'] for row in database.all_docs() if not row['id'].startswith('_')}


def test_without_any_events(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arrivals, 'TOLD', False)
    (folder / 'a.root').write_bytes(b'roota')
    with watched(database, folder, settle=0.3):
        wait_until(lambda: registered(database) == {'a'})
        (folder / 'b.root').write_bytes(b'rootb')
        wait_until(lambda: registered(database) == {'a', 'b'})
    assert database.get('b')['conditions'] == {'name': 'b.root'}
    assert 'looking through it every' in caplog.text


def test_where_no_further_watch_can_be_had(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError(28, 'inotify watch limit reached')

    monkeypatch.setattr(watching, 'Arrivals', refused)
    with watched(database, folder):
        (folder / 'a.root').write_bytes(b'roota')
        wait_until(lambda: registered(database) == {'a'})
    assert 'inotify watch limit reached; looking through it every' in caplog.text


def test_a_file_that_was_linked_into_place(database: Database, folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'x').write_bytes(b'rootx')
    with watched(database, folder):
        os.link(tmp_path / 'x', folder / 'x.root')  # no event tells of it
        wait_until(lambda: registered(database) == {'x'})


def test_a_failure_is_named_once_and_mended_without_a_restart(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.put({'_id': 'x', 'status': 'good', 'md5sum': 'of another file'})
    (folder / 'x.root').write_bytes(b'rootx')
    (folder / os.fsdecode(b'not-utf8-\xff.root')).write_bytes(b'')
    with watched(database, folder):
        wait_for_scans(monkeypatch, 5)
        assert caplog.text.count('is that of another file of this name') == 1
        assert caplog.text.count('must be UTF-8') == 1
        database.delete(database.get('x'))
        wait_until(lambda: 'x' in registered(database))


def test_conditions_that_no_document_can_hold(database: Database, folder: Path) -> None:
    for name in ('a', 'b', 'c'):
        (folder / f'{name}.root').write_bytes(b'rootx')
    bad = {'a.root': float('nan'), 'b.root': '\ud800'}
    registrar = Registrar(database, lambda file: ({'x': bad.get(file.name, 1)}, None))
    done = registration.register(registrar, folder, Selection(), 0, lambda batch: batch, print)
    assert len(done.new) == 1 and {file.name for file in done.refused} == set(bad) and registered(database) == {'c'}
    assert all('cannot be kept as JSON' in reason for reason in done.refused.values())


def test_a_file_that_is_dated_in_the_future(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the clock was set back after it was written: its date is past only in an hour."""
    monkeypatch.setattr(arrivals, 'TOLD', False)
    file = folder / 'a.root'
    file.write_bytes(b'roota')
    os.utime(file, (file.stat().st_mtime + 3600,) * 2)
    with watched(database, folder, settle=0.3):
        wait_until(lambda: registered(database) == {'a'})


@pytest.mark.parametrize('ahead', [-120, 0, 86_400], ids=['behind', 'right', 'ahead'])
def test_a_slow_writer_whose_clock_is_wrong(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    monkeypatch.setattr(arrivals, 'TOLD', False)
    file = folder / 'a.root'
    with watched(database, folder, settle=0.5), file.open('wb') as stream:
        for size in range(1, 16):
            stream.write(b'root')
            stream.flush()
            os.utime(file, (time.time() + ahead,) * 2)
            threading.Event().wait(0.1)
            assert not registered(database), size
        stream.close()
        wait_until(lambda: registered(database) == {'a'})
    assert database.get('a')['size'] == file.stat().st_size


def test_folders_that_come_with_their_files(database: Database, folder: Path, tmp_path: Path) -> None:
    (folder / 'old').mkdir()
    with watched(database, folder, settle=0.3, recursive=True):
        for number in range(20):
            below = folder / f'run{number}' / 'part' / 'deep'
            below.mkdir(parents=True)
            (below / f'x{number}.root').write_bytes(b'root')  # perhaps before any watch is on its folder
        (folder / 'old' / 'y.root').write_bytes(b'root')
        (tmp_path / 'elsewhere' / 'deep').mkdir(parents=True)
        (tmp_path / 'elsewhere' / 'deep' / 'z.root').write_bytes(b'root')
        (tmp_path / 'elsewhere').rename(folder / 'moved in')
        wait_until(lambda: registered(database) == {'y', 'z', *(f'x{number}' for number in range(20))})
        (folder / '.hidden').mkdir()
        (folder / '.hidden' / 'h.root').write_bytes(b'root')
        (folder / 'link').symlink_to(tmp_path)
        (tmp_path / 'l.root').write_bytes(b'root')
        (folder / 'last.root').write_bytes(b'root')
        wait_until(lambda: 'last' in registered(database))
    assert not {'h', 'l'} & registered(database)


def test_only_what_is_told_is_registered_in_folders_below(
    database: Database, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing settles here, and nothing is looked through: what is registered was told of, by a watch on its folder."""
    with watched(database, folder, settle=1e6, recursive=True):
        (folder / 'a' / 'b').mkdir(parents=True)

        def told(file: Path, doc_id: str) -> bool:
            file.write_bytes(b'root')
            return doc_id in registered(database)

        wait_until(lambda: told(folder / 'a' / 'b' / 'x.root', 'x'))
        (folder / 'a').rename(folder / 'c')
        wait_until(lambda: told(folder / 'c' / 'b' / 'y.root', 'y'))
        (folder / 'c').rename(tmp_path / 'out')
        (tmp_path / 'out' / 'b' / 'gone.root').write_bytes(b'root')
        (tmp_path / 'out').rename(folder / 'back')
        wait_until(lambda: told(folder / 'back' / 'b' / 'z.root', 'z'))
        shutil.rmtree(folder / 'back')
        (folder / 'back' / 'b').mkdir(parents=True)
        wait_until(lambda: told(folder / 'back' / 'b' / 'w.root', 'w'))
    assert registered(database) == {'x', 'y', 'z', 'w'}
    assert database.get('y')['original_file'] == str(folder / 'c' / 'b' / 'y.root')


@pytest.mark.skipif(not arrivals.TOLD, reason='inotify is of Linux')
def test_more_happens_than_the_system_keeps(folder: Path) -> None:
    """A real overflow: nobody reads, while more files are written than the queue holds."""
    most = int(Path('/proc/sys/fs/inotify/max_queued_events').read_text())
    if most > 200_000:
        pytest.skip(f'the queue of inotify holds {most} events')
    told: list[object] = []
    reading, go_on = threading.Event(), threading.Event()

    def tell(arrival: object) -> None:
        told.append(arrival)
        reading.set()
        go_on.wait()

    watch = arrivals.Arrivals(folder, True, tell)
    try:
        (folder / 'first.root').write_bytes(b'root')
        reading.wait()
        for number in range(most + 100):  # two names by turns, because equal events in a row are kept as one
            (folder / f'{number % 2}').write_bytes(b'')
        (folder / 'unseen').mkdir()  # of which nothing is told
        go_on.set()
        wait_until(lambda: arrivals.LookAgain() in told)
        (folder / 'unseen' / 'x.root').write_bytes(b'root')
        wait_until(lambda: arrivals.Finished(folder / 'unseen' / 'x.root') in told)
    finally:
        go_on.set()
        watch.end()
    assert told.count(arrivals.LookAgain()) == 1


def test_a_document_that_was_deleted_is_made_again(database: Database, folder: Path) -> None:
    (folder / 'a.root').write_bytes(b'roota')
    (folder / 'b.root').write_bytes(b'rootb')
    with watched(database, folder):
        wait_until(lambda: registered(database) == {'a', 'b'})
        database.delete(database.get('a'))
        wait_until(lambda: registered(database) == {'a', 'b'})


def test_a_file_that_changes_after_it_was_registered_is_named_once(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    file = folder / 'a.root'
    file.write_bytes(b'root')
    with watched(database, folder):
        wait_until(lambda: registered(database) == {'a'})
        with file.open('r+b') as stream:  # rewritten in place
            stream.write(b'rootROOT')
        wait_until(lambda: 'is not what document a was made of' in caplog.text)
        file.write_bytes(b'rootROOTroot')
        (folder / 'b.root').write_bytes(b'rootb')
        wait_until(lambda: registered(database) == {'a', 'b'})
    assert database.get('a')['size'] == 4 and caplog.text.count('is not what') == 1
    with watched(database, folder, update=True):
        wait_until(lambda: database.get('a')['size'] == 12)
        file.write_bytes(b'root')
        wait_until(lambda: database.get('a')['size'] == 4)
    assert caplog.text.count('registered anew a.root') == 2


def test_what_is_no_root_file_is_named_once_until_it_is_one(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    check = contents.check
    monkeypatch.setattr(contents, 'check', lambda file: read.append(file.name) or check(file))
    with watched(database, folder):
        (folder / 'a.root').write_text('some text')
        (folder / 'b.root').write_bytes(b'root')
        wait_until(lambda: registered(database) == {'b'})
        wait_until(lambda: 'a.root: is no ROOT file' in caplog.text)
        (folder / 'c.root').write_bytes(b'root')
        wait_until(lambda: registered(database) == {'b', 'c'})
        assert caplog.text.count('is no ROOT file') == 1
        wait_for_scans(monkeypatch, 2)  # a change in the database may be a document that was deleted
        times = read.count('a.root')
        wait_for_scans(monkeypatch, 5)
        assert read.count('a.root') == times
        (folder / 'a.root').write_bytes(b'root')
        wait_until(lambda: registered(database) == {'a', 'b', 'c'})


def test_marks_are_waited_for(database: Database, folder: Path) -> None:
    run = folder / 'ma22a000'
    run.mkdir()
    selection = {'patterns': ('*_[0-9][0-9][0-9]',), 'recursive': True, 'done_mark': '{run}_log'}
    with watched(database, folder, **selection):
        (run / 'ma22a000_000').write_bytes(b'raw')
        (run / 'ma22a000_001').write_bytes(b'raw')
        (folder / 'mb01a000_000').write_bytes(b'raw')
        (folder / 'mb01a000_log').touch()
        wait_until(lambda: registered(database) == {'mb01a000_000'})
        (run / 'ma22a000_log').write_text('finished')
        wait_until(lambda: len(registered(database)) == 3)


def test_the_next_run_of_the_same_machine_closes_a_run(database: Database, folder: Path) -> None:
    with watched(database, folder):
        for name in ('ma22a000_000', 'ma22a000_001', 'ma22b000_000', 'other'):
            (folder / f'{name}.root').write_bytes(b'root')
        wait_until(lambda: {'ma22a000_001', 'ma22b000_000', 'other'} <= registered(database))
        assert not closed(database)
        (folder / 'ma23a000_000.root').write_bytes(b'root')
        wait_until(lambda: closed(database) == {'ma22a000'})
        (folder / 'ma22a000_002.root').write_bytes(b'root')  # late
        (folder / 'ma22b001_000.root').write_bytes(b'root')
        wait_until(lambda: closed(database) == {'ma22a000', 'ma22b000'})
        wait_until(lambda: 'ma22a000_002' in registered(database))
    assert database.get('ma22a000')['status'] == 'closed'


def test_runs_that_a_killed_watch_left_open_are_closed_at_the_next_start(database: Database, folder: Path) -> None:
    for name in ('ma22a000_000', 'ma22a001_000', 'ma22a002_000'):
        (folder / f'{name}.root').write_bytes(b'root')
    registrar = Registrar(database, lambda file: ({}, None))
    registration.register(registrar, folder, Selection(), 0, lambda batch: batch, print)
    (folder / 'ma22a000_000.root').unlink()  # moved away since
    assert not closed(database)
    with watched(database, folder):
        wait_until(lambda: closed(database) == {'ma22a000', 'ma22a001'})


def test_the_mark_of_a_run_closes_it(database: Database, folder: Path) -> None:
    selection = {'patterns': ('*_[0-9][0-9][0-9]',), 'done_mark': '{run}_log'}
    with watched(database, folder, **selection):
        for number in range(30):
            (folder / f'ma22a000_{number:03d}').write_bytes(b'raw')
        (folder / 'ma22a001_000').write_bytes(b'raw')
        (folder / 'ma22a001_log').touch()
        wait_until(lambda: closed(database) == {'ma22a001'})
        (folder / 'ma22a000_log').touch()
        wait_until(lambda: closed(database) == {'ma22a000', 'ma22a001'})
        assert len(registered(database)) == 31  # all files were registered before


def test_a_run_with_the_name_of_a_file_is_not_closed(
    database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with watched(database, folder):
        for name in ('ma22a000', 'ma22a000_000', 'ma22a001_000'):
            (folder / f'{name}.root').write_bytes(b'root')
        wait_until(lambda: 'document ma22a000 is that of a file' in caplog.text)
        (folder / 'ma22a002_000.root').write_bytes(b'root')
        wait_until(lambda: closed(database) == {'ma22a001'})
    assert database.get('ma22a000')['original_file'] == str(folder / 'ma22a000.root')


def wait_for_scans(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    scans: list[int] = []
    look = folders.look
    monkeypatch.setattr(folders, 'look', lambda *arguments: scans.append(1) or look(*arguments))
    wait_until(lambda: len(scans) > number)
