"""The watch where the system tells nothing: network file systems, links, too many watches."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edw.database.client import Database
from edw.registering import arrivals, folders, registration, watching
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
    registrar = Registrar(own, lambda file: {'name': file.name}, update)
    watcher = Watcher(own, registrar, folder, Selection(**selection), settle)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield
    finally:
        watcher.stop()
        thread.join()


def registered(database: Database) -> set[str]:
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
    scans = []
    look = folders.look
    monkeypatch.setattr(folders, 'look', lambda *arguments: scans.append(1) or look(*arguments))
    (folder / 'x.root').write_bytes(b'rootx')
    (folder / os.fsdecode(b'not-utf8-\xff.root')).write_bytes(b'')
    with watched(database, folder):
        wait_until(lambda: len(scans) > 5)
        assert caplog.text.count('is that of another file of this name') == 1
        assert caplog.text.count('must be UTF-8') == 1
        database.delete(database.get('x'))
        wait_until(lambda: 'x' in registered(database))


def test_conditions_that_no_document_can_hold(database: Database, folder: Path) -> None:
    for name in ('a', 'b', 'c'):
        (folder / f'{name}.root').write_bytes(b'rootx')
    bad = {'a.root': float('nan'), 'b.root': '\ud800'}
    registrar = Registrar(database, lambda file: {'x': bad.get(file.name, 1)})
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
