"""delete_originals.py makes room, and never takes the last copy of anything."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from edw import files
from edw.database.client import Database
from edw.keeping import deleting, guarding, leftovers
from edw.keeping.looking import Looker
from edw.storage import space
from edw.storage.places import part_name
from edw.storage.space import Usage
from edw.transfer import make_new_folder
from tests.programs import program
from tests.scripts import ANALYSIS, ROOT, Scripts, wait_until

TERMS = ('--after', 'move_to_sps', '--days', '1')
OLD = time.time() - 5 * 86400


@dataclasses.dataclass
class Archive:
    """Documents that were moved, of files whose name tells their content."""

    database: Database
    raw: Path
    sps: Path

    def add(self, doc_id: str, age: float = 0.0, entries: list[dict[str, Any]] | None = None, **fields: Any) -> None:
        original, copy = self.original(doc_id), self.copy(doc_id)
        for file in (original, copy):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(doc_id.encode() * 1000)
        moved = {'name': 'move_to_sps', 'file': str(copy), 'md5sum': files.md5_of(copy)}
        doc = {
            '_id': doc_id,
            'run': 'r',
            'status': 'good',
            'datecreated': OLD - age,
            'original_file': str(original),
            'size': original.stat().st_size,
            'md5sum': files.md5_of(original),
            'process': [moved] if entries is None else entries,
        }
        self.database.put({**doc, **fields})

    def original(self, doc_id: str) -> Path:
        return self.raw / f'{doc_id}.root'

    def copy(self, doc_id: str) -> Path:
        return self.sps / f'{doc_id}.root'

    def edit(self, doc_id: str, **fields: Any) -> None:
        database = Database(self.database.settings)
        database.put({**database.get(doc_id), **fields})

    def is_marked(self, doc_id: str) -> bool:
        return 'original_deleted' in self.database.get(doc_id)


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    made = Archive(database, tmp_path / 'raw', tmp_path / 'sps')
    made.raw.mkdir()
    return made


def run(scripts: Scripts, *arguments: str) -> subprocess.CompletedProcess[str]:
    return scripts.call('delete_originals.py', *TERMS, '--yes', *arguments)


def assert_kept(scripts: Scripts, archive: Archive, reason: str, doc_id: str = 'a', code: int = 1) -> None:
    done = run(scripts)
    assert done.returncode == code and reason in done.stdout + done.stderr, done.stdout + done.stderr
    assert os.path.lexists(archive.original(doc_id))
    assert not archive.is_marked(doc_id)


def test_originals_are_deleted_and_their_documents_say_so(scripts: Scripts, archive: Archive) -> None:
    for doc_id in ('a', 'b'):
        archive.add(doc_id)
    unknown = archive.raw / 'unknown.root'
    unknown.touch()
    shown = scripts.call('delete_originals.py', *TERMS, '--dry-run')
    assert shown.returncode == 0 and '2 originals would be deleted, 2 kB' in shown.stdout
    assert archive.original('a').exists()
    done = run(scripts)
    assert done.returncode == 0 and 'deleted 2 originals, 2 kB' in done.stdout and done.stderr == ''
    assert sorted(archive.raw.iterdir()) == [unknown]
    note = archive.database.get('a')['original_deleted']
    assert time.time() - note['time'] < 60 and note['hostname'] and note['copies'] == [str(archive.copy('a'))]
    assert scripts.call('check_files.py').returncode == 0  # nobody misses them
    again = run(scripts)
    assert again.returncode == 0 and 'kept: 2, deleted already' in again.stdout


def test_parts_of_copies_that_are_there_are_removed_and_no_others(
    scripts: Scripts, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for doc_id in ('done', 'locked', 'young'):
        archive.add(doc_id)
    archive.add('gone')
    archive.add('waits', entries=[])
    parts = {}
    for doc_id in ('done', 'locked', 'gone', 'waits'):
        parts[doc_id] = archive.sps / part_name(f'{doc_id}.root', archive.database.get(doc_id)['md5sum'])
        parts[doc_id].write_bytes(b'half')
    archive.copy('gone').unlink()
    parts['of a result'] = archive.sps / files.temporary_name()
    parts['of a result'].touch()
    assert 'unfinished' not in scripts.call('delete_originals.py', *TERMS, '--dry-run').stdout  # they are young
    monkeypatch.setattr(leftovers, 'LEFT_OVER', 0.0)
    shown = scripts.call('delete_originals.py', *TERMS, '--dry-run').stdout
    assert '2 unfinished parts would be removed, 8 bytes: their documents have the copy' in shown
    with parts['locked'].open('rb') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(scripts)
    assert done.returncode == 1 and 'removed 1 unfinished part' in done.stdout
    assert 'locked: kept: ' in done.stderr and 'somebody is at it' in done.stderr
    assert not parts.pop('done').exists() and all(path.exists() for path in parts.values())
    archive.edit('locked', process=[])
    shown = scripts.call('delete_originals.py', *TERMS, '--dry-run').stdout
    assert 'unfinished' not in shown and parts['locked'].exists()


def test_it_asks_first(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    assert scripts.call('delete_originals.py', *TERMS).returncode == 2  # there is nobody to ask
    for answer, code in (('n\n', 1), ('y\n', 0)):
        ours, theirs = os.openpty()
        process = scripts.start('delete_originals.py', *TERMS, stdin=theirs)
        process.wait_for('would be deleted')
        os.write(ours, answer.encode())
        assert process.end() == code, process.output
        os.close(ours)
        os.close(theirs)
        assert archive.original('a').exists() is (code == 1)


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'status': 'failed move to sps'}, 'failed, or not good'),
        ({'claim': {'process': 'x', 'worker': 'y', 'since': 1}}, 'a listener is at it'),
        ({'hold': {'who': 'me'}}, 'on hold'),
        ({'datecreated': time.time() - 3600}, 'too young'),
        ({'datecreated': None}, 'nobody says how old it is'),
        ({'md5sum': None}, 'it has no md5'),
        ({'process': []}, 'move_to_sps was not done on it'),
        ({'process': [{'name': 'move_to_sps'}]}, 'fewer copies than 1'),
    ],
)
def test_what_the_document_keeps(scripts: Scripts, archive: Archive, fields: dict[str, Any], reason: str) -> None:
    archive.add('a', **fields)
    archive.database.put({'_id': 'elsewhere', 'status': 'good', 'process': [{'name': 'move_to_sps'}]})
    assert_kept(scripts, archive, f'kept: 1, {reason}', code=0)


def flipped(archive: Archive) -> None:
    content = bytearray(archive.copy('a').read_bytes())
    content[500] ^= 1
    archive.copy('a').write_bytes(content)


def cut_short(archive: Archive) -> None:
    os.truncate(archive.copy('a'), 10)


def gone(archive: Archive) -> None:
    archive.copy('a').rename(archive.sps / 'elsewhere')


def unmounted(archive: Archive) -> None:
    shutil.rmtree(archive.sps)


def hard_link(archive: Archive) -> None:
    archive.copy('a').unlink()
    os.link(archive.original('a'), archive.copy('a'))


def soft_link(archive: Archive) -> None:
    archive.copy('a').unlink()
    archive.copy('a').symlink_to(archive.original('a'))


def folder_link(archive: Archive) -> None:
    shutil.rmtree(archive.sps)
    archive.sps.symlink_to(archive.raw)


def rewritten(archive: Archive) -> None:
    archive.original('a').write_bytes(b'b' * archive.original('a').stat().st_size)


@pytest.mark.parametrize(
    ('harm', 'reason'),
    [
        (flipped, 'has the md5'),
        (cut_short, 'has 10 bytes, not 1000'),
        (gone, 'is missing'),
        (unmounted, 'is not there'),
        (hard_link, 'is the same file by another name'),
        (soft_link, 'is the same file by another name'),
        (folder_link, 'is the same file by another name'),
        (rewritten, 'the catalogue does not know it'),
    ],
)
def test_the_last_good_copy_is_kept(
    scripts: Scripts, archive: Archive, harm: Callable[[Archive], None], reason: str
) -> None:
    archive.add('a')
    harm(archive)
    assert_kept(scripts, archive, reason)


def test_a_copy_that_is_the_original_by_a_bind_mount(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    shutil.rmtree(archive.sps)
    archive.sps.mkdir()
    if subprocess.run(['mount', '--bind', archive.raw, archive.sps], check=False, capture_output=True).returncode:
        pytest.skip('this user may not mount')
    try:
        assert_kept(scripts, archive, 'is the same file by another name')
    finally:
        subprocess.run(['umount', archive.sps], check=True)


def test_no_link_leads_out_of_the_folder(scripts: Scripts, archive: Archive, tmp_path: Path) -> None:
    outside = tmp_path / 'outside'
    outside.mkdir()
    archive.add('a')
    shutil.move(archive.original('a'), outside / 'a.root')
    archive.original('a').symlink_to(outside / 'a.root')
    assert_kept(scripts, archive, guarding.LINK, code=0)
    (archive.raw / 'sub').symlink_to(outside)
    archive.edit('a', original_file=str(archive.raw / 'sub' / 'a.root'))
    assert_kept(scripts, archive, guarding.LINK, code=0)
    archive.edit('a', original_file=f'{archive.raw}/../outside/a.root')
    assert run(scripts).returncode == 0
    archive.edit('a', original_file=str(outside / 'a.root'))
    assert run(scripts).returncode == 0
    assert (outside / 'a.root').exists() and not archive.is_marked('a')
    # The folder itself may be known by a link.
    (tmp_path / 'link').symlink_to(outside)
    assert run(scripts, str(tmp_path / 'link')).returncode == 0
    assert not (outside / 'a.root').exists()


def test_a_link_that_is_put_there_meanwhile_leads_nowhere(
    scripts: Scripts, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the deletion the folder becomes a link to another with the same file in it."""
    archive.raw /= 'sub'
    archive.add('a')
    outside = tmp_path / 'outside'
    shutil.copytree(archive.raw, outside)
    unlink = os.unlink

    def swapped(name: str, **options: Any) -> None:
        archive.raw.rename(tmp_path / 'was')
        archive.raw.symlink_to(outside)
        unlink(name, **options)

    monkeypatch.setattr(os, 'unlink', swapped)
    assert run(scripts).returncode == 0
    assert (outside / 'a.root').exists() and not (tmp_path / 'was' / 'a.root').exists()


EDITS: dict[str, dict[str, Any]] = {
    'somebody comments': {'comments': ['no!']},
    'a listener claims': {'claim': {'process': 'x', 'worker': 'y', 'since': 1}},
    'a requeue cuts': {'process': []},
}


@pytest.mark.parametrize('edit', EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize('at', ['md5', 'bulk_docs'])
def test_a_document_that_changes_meanwhile_keeps_its_original(
    scripts: Scripts, archive: Archive, monkeypatch: pytest.MonkeyPatch, at: str, edit: dict[str, Any]
) -> None:
    archive.add('a')
    owner = Looker if at == 'md5' else Database
    real = getattr(owner, at)

    def edited(self: Any, *arguments: Any) -> Any:
        monkeypatch.setattr(owner, at, real)
        archive.edit('a', **edit)
        return real(self, *arguments)

    monkeypatch.setattr(owner, at, edited)
    assert_kept(scripts, archive, guarding.CHANGED)


@pytest.mark.parametrize('which', ['original', 'copy'])
def test_a_file_that_changes_meanwhile_is_kept(
    scripts: Scripts, archive: Archive, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    archive.add('a')
    real = deleting.md5_from_disk

    def written(stream: Any) -> str:
        found = real(stream)
        with open(getattr(archive, which)('a'), 'ab') as file:
            file.write(b'more')
        return found

    monkeypatch.setattr(deleting, 'md5_from_disk', written)
    assert_kept(scripts, archive, 'was changed meanwhile')


def test_what_cannot_be_unlinked_is_not_said_to_be_deleted(
    scripts: Scripts, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add('a')

    def refused(name: str, **options: Any) -> None:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(os, 'unlink', refused)
    assert_kept(scripts, archive, 'it cannot be deleted: Permission denied')


def lose_answers(patch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Have documents written twice, as by a retry, which meets its own write; `meanwhile` comes in between."""
    real = Database.bulk_docs

    def lost(self: Database, docs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        real(self, docs)
        meanwhile()
        return real(self, docs)

    patch.setattr(Database, 'bulk_docs', lost)


def test_an_answer_that_was_lost_is_recognised(
    scripts: Scripts, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add('a')
    lose_answers(monkeypatch)
    assert run(scripts).returncode == 0
    assert not archive.original('a').exists() and archive.is_marked('a')


def test_an_answer_that_was_lost_until_the_document_was_changed_keeps_its_original(
    scripts: Scripts, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add('a')
    with monkeypatch.context() as patched:
        lose_answers(patched, lambda: archive.edit('a', **EDITS['a listener claims']))
        done = run(scripts)
    assert done.returncode == 1 and guarding.CHANGED in done.stderr and archive.original('a').exists()
    archive.edit('a', claim=None)
    assert run(scripts).returncode == 0 and not archive.original('a').exists()


def test_a_document_in_conflict_keeps_its_original(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    doc = archive.database.get('a')
    other = {**doc, '_rev': f'1-{"0" * 32}', 'status': 'other'}
    path = f'{archive.database.settings.dbname}/_bulk_docs'
    login = (archive.database.settings.username, archive.database.settings.password)
    sent = {'docs': [other], 'new_edits': False}
    assert requests.post(f'{archive.database.settings.server}/{path}', json=sent, auth=login, timeout=30).ok
    assert_kept(scripts, archive, 'in conflict')


def test_two_copies_where_the_settings_say_so(scripts: Scripts, archive: Archive, tmp_path: Path) -> None:
    scripts.config.write_text(scripts.config.read_text().replace('[data]', '[data]\ncopies = 2'))
    archive.add('a')
    assert_kept(scripts, archive, 'fewer copies than 2', code=0)
    tape = tmp_path / 'tape' / 'a.root'
    tape.parent.mkdir()
    os.link(archive.copy('a'), tape)
    doc = archive.database.get('a')
    entry = {'name': 'copy_to_archive', 'file': str(tape), 'md5sum': doc['md5sum']}
    archive.edit('a', process=[*doc['process'], entry])
    assert_kept(scripts, archive, '1 of 2 copies is verified')
    tape.unlink()
    shutil.copy(archive.copy('a'), tape)
    assert run(scripts).returncode == 0
    assert not archive.original('a').exists()
    assert archive.database.get('a')['original_deleted']['copies'] == [str(archive.copy('a')), str(tape)]


def test_the_second_copy_of_the_documentation(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    """The whole chain, with the step of docs/data-files.md as it stands there, but for its folder."""
    scripts.config.write_text(scripts.config.read_text().replace('[data]', '[data]\ncopies = 2'))
    text = (ROOT / 'docs' / 'data-files.md').read_text(encoding='utf-8').split('<!-- archive -->')[1].split('```')[1]
    script = tmp_path / 'listen_archive.py'
    script.write_text(text.removeprefix('python\n').replace('/mnt/archive', str(tmp_path / 'archive')))
    make_new_folder(tmp_path / 'archive' / 'edwexample')
    terms = ('--after', 'signal_processing', '--days', '0', '--yes')
    assert scripts.call('make_metadata.py', '2', '--events', '3').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0
    kept = scripts.call('delete_originals.py', *terms)
    assert kept.returncode == 0 and 'kept: 2, fewer copies than 2' in kept.stdout, kept.stdout
    command = [sys.executable, str(script), '--config', str(scripts.config), '--once']
    done = subprocess.run(command, env={'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert scripts.call('delete_originals.py', *terms).returncode == 0
    assert list((tmp_path / 'raw').iterdir()) == [] and scripts.call('check_files.py', '--md5').returncode == 0
    # What was deleted can be done again, because the copy is there.
    assert scripts.call('reprocess.py', '--run', 'ma22a000', '--from', 'move_to_sps', '--yes').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0


def test_the_copy_of_the_original_scripts_has_the_md5_of_the_document(scripts: Scripts, archive: Archive) -> None:
    archive.add('a', entries=[{'name': 'move_to_sps', 'file': str(archive.copy('a'))}])
    flipped(archive)
    assert_kept(scripts, archive, 'has the md5')
    shutil.copy(archive.original('a'), archive.copy('a'))
    assert run(scripts).returncode == 0 and not archive.original('a').exists()


def test_a_kill_at_any_step_loses_nothing_and_the_next_run_goes_on(scripts: Scripts, archive: Archive) -> None:
    killed, step = '', 0
    command = [sys.executable, str(ROOT / 'tests' / 'acceptance' / 'killed_at.py'), '--config', str(scripts.config)]
    with subprocess.Popen(
        [*command, *TERMS, '--yes'],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while 'after the last' not in killed:
            doc_id = f'doc{step:02d}'
            archive.add(doc_id)
            print(step, file=process.stdin, flush=True)
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith('ended: '):
                    break
            assert said[-1] == f'ended: {-signal.SIGKILL}\n', ''.join(said)
            killed = said[-2]
            is_there, is_marked = archive.original(doc_id).exists(), archive.is_marked(doc_id)
            assert is_there or is_marked, killed
            assert archive.copy(doc_id).read_bytes() == doc_id.encode() * 1000
            checked = scripts.call('check_files.py')
            assert 'is missing' not in checked.stdout, killed
            assert ('is still there' in checked.stdout) is (is_there and is_marked), killed
            assert run(scripts).returncode == 0
            assert not archive.original(doc_id).exists() and archive.is_marked(doc_id), killed
            assert scripts.call('check_files.py').returncode == 0
            step += 1
    assert step >= 9


@pytest.fixture
def disk(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Tells of a disk of 10,000 bytes that holds the originals and something else."""

    def filled(others: int) -> None:
        def usage(folder: str) -> Usage:
            taken = others + sum(file.stat().st_size for file in archive.raw.iterdir())
            return Usage(10_000 - taken, 10_000, 1)

        monkeypatch.setattr(space, 'usage', usage)

    return filled


def test_only_as_much_as_is_needed_oldest_first(
    scripts: Scripts, archive: Archive, disk: Callable[[int], None]
) -> None:
    for age, doc_id in enumerate('abcde'):
        archive.add(doc_id, age=age)
    disk(4000)
    assert 'there is nothing to delete' in run(scripts, '--keep-free', '10%').stdout
    assert 'more than 10 % are free' in run(scripts, '--keep-free', '10%').stdout
    shown = scripts.call('delete_originals.py', *TERMS, '--dry-run', '--keep-free', '25%')
    assert '2 originals would be deleted, of 5 that may be' in shown.stdout
    flipped_copy = archive.copy('e')
    flipped_copy.write_bytes(b'x' * 1000)
    done = run(scripts, '--keep-free', '25%')
    assert done.returncode == 1 and 'e: kept: ' in done.stderr
    assert [file.stem for file in sorted(archive.raw.iterdir())] == ['a', 'b', 'e']
    assert 'that is not enough' in run(scripts, '--keep-free', '90%').stdout


def test_room_on_a_disk_that_is_really_full(scripts: Scripts, archive: Archive, tmp_path: Path) -> None:
    """On a real file system of 64 kB, in a mount namespace of the test's own; each file takes a page of 4 kB on it."""
    for age, doc_id in enumerate('abcdef'):
        archive.add(doc_id, age=age)
    archive.raw.rename(tmp_path / 'saved')
    archive.raw.mkdir()
    mount = (
        f'mount -t tmpfs -o size=64k none {archive.raw} && cp {tmp_path}/saved/* {archive.raw} && '
        f'! cat /dev/zero 2>/dev/null > {archive.raw}/filler && "$@"; code=$?; ls {archive.raw}; exit $code'
    )
    namespace = [program('unshare', package='util-linux'), '--mount', '--map-root-user']
    if subprocess.run([*namespace, 'mount', '-t', 'tmpfs', 'none', archive.raw], check=False).returncode:
        pytest.skip('this machine lets nobody mount a file system of their own')
    script = [sys.executable, ROOT / 'delete_originals.py', '--config', scripts.config, *TERMS, '--yes']
    done = subprocess.run(
        [*namespace, 'sh', '-c', mount, 'sh', *script, '--keep-free', '20%'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'deleted 4 originals' in done.stdout
    assert done.stdout.splitlines()[-3:] == ['a.root', 'b.root', 'filler']


def test_a_watch_goes_on_until_it_is_told_to_end(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    archive.add('bad')
    archive.copy('bad').write_bytes(b'x' * 3000)
    process = scripts.start('delete_originals.py', *TERMS, '--yes', '--watch', '0.1')
    process.wait_for('deleted 1 original')
    archive.add('b')
    process.wait_for('deleted 1 original', 2)
    assert not archive.original('b').exists() and archive.original('bad').exists()
    assert process.output.count('bad: kept') == 1  # it is not read again and again
    shutil.copy(archive.original('bad'), archive.copy('bad'))
    assert scripts.call('check_files.py', '--md5').returncode == 0  # which writes it into the document
    wait_until(lambda: not archive.original('bad').exists())
    archive.raw.rename(archive.raw.with_name('unmounted'))
    process.wait_for('no folder to delete files in')
    archive.raw.with_name('unmounted').rename(archive.raw)
    archive.add('c')
    wait_until(lambda: not archive.original('c').exists())
    assert process.stop() == 0, process.output


def test_wrong_arguments(scripts: Scripts, archive: Archive) -> None:
    for arguments in (
        ('--after', 'x'),
        (*TERMS, '--keep-free', '20'),
        (*TERMS, '--keep-free', '100%'),
        (*TERMS, '--watch'),
        ('--after', 'x', '--days', '-1', '--yes'),
        (*TERMS, '--yes', 'sftp://host/raw'),
    ):
        assert scripts.call('delete_originals.py', *arguments).returncode == 2, arguments
    archive.add('a')
    refused = scripts.call('delete_originals.py', *TERMS, '--yes', str(archive.raw / 'nowhere'))
    assert refused.returncode == 1 and 'nowhere: no folder' in refused.stderr
