"""Files on another machine, over SFTP to a real sshd: looked at, and told from the original."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edw import files
from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping import forecast, strays
from edw.keeping.copies import Named
from edw.keeping.deleting import Candidate, Deleter, Terms
from edw.keeping.guarding import GuardedFolder
from edw.keeping.looking import Looker
from edw.storage import space
from edw.storage.places import aside_name, part_name
from edw.storage.space import Usage
from edw.transfer import make_new_folder
from tests.integration import sshd
from tests.programs import program
from tests.scripts import Scripts


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`sftp://USER@127.0.0.1:PORT`."""
    home = tmp_path / 'home'
    with sshd.running(program('sshd', package='openssh-server'), tmp_path, home) as url:
        monkeypatch.setenv('HOME', str(home))
        yield url


@pytest.fixture
def looker() -> Iterator[Looker]:
    made = Looker()
    yield made
    made.close()


def named(location: str) -> Named:
    return Named(location, 'move_to_sps', None, None, '', True)


def test_files_on_another_machine(host: str, looker: Looker, tmp_path: Path) -> None:
    folder = tmp_path / 'sps'
    with pytest.raises(TryLater, match=f'{folder} is not there'):
        looker.state(named(f'{host}{folder}/x'))
    folder.mkdir()
    with pytest.raises(TryLater, match='is empty; is its disk mounted'):
        looker.state(named(f'{host}{folder}/x'))
    (folder / 'y').write_bytes(b'content')
    assert looker.state(named(f'{host}{folder}/x')) is None
    found = looker.state(named(f'{host}{folder}/y'))
    assert found is not None and found.size == 7
    assert looker.md5(f'{host}{folder}/y') == files.md5_of(folder / 'y')


def test_a_host_that_refuses_is_asked_once(looker: Looker) -> None:
    said = []
    for _ in range(2):
        with pytest.raises(TryLater) as error:
            looker.state(named('sftp://nobody@127.0.0.1:1/x'))
        said.append(error.value)
    assert said[0] is said[1] and '127.0.0.1:1: no login' in str(said[0])


def delete(database: Database, host: str, looker: Looker, raw: Path, location: str) -> None:
    original = raw / 'x.root'
    entry = {'name': 'move_to_sps', 'file': f'{host}{location}', 'md5sum': files.md5_of(original)}
    doc = {'_id': 'x', 'status': 'good', 'datecreated': 1.0, 'original_file': str(original), 'process': [entry]}
    doc |= {
        'md5sum': entry['md5sum'],
        **{name: rev for name, rev in database.existing(['x']).get('x', {}).items() if name == '_rev'},
    }
    revision = database.put(doc)['rev']
    originals = GuardedFolder(str(raw))
    deleter = Deleter(database, originals, Terms('move_to_sps', time.time(), 1), looker)
    try:
        deleter.delete(Candidate('x', revision, '', str(original), 7, 1.0))
    finally:
        originals.close()


def test_a_copy_on_this_very_machine_must_be_another_file(
    database: Database, host: str, looker: Looker, tmp_path: Path
) -> None:
    raw, sps = tmp_path / 'raw', tmp_path / 'sps'
    raw.mkdir()
    sps.mkdir()
    original = raw / 'x.root'
    original.write_bytes(b'content')
    link = tmp_path / 'link'
    link.symlink_to(raw)
    soft, hard = sps / 'soft.root', sps / 'hard.root'
    soft.symlink_to(original)
    for location in (original, link / 'x.root', soft):
        with pytest.raises(StepError, match='is in the same folder as'):
            delete(database, host, looker, raw, str(location))
    os.link(original, hard)
    with pytest.raises(StepError, match='hard links'):
        delete(database, host, looker, raw, str(hard))
    hard.unlink()
    copy = sps / 'x.root'
    copy.write_bytes(b'contend')
    with pytest.raises(StepError, match='has the md5'):
        delete(database, host, looker, raw, str(copy))
    assert [file.name for file in raw.iterdir()] == ['x.root']  # and nothing of ours
    copy.write_bytes(b'content')
    delete(database, host, looker, raw, str(copy))
    assert not original.exists() and database.get('x')['original_deleted']['hostname'] == socket.gethostname()


def moved(doc_id: str, size: int | None, finished: float) -> dict[str, object]:
    process = [{'name': 'move_to_sps', 'finished': finished}]
    return {'_id': doc_id, 'status': 'good', 'size': size, 'process': process}


def test_how_much_comes_in_a_day(database: Database) -> None:
    now = time.time()
    assert forecast.bytes_per_day(database, ['move_to_sps'], now) is None
    docs = [
        *(moved(f'day{index}', 3000, now - 86400 * (index + 0.1)) for index in range(4)),
        moved('no size', None, now - 100),
        moved('long ago', 10**9, now - 30 * 86400),
        {'_id': 'of the original scripts', 'size': 10**9, 'process': [{'name': 'move_to_sps'}]},
    ]
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    found = forecast.bytes_per_day(database, ['no such step', 'move_to_sps'], now)
    assert found == pytest.approx(5 * 3000 / 3.1, rel=0.01)


def test_disks_that_hold_several_folders_fill_by_each_of_them(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forecast.disks(database, ['move_to_sps']) == []  # there is no data on this machine
    database.put(moved('x', 1000, time.time() - 60))
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'sps').mkdir()
    devices = {str(tmp_path / 'raw'): 1, str(tmp_path / 'sps'): 1}
    monkeypatch.setattr(space, 'usage', lambda folder: Usage(8000, 100_000, devices.get(folder, 2)))
    data, scratch = forecast.disks(database, ['move_to_sps'])
    assert list(data.folders) == ['raw', 'sps'] and (data.free, data.total) == (8000, 100_000)
    assert data.per_day == 2000 and data.full_in == 4 and data.is_filling
    assert list(scratch.folders) == ['scratch'] and scratch.full_in is None and not scratch.is_filling


def test_the_disks_are_shown(database: Database, scripts: Scripts, tmp_path: Path) -> None:
    assert 'disk' not in scripts.call('show_status.py').stdout
    database.put(moved('x', 1000, time.time() - 60))
    (tmp_path / 'raw').mkdir()
    shown = scripts.call('show_status.py').stdout.splitlines()
    assert any(line.startswith('disk ') and line.endswith('full in') for line in shown)
    assert any(line.startswith('raw') and '1 kB' in line for line in shown)
    (first, *_) = json.loads(scripts.call('show_status.py', '--json').stdout)['disks']
    assert first['folders']['raw'] == str(tmp_path / 'raw') and first['total'] > first['free'] > 0


def test_what_moves_left_on_another_machine_is_told_with_its_document(
    host: str, scripts: Scripts, database: Database, tmp_path: Path
) -> None:
    """In the folder of data, and in one that only an entry of a document names."""
    assert scripts.call('make_metadata.py', '2', '--events', '20').returncode == 0
    sps, archive = tmp_path / 'far', tmp_path / 'archive'
    for folder in (sps, archive):
        make_new_folder(folder)
    scripts.config.write_text(scripts.config.read_text().replace('sps = sps', f'sps = {host}{sps}'))
    assert scripts.call('listen_newfiles.py', '--once', '--limit', '1').returncode == 0
    done, waiting = (database.get(f'ma22a000_{index:03d}') for index in range(2))
    assert done['process'][0]['file'] == f'{host}{sps}/ma22a000_000.root'
    entry = {**done['process'][0], 'name': 'archived', 'file': f'{host}{archive}/ma22a000_000.root'}
    (archive / 'ma22a000_000.root').write_bytes((sps / 'ma22a000_000.root').read_bytes())
    database.put({**done, 'process': [*done['process'], entry]})

    old = time.time() - 2 * strays.LEFT_OVER
    left = {
        sps / part_name('ma22a000_001.root', waiting['md5sum']): ('part', waiting['_id']),
        sps / aside_name('ma22a000_000.root', 'a' * 32, 0): ('aside', done['_id']),
        archive / part_name('ma22a000_000.root', done['md5sum']): ('part', done['_id']),
        archive / '.edw-0123456789abcdef.part': ('part', ''),
    }
    for path in left:
        path.write_bytes(b'half')
        os.utime(path, (old, old))
    (sps / '.edw-fedcba9876543210.part').write_bytes(b'being written')
    (archive / 'README').write_bytes(b'of people')
    checked = scripts.call('check_files.py', '--json')
    told = json.loads(checked.stdout)
    assert checked.returncode == 1 and not told['unread'], checked.stderr
    found = {one['file']: (one['what'], one['doc_id']) for one in told['strays']}
    shown = host.replace(f'{getpass.getuser()}@', '')
    assert found == {f'{shown}{path}': what for path, what in left.items()}
    assert {one['size'] for one in told['strays']} == {4}
    for path in left:
        path.unlink()
    assert scripts.call('check_files.py').returncode == 0
