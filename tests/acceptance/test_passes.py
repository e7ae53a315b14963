"""A step that is done again leaves what it made before as it was, until that is deleted."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from edw import files
from edw.database.client import Database
from edw.keeping import superseded
from edw.transfer import pass_of
from tests.scripts import ANALYSIS, Scripts

ID = 'ma22a000_000'
OLD = ('--superseded', '--days', '0')


@pytest.fixture
def twice(database: Database, tmp_path: Path) -> Database:
    """A database with a document on which the analysis was done twice, as that leaves it."""
    made = {}
    for name in (f'{ID}.root', f'{ID}.amp.root', f'{ID}.2.amp.root'):
        file = tmp_path / 'sps' / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
        made[name] = {'file': str(file), 'md5sum': files.md5_of(file), 'hostname': socket.gethostname()}
    moved, old, new = made.values()
    step = {'name': 'signal_processing'}
    cut = {'time': time.time(), 'hostname': 'h', 'from': 'signal_processing', 'entries': [{**step, **old}]}
    process = [{'name': 'move_to_sps', **moved}, {**step, **new, 'pass': 2}]
    database.put({'_id': ID, 'run': 'ma22a000', 'status': 'good', 'process': process, 'superseded': [cut]})
    return database


@pytest.fixture
def done_twice(scripts: Scripts, database: Database) -> Database:
    """The same, by the scripts."""
    assert scripts.call('make_metadata.py', '1', '--events', '20').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0
    again(scripts, 'signal_processing')
    return database


def again(scripts: Scripts, step: str) -> None:
    assert scripts.call('reprocess.py', ID, '--from', step, '--yes').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0


def entries(database: Database, step: str) -> list[dict[str, Any]]:
    """Those of a step, the superseded ones first."""
    doc = database.get(ID)
    before = [entry for cut in doc.get('superseded', []) for entry in cut['entries']]
    return [entry for entry in (*before, *doc['process']) if entry['name'] == step]


def are_whole(found: list[dict[str, Any]]) -> bool:
    return all(files.md5_of(entry['file']) == entry['md5sum'] for entry in found)


def delete(scripts: Scripts, *arguments: str) -> subprocess.CompletedProcess[str]:
    return scripts.call('delete_originals.py', *OLD, '--yes', *arguments)


def test_each_pass_has_a_file_of_its_own(scripts: Scripts, done_twice: Database) -> None:
    twice = done_twice
    found = entries(twice, 'signal_processing')
    assert [entry.get('pass') for entry in found] == [None, 2]
    assert [Path(entry['file']).name for entry in found] == [
        f'{ID}.amp.root',
        f'{ID}.2.amp.root',
    ]
    assert are_whole(found)
    assert 'pass 2: ' in scripts.call('show_status.py', '--doc', ID).stdout
    assert scripts.call('check_files.py', '--md5').returncode == 0
    # An original that is the same is not copied again,
    before = os.stat(entries(twice, 'move_to_sps')[0]['file'])
    again(scripts, 'move_to_sps')
    first, second = entries(twice, 'move_to_sps')
    assert second['pass'] == 2 and second['file'] == first['file'] and 'already there' in second['log']
    assert os.stat(second['file']) == before
    assert [entry.get('pass') for entry in entries(twice, 'signal_processing')] == [None, 2, 3]
    # but of another one the first copy stays as it was.
    doc = twice.get(ID)
    other = Path(doc['original_file'])
    other.write_bytes(other.read_bytes() + b'more')
    twice.put({**doc, 'md5sum': files.md5_of(other), 'size': other.stat().st_size})
    again(scripts, 'move_to_sps')
    found = entries(twice, 'move_to_sps')
    assert [Path(entry['file']).name for entry in found] == [f'{ID}.root', f'{ID}.root', f'{ID}.3.root']
    assert are_whole(found)
    assert are_whole(entries(twice, 'signal_processing'))


def test_superseded_files_are_checked_like_others(scripts: Scripts, twice: Database) -> None:
    Path(entries(twice, 'signal_processing')[0]['file']).unlink()
    done = scripts.call('check_files.py')
    assert done.returncode == 1 and 'signal_processing (superseded)' in done.stdout and 'is missing' in done.stdout


def test_what_was_superseded_is_deleted_and_nobody_misses_it(scripts: Scripts, twice: Database) -> None:
    old, new = entries(twice, 'signal_processing')
    shown = scripts.call('delete_originals.py', *OLD, '--dry-run')
    assert shown.returncode == 0 and '1 superseded file would be deleted' in shown.stdout and Path(old['file']).exists()
    refused = scripts.call('delete_originals.py', *OLD)
    assert refused.returncode == 2 and '--yes' in refused.stderr
    done = delete(scripts)
    assert done.returncode == 0 and 'deleted 1 superseded file' in done.stdout, done.stderr
    assert not Path(old['file']).exists() and Path(new['file']).exists()
    old, new = entries(twice, 'signal_processing')
    assert time.time() - old['deleted']['time'] < 60 and old['deleted']['hostname'] and 'deleted' not in new
    assert scripts.call('check_files.py').returncode == 0
    assert 'file deleted' in scripts.call('show_status.py', '--doc', ID).stdout
    assert 'there is nothing to delete' in delete(scripts).stdout
    # Its name is not used again.
    assert scripts.call('reprocess.py', ID, '--from', 'signal_processing', '--yes').returncode == 0
    assert pass_of(twice.get(ID), 'signal_processing') == 3


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'status': 'bad'}, 'failed, or not good'),
        ({'claim': {'process': 's', 'worker': 'h:1:a', 'since': 1}}, 'a listener is at it'),
        ({'hold': {'reason': 'r'}}, 'on hold'),
    ],
)
def test_what_the_document_keeps(scripts: Scripts, twice: Database, change: dict[str, Any], reason: str) -> None:
    twice.put({**twice.get(ID), **change})
    done = delete(scripts)
    assert f'kept: 1, {reason}' in done.stdout and are_whole(entries(twice, 'signal_processing'))


def test_the_age_counts_from_when_it_was_superseded(scripts: Scripts, twice: Database) -> None:
    done = scripts.call('delete_originals.py', '--superseded', '--days', '1', '--yes')
    assert 'kept: 1, superseded lately' in done.stdout and are_whole(entries(twice, 'signal_processing'))


def test_a_step_that_was_not_done_again_keeps_its_file(scripts: Scripts, twice: Database) -> None:
    assert scripts.call('reprocess.py', ID, '--from', 'signal_processing', '--yes').returncode == 0
    assert 'kept: 2, signal_processing was not done again' in delete(scripts).stdout
    assert are_whole(entries(twice, 'signal_processing'))


@pytest.mark.parametrize('damage', ['missing', 'changed', 'the same file'])
def test_without_the_newer_file_the_old_one_stays(scripts: Scripts, twice: Database, damage: str) -> None:
    old, new = (Path(entry['file']) for entry in entries(twice, 'signal_processing'))
    if damage == 'changed':
        new.write_bytes(new.read_bytes()[:-1] + b'?')
    else:
        new.unlink()
    if damage == 'the same file':
        os.link(old, new)
    done = delete(scripts)
    assert done.returncode == 1 and damage.replace('changed', 'has the md5') in done.stderr
    assert old.exists() and 'deleted' not in entries(twice, 'signal_processing')[0]


def test_a_file_that_the_catalogue_does_not_know_stays(scripts: Scripts, twice: Database) -> None:
    old = Path(entries(twice, 'signal_processing')[0]['file'])
    old.write_bytes(b'precious')
    done = delete(scripts)
    assert done.returncode == 1 and 'the catalogue does not know it' in done.stderr
    assert old.read_bytes() == b'precious'
    # Whoever does know it deletes it by hand, and then the document is told.
    old.unlink()
    assert scripts.call('check_files.py').returncode == 1
    assert delete(scripts).returncode == 0
    assert scripts.call('check_files.py').returncode == 0


@pytest.mark.parametrize('how', ['its path', 'another path', 'a URL'])
def test_what_another_document_names_stays(scripts: Scripts, twice: Database, tmp_path: Path, how: str) -> None:
    old = Path(entries(twice, 'signal_processing')[0]['file'])
    link = tmp_path / 'by_another_name'
    link.symlink_to(old.parent)
    location = {'its path': str(old), 'another path': f'{link}/{old.name}', 'a URL': f'sftp://far/x/{old.name}'}[how]
    twice.put({'_id': 'other', 'status': 'good', 'process': [{'name': 's', 'file': location}]})
    done = delete(scripts)
    assert 'kept: 1, a document names it' in done.stdout and old.exists()


def test_a_document_that_changes_meanwhile_keeps_its_file(
    scripts: Scripts, twice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = superseded.md5_from_disk

    def changed_meanwhile(stream: Any) -> str:
        twice.put({**twice.get(ID), 'operator': 'note'})
        return real(stream)

    monkeypatch.setattr(superseded, 'md5_from_disk', changed_meanwhile)
    done = delete(scripts)
    assert done.returncode == 1 and 'changed or deleted meanwhile' in done.stderr
    assert are_whole(entries(twice, 'signal_processing'))


def test_what_cannot_be_unlinked_is_not_said_to_be_deleted(
    scripts: Scripts, twice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(os, 'unlink', refused)
    done = delete(scripts)
    assert done.returncode == 1 and 'it cannot be deleted: Permission denied' in done.stderr
    assert 'deleted' not in entries(twice, 'signal_processing')[0]


def test_a_disk_that_is_not_mounted_has_lost_nothing(scripts: Scripts, twice: Database) -> None:
    folder = Path(entries(twice, 'signal_processing')[0]['file']).parent
    away = folder.rename(folder.with_name('away'))
    folder.mkdir()
    done = delete(scripts)
    assert done.returncode == 1 and 'is its disk mounted?' in done.stderr
    assert 'deleted' not in entries(twice, 'signal_processing')[0] and len(list(away.iterdir())) == 3


def test_files_in_other_folders_are_left_alone(scripts: Scripts, twice: Database, tmp_path: Path) -> None:
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    shutil.copy(entries(twice, 'signal_processing')[0]['file'], elsewhere)
    assert 'there is nothing to delete' in delete(scripts, str(elsewhere)).stdout
    assert are_whole(entries(twice, 'signal_processing'))


@pytest.mark.parametrize('option', [('--after', 'x'), ('--keep-free', '20%'), ('--watch', '5')])
def test_options_that_do_not_go_with_it(scripts: Scripts, twice: Database, option: tuple[str, ...]) -> None:
    done = delete(scripts, *option)
    assert done.returncode == 2 and '--superseded goes with' in done.stderr
