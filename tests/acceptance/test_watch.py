"""make_metadata.py --watch: each file gets its document when it is finished, and none twice."""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import local_couchdb
from edw import config, files
from edw.database.client import Database
from tests.conftest import Server
from tests.scripts import ROOT, Process, Scripts, wait_until

NEVER = '100000'  # seconds to settle: only what the system tells is registered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / 'incoming'
    folder.mkdir()
    return folder


def watch(scripts: Scripts, folder: Path, settle: str = NEVER) -> Process:
    process = scripts.start('make_metadata.py', '--watch', str(folder), '--settle', settle)
    process.wait_for('watching ')
    return process


def registered(database: Database) -> set[str]:
    rows = database.all_docs()
    # One revision: nobody made the document twice.
    assert all(row['value']['rev'].startswith('1-') for row in rows)
    return {row['id'] for row in rows if not row['id'].startswith('_')}


def test_a_file_is_registered_when_it_is_closed(scripts: Scripts, database: Database, folder: Path) -> None:
    process = watch(scripts, folder)
    slow = folder / 'ma22a000_000.root'
    with slow.open('wb') as stream:
        for index in range(3):
            stream.write(b'root' * 1000)
            stream.flush()
            (folder / f'other{index}.root').write_bytes(b'rootwhole')
            process.wait_for(f'registered other{index}.root')
        assert registered(database) == {'other0', 'other1', 'other2'}
    process.wait_for('registered ma22a000_000.root')
    doc = database.get('ma22a000_000')
    assert doc['md5sum'] == files.md5_of(slow) and doc['size'] == 12_000
    assert doc['run'] == 'ma22a000' and doc['status'] == 'good' and doc['original_file'] == str(slow)
    slow.open('ab').close()  # closed once more, and nothing of it
    (folder / 'last.root').write_bytes(b'rootx')
    process.wait_for('registered last.root')
    assert process.stop() == 0
    assert process.output.count('ma22a000_000.root holds no run conditions') == 1
    assert registered(database) == {'ma22a000_000', 'other0', 'other1', 'other2', 'last'}


def test_files_are_registered_when_they_are_renamed_into_place(
    scripts: Scripts, database: Database, folder: Path, tmp_path: Path
) -> None:
    process = watch(scripts, folder)
    for name in ('.hidden.root', 'x.amp.root', 'notes.txt', 'x.part', '.y.root.part'):
        (folder / name).write_bytes(b'rootdata')
    (tmp_path / 'z.root').write_bytes(b'rootdata')
    (folder / 'folder.root').mkdir()
    (folder / 'x.part').rename(folder / 'x.root')
    (folder / '.y.root.part').rename(folder / 'y.root')
    (tmp_path / 'z.root').rename(folder / 'z.root')
    wait_until(lambda: registered(database) == {'x', 'y', 'z'})
    (folder / '_w.root').write_bytes(b'rootdata')
    process.wait_for('cannot begin with an underscore')
    (folder / '_w.root').rename(folder / 'w.root')
    (folder / 'z.root').rename(tmp_path / 'z.root')
    process.wait_for('registered w.root')
    assert process.stop(signal.SIGINT) == 0
    assert registered(database) == {'w', 'x', 'y', 'z'}
    assert process.output.count('underscore') == 1 and 'Traceback' not in process.output


def test_what_is_there_at_the_start(scripts: Scripts, database: Database, folder: Path) -> None:
    for name in ('a.root', 'b.root', '.c.root', 'd.amp.root'):
        (folder / name).write_bytes(b'root' + name.encode())
    process = watch(scripts, folder, settle='0')
    process.wait_for('registered 2 files, 0 had a document already')
    assert process.stop() == 0
    assert registered(database) == {'a', 'b'}
    process = watch(scripts, folder, settle='3')
    process.wait_for('registered 0 files, ')
    (folder / 'e.root').write_bytes(b'roote')
    process.wait_for('registered e.root')
    assert process.stop() == 0
    assert registered(database) == {'a', 'b', 'e'}


def test_nothing_falls_between_the_start_of_the_watch_and_the_first_look(
    scripts: Scripts, database: Database, folder: Path, tmp_path: Path
) -> None:
    names = [f'x{index:03d}' for index in range(150)]
    started = threading.Event()

    def acquire() -> None:
        for index, name in enumerate(names):
            (tmp_path / name).write_bytes(b'root' + name.encode())
            (tmp_path / name).rename(folder / f'{name}.root')
            if index == 20:
                started.set()
            if index > 20:
                threading.Event().wait(0.01)  # so that they go on while the script starts

    thread = threading.Thread(target=acquire)
    thread.start()
    started.wait()
    process = scripts.start('make_metadata.py', '--watch', str(folder), '--settle', '0')
    thread.join()
    wait_until(lambda: len(registered(database)) == len(names))
    assert process.stop() == 0
    assert registered(database) == set(names)
    assert 'error' not in process.output


def test_the_folder_goes_away_and_comes_back(scripts: Scripts, database: Database, folder: Path) -> None:
    process = watch(scripts, folder, settle='0')
    shutil.rmtree(folder)
    process.wait_for('is gone; waiting')
    folder.mkdir()
    (folder / 'x.root').write_bytes(b'rootdata')
    process.wait_for('is there again')
    process.wait_for('registered x.root')
    # Another folder of its name, perhaps of the same inode too, before anybody looked.
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / 'y.root').write_bytes(b'rootdata')
    process.wait_for('registered y.root')
    folder.rename(folder.with_name('elsewhere'))
    process.wait_for('is gone; waiting', times=2)
    folder.with_name('elsewhere').rename(folder)
    process.wait_for('is there again', times=2)
    (folder / 'z.root').write_bytes(b'rootdata')
    process.wait_for('registered z.root')
    assert process.stop() == 0
    assert registered(database) == {'x', 'y', 'z'}
    assert process.output.count('is gone; waiting') == 2


def test_a_server_that_goes_away(scripts: Scripts, server: Server, folder: Path, tmp_path: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    scripts.config.write_text(scripts.config.read_text().replace(server.url, f'http://127.0.0.1:{port}'))
    settings = config.load(scripts.config)
    database = Database(settings)
    server_at_its_port = (tmp_path / 'couchdb', settings.username, settings.password, port)
    with local_couchdb.running(*server_at_its_port):
        database.create()
        process = watch(scripts, folder)
        (folder / 'a.root').write_bytes(b'roota')
        process.wait_for('registered a.root')
    (folder / 'b.root').write_bytes(b'rootb')
    process.wait_for('trying again until it answers')
    (folder / 'c.root').write_bytes(b'rootc')
    with local_couchdb.running(*server_at_its_port):
        process.wait_for('the server answers again')
        wait_until(lambda: registered(database) == {'a', 'b', 'c'})
        assert process.is_running()
    (folder / 'd.root').write_bytes(b'rootd')
    process.wait_for('trying again until it answers', times=2)
    assert process.stop() == 0  # although it cannot finish


def test_what_ends_it(scripts: Scripts, server: Server, database: Database, folder: Path) -> None:
    done = scripts.call('make_metadata.py', '--watch', str(folder / 'none'))
    assert done.returncode == 1 and 'no such folder' in done.stderr
    done = scripts.call('make_metadata.py', '--watch', str(folder), '2')
    assert done.returncode == 2 and '--watch' in done.stderr
    process = watch(scripts, folder)
    server.request('DELETE', database.settings.dbname)
    (folder / 'a.root').write_bytes(b'roota')
    assert process.end() == 1
    assert 'no such database' in process.output and 'Traceback' not in process.output


def test_no_further_watch_can_be_had(scripts: Scripts, database: Database, folder: Path) -> None:
    """A real limit: that of a user namespace, which is inherited by what runs in it."""
    unshare = shutil.which('unshare')
    limit = 'echo 3 > /proc/sys/user/max_inotify_watches'
    if unshare is None or subprocess.run([unshare, '-Ur', 'sh', '-c', limit], capture_output=True).returncode:
        pytest.skip('no user namespace can be made here (unshare -Ur)')
    for number in range(5):
        (folder / f'run{number}').mkdir()
    (folder / 'run4' / 'a.root').write_bytes(b'root')
    arguments = ('make_metadata.py', '--config', scripts.config, '--watch', folder, '--recursive', '--settle', '0')
    within = shlex.join([sys.executable, str(ROOT / arguments[0]), *map(str, arguments[1:])])
    process = Process([unshare, '-Ur', 'sh', '-c', f'{limit} && exec {within}'])
    try:
        process.wait_for('registered run4/a.root')
        (folder / 'b.root').write_bytes(b'root')
        process.wait_for('registered b.root')
        assert process.stop() == 0
    finally:
        process.kill()
    said = 'no further inotify watch can be had (fs.inotify.max_user_watches); looking through it every 60 s'
    assert process.output.count(said) == 1 and 'Traceback' not in process.output
