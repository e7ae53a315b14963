"""delete_documents.py takes documents out of the catalogue, and never the last copy of anything."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edw.completing.completer import Completer
from edw.database.client import Database
from edw.database.retry import Retry
from tests.acceptance.test_delete_originals import Archive
from tests.loops import once
from tests.scripts import Scripts

SCRIPT = 'delete_documents.py'


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    made = Archive(database, tmp_path / 'raw', tmp_path / 'sps')
    made.raw.mkdir()
    made.sps.mkdir()
    return made


def ids(database: Database) -> list[str]:
    return [row['id'] for row in database.all_docs() if not row['id'].startswith('_')]


def test_documents_and_runs(scripts: Scripts, archive: Archive) -> None:
    for doc_id, run in (('a', 'r'), ('b', 'r'), ('c', 'other'), ('d', 'other'), ('e', 'third')):
        archive.add(doc_id, run=run)
    for run in ('r', 'other', 'third'):
        archive.database.put({'_id': run, 'type': 'run', 'status': 'closed', 'process': []})
    shown = scripts.call(SCRIPT, 'r', 'c', '--dry-run')
    assert shown.returncode == 0 and '4 documents would be deleted: a, b, c, r' in shown.stdout
    assert len(ids(archive.database)) == 8
    done = scripts.call(SCRIPT, 'r', 'c', '--yes')
    assert done.returncode == 0 and 'deleted 4 documents' in done.stdout and done.stderr == ''
    assert ids(archive.database) == ['d', 'e', 'other', 'third']
    # The last file of a run takes the run's document along.
    assert 'e, third' in scripts.call(SCRIPT, 'e', '--yes').stdout
    assert ids(archive.database) == ['d', 'other']
    assert all(archive.original(doc_id).exists() and archive.copy(doc_id).exists() for doc_id in 'abcde')
    nobody = scripts.call(SCRIPT, 'nosuch', '--yes')
    assert nobody.returncode == 1 and "has no document and no run 'nosuch'" in nobody.stderr
    assert scripts.call(SCRIPT, '_design/process', '--yes').returncode == 1


def test_copies_go_along_and_nothing_else(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    archive.add('b')
    result = archive.sps / 'a.amp.root'
    result.touch()
    entries = [*archive.database.get('a')['process'], {'name': 'analysis', 'file': str(result)}]
    archive.edit('a', process=entries)
    archive.copy('b').unlink()
    done = scripts.call(SCRIPT, 'r', '--with-files', '--yes')
    assert done.returncode == 0 and 'deleted 2 documents, 1 file, 1 kB' in done.stdout, done.stderr
    assert ids(archive.database) == [] and not archive.copy('a').exists() and result.exists()
    assert archive.original('a').exists() and archive.original('b').exists()


def original_gone(archive: Archive) -> None:
    archive.add('b')  # so that its folder is not empty, as one is whose disk is away
    archive.original('a').unlink()


def original_wrong(archive: Archive) -> None:
    archive.original('a').write_bytes(b'b' * 1000)


def original_linked(archive: Archive) -> None:
    archive.original('a').unlink()
    os.link(archive.copy('a'), archive.original('a'))


def original_symlink(archive: Archive) -> None:
    archive.original('a').unlink()
    archive.original('a').symlink_to(archive.copy('a'))


def original_deleted(archive: Archive) -> None:
    archive.edit('a', original_deleted={'time': 1.0})


def original_away(archive: Archive) -> None:
    shutil.rmtree(archive.raw)


def copy_wrong(archive: Archive) -> None:
    archive.copy('a').write_bytes(b'b' * 1000)


def copy_linked(archive: Archive) -> None:
    archive.copy('a').rename(archive.sps / 'elsewhere')
    archive.copy('a').symlink_to(archive.sps / 'elsewhere')


def copy_outside(archive: Archive) -> None:
    outside = archive.raw / 'copy.root'
    archive.copy('a').rename(outside)
    moved = archive.database.get('a')['process'][0]
    archive.edit('a', process=[{**moved, 'file': str(outside)}])


def named_by_another(archive: Archive) -> None:
    archive.database.put({'_id': 'b', 'status': 'good', 'original_file': str(archive.copy('a')), 'process': []})


@pytest.mark.parametrize(
    ('harm', 'reason'),
    [
        (original_gone, 'is missing: a copy may be the last one'),
        (original_wrong, 'a copy may be the last one'),
        (original_linked, 'is the same file as its copy'),
        (original_symlink, 'is the same file as its copy'),
        (original_deleted, 'no original that its copies could be compared with'),
        (original_away, 'is not there'),
        (copy_wrong, 'not that of the document'),
        (copy_linked, 'it is a symbolic link'),
        (copy_outside, 'is not in'),
        (named_by_another, 'another document names its copy'),
    ],
)
def test_what_is_not_sure_stays(
    scripts: Scripts, archive: Archive, harm: Callable[[Archive], None], reason: str
) -> None:
    archive.add('a')
    harm(archive)
    before = {file for folder in (archive.raw, archive.sps) for file in folder.rglob('*')}
    done = scripts.call(SCRIPT, 'a', '--with-files', '--yes')
    assert done.returncode == 1 and 'error: a: left alone: ' in done.stderr and reason in done.stderr, done.stderr
    assert archive.database.get('a') and before == {
        file for folder in (archive.raw, archive.sps) for file in folder.rglob('*')
    }


def test_what_a_listener_is_at_stays_and_so_does_its_run(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    archive.add('b', claim={'process': 'x', 'worker': 'y', 'since': 1.0})
    archive.database.put({'_id': 'r', 'type': 'run', 'status': 'closed', 'process': []})
    done = scripts.call(SCRIPT, 'r', '--yes')
    assert done.returncode == 1 and ids(archive.database) == ['b', 'r']
    assert done.stderr.splitlines() == [
        'error: b: left alone: a listener is at it',
        'error: r: left alone: files of the run are left',
    ]


def test_what_changes_after_it_was_shown_stays(scripts: Scripts, archive: Archive) -> None:
    for doc_id in ('a', 'b', 'c'):
        archive.add(doc_id)
    assert scripts.call(SCRIPT, 'r').returncode == 2  # there is nobody to ask
    for answer, code in (('n', 1), ('y', 1)):
        ours, theirs = os.openpty()
        process = scripts.start(SCRIPT, 'r', '--with-files', stdin=theirs)
        process.wait_for('would be deleted')
        if answer == 'y':
            archive.edit('b', claim={'process': 'x', 'worker': 'y', 'since': 1.0})
            archive.database.delete(archive.database.get('c'))
        os.write(ours, f'{answer}\n'.encode())
        assert process.end() == code, process.output
        os.close(ours)
        os.close(theirs)
    assert 'b: left alone: the document was changed or deleted meanwhile' in process.output
    assert ids(archive.database) == ['b'] and archive.copy('b').exists() and archive.copy('c').exists()


def test_one_in_conflict_stays(scripts: Scripts, archive: Archive) -> None:
    archive.add('a')
    other = {**archive.database.get('a'), '_rev': f'1-{"0" * 32}', 'status': 'another'}
    archive.database._request('POST', '_bulk_docs', body={'docs': [other], 'new_edits': False})
    done = scripts.call(SCRIPT, 'a', '--yes')
    assert done.returncode == 1 and 'a: left alone: the document is in conflict' in done.stderr


def test_a_complete_run_is_complete_anew_without_a_file_that_is_deleted(scripts: Scripts, database: Database) -> None:
    for number in range(3):
        database.put({'_id': f'ma22a000_{number:03}', 'run': 'ma22a000', 'status': 'good', 'process': []})
    database.put({'_id': 'ma22a000', 'type': 'run', 'status': 'closed', 'process': []})
    once(lambda doc: {}, database.settings)
    completer = Completer(database, 'first', Retry(threading.Event().wait))
    assert completer.check_all() == 1
    once(lambda doc: {}, database.settings, name='summary', after='run_complete', failed='no summary')
    since = database.info()['update_seq']
    assert scripts.call(SCRIPT, 'ma22a000_001', '--yes').returncode == 0
    runs, _ = completer.changed(since)
    assert runs == {'ma22a000'} and completer.check(runs) == 1
    run = database.get('ma22a000')
    assert [entry['name'] for entry in run['process']] == ['run_complete'] and run['process'][0]['files'] == 2
    assert [entry['name'] for entry in run['superseded'][0]['entries']] == ['run_complete', 'summary']
