"""make_metadata.py --from: files that are still written to, or have changed since they were registered."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edw import files
from edw.database.client import Database
from edw.transfer import make_new_folder
from tests.scripts import Process, Scripts, wait_until

DAY = 86_400.0  # seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / 'incoming'
    folder.mkdir()
    return folder


def ids(database: Database) -> set[str]:
    return {row['id'] for row in database.all_docs() if not row['id'].startswith('_')}


def dated(file: Path, seconds: float) -> None:
    os.utime(file, (time.time() + seconds,) * 2)


@contextmanager
def slow_writer(file: Path, clock: float) -> Iterator[Callable[[], None]]:
    """A writer of eight kilobytes whose clock is `clock` seconds ahead; ends when it is told to finish."""
    finish = threading.Event()

    def write() -> None:
        with file.open('wb') as stream:
            for _ in range(5):
                stream.write(b'root'.ljust(1024, b'.'))
                stream.flush()
                dated(file, clock)
            while not finish.wait(0.2):
                stream.write(b'.')
                stream.flush()
                dated(file, clock)
            stream.write(b'.' * (8192 - stream.tell()))
        dated(file, clock)

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: file.exists() and file.stat().st_size >= 5 * 1024)
    try:
        yield lambda: (finish.set(), thread.join())
    finally:
        finish.set()
        thread.join()


@pytest.mark.parametrize('clock', [-120.0, DAY, 0.0], ids=['two minutes behind', 'a day ahead', 'right'])
def test_a_file_is_registered_whole_whatever_the_clock_of_its_writer(
    scripts: Scripts, database: Database, folder: Path, clock: float
) -> None:
    file = folder / 'x.root'
    with slow_writer(file, clock) as finish:
        done = scripts.call('make_metadata.py', '--from', str(folder), '--settle', '1')
        assert done.returncode == 0 and 'left 1 for the next call' in done.stdout, done.stdout + done.stderr
        assert ids(database) == set()
        finish()
    done = scripts.call('make_metadata.py', '--from', str(folder), '--settle', '1')
    assert done.returncode == 0 and 'registered 1 file' in done.stdout
    assert database.get('x')['size'] == 8192 and database.get('x')['md5sum'] == files.md5_of(file)


def test_files_of_any_name_come_into_one_run(scripts: Scripts, database: Database, folder: Path) -> None:
    for name in ('a', 'b'):
        (folder / f'{name}.root').write_bytes(b'root' + name.encode())
    given = folder / 'conditions.json'
    given.write_text('{"volts": {"detector_a": [8, -8]}, "source": "133Ba"}')
    done = scripts.call(
        *(
            'make_metadata.py',
            '--from',
            str(folder),
            '--settle',
            '0',
            '--run',
            'calibration',
            '--conditions',
            str(given),
        )
    )
    assert done.returncode == 0 and 'registered 2 files' in done.stdout and done.stderr == ''
    for doc in map(database.get, 'ab'):
        assert doc['run'] == 'calibration'
        assert doc['conditions'] == {'volts': {'detector_a': [8, -8]}, 'source': '133Ba'}
    assert scripts.call('make_metadata.py', '--close', 'calibration').returncode == 0


def test_a_pattern_tells_the_runs_of_folders(scripts: Scripts, database: Database, folder: Path) -> None:
    for run in ('run7', 'run8'):
        (folder / run).mkdir()
        (folder / run / f'{run}-0.root').write_bytes(b'root' + run.encode())
    (folder / 'stray.root').write_bytes(b'root')
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0'
    done = scripts.call(*arguments, '--recursive', '--run-pattern', '{run}/run*')
    assert done.returncode == 1 and 'registered 2 files' in done.stdout
    assert f'{folder}/stray.root: does not fit --run-pattern' in done.stderr
    assert {doc_id: database.get(doc_id)['run'] for doc_id in ids(database)} == {'run7-0': 'run7', 'run8-0': 'run8'}
    # Without a word about runs, a file of another name than acquisition's is a run of its own.
    done = scripts.call(*arguments)
    assert database.get('stray')['run'] == 'stray' and 'passed over 2 folders' in done.stdout


@pytest.mark.parametrize(
    'text', ['', '[1]', '{"a": NaN}', '{"a": 1e999}', '{', '"x"', '{"a": "\\ud800"}', '[' * 100_000]
)
def test_conditions_that_no_document_can_have_are_refused(scripts: Scripts, folder: Path, text: str) -> None:
    given = folder / 'conditions.json'
    given.write_text(text)
    done = scripts.call('make_metadata.py', '--from', str(folder), '--conditions', str(given))
    assert done.returncode == 2 and str(given) in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'arguments',
    [
        ('--run', 'x'),
        ('--conditions', '/dev/null'),
        ('--from', '.', '--run', '_x'),
        ('--from', '.', '--run', 'x', '--run-pattern', '{run}'),
        ('--from', '.', '--run-patter', '{run}'),  # an option is not the beginning of another one
    ],
)
def test_what_does_not_go_together(scripts: Scripts, arguments: tuple[str, ...]) -> None:
    assert scripts.call('make_metadata.py', *arguments).returncode == 2


def test_a_file_that_grew_after_it_was_registered_is_named_and_registered_anew(
    scripts: Scripts, database: Database, folder: Path
) -> None:
    file = folder / 'x.root'
    file.write_bytes(b'root'.ljust(5120, b'.'))
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0'
    assert scripts.call(*arguments).returncode == 0
    database.put({**database.get('x'), 'comments': ['by a person']})
    with file.open('ab') as stream:
        stream.write(b'.' * 3072)
    for _ in range(2):  # it does not come to rest by itself
        done = scripts.call(*arguments)
        assert done.returncode == 1 and '0 had a document already' in done.stdout
        assert '5120 bytes then, 8192 now' in done.stderr and '--update' in done.stderr
    done = scripts.call(*arguments, '--update')
    assert done.returncode == 0 and 'registered 1 anew' in done.stdout, done.stderr
    doc = database.get('x')
    assert doc['size'] == 8192 and doc['md5sum'] == files.md5_of(file) and doc['comments'] == ['by a person']
    assert '1 had a document already' in scripts.call(*arguments, '--update').stdout


def test_a_file_that_was_rewritten_with_the_same_size(scripts: Scripts, database: Database, folder: Path) -> None:
    file = folder / 'x.root'
    file.write_bytes(b'root1')
    dated(file, -DAY)
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0'
    assert scripts.call(*arguments).returncode == 0
    file.write_bytes(b'root2')
    done = scripts.call(*arguments)
    assert done.returncode == 1 and 'is not what document x was made of (other bytes)' in done.stderr
    file.write_bytes(b'root1')  # touched, and no more
    done = scripts.call(*arguments)
    assert done.returncode == 0 and '1 had a document already' in done.stdout
    assert scripts.call(*arguments, '--update').returncode == 0
    doc = database.get('x')
    assert doc['modified'] == file.stat().st_mtime and doc['_rev'].startswith('2-')


def test_a_file_that_changed_when_steps_were_done_goes_through_them_again(
    scripts: Scripts, database: Database, folder: Path
) -> None:
    done = [{'name': 'move_to_sps', 'file': '/sps/x.root'}, {'name': 'signal_processing'}]
    changes: dict[str, dict[str, Any]] = {
        'claimed': {'claim': {'process': 'move_to_sps', 'worker': 'w', 'since': time.time()}},
        'done': {'process': done},
        'failed': {'status': 'failed move to sps', 'failures': [{'process': 'move_to_sps', 'error': 'md5'}]},
        'gone': {'process': done, 'original_deleted': {'time': 1.0}},
        'held': {'process': done, 'status': 'held', 'hold': {'reason': 'why not', 'status': 'good'}},
        'odd': {'process': 'nonsense'},
    }
    for name in changes:
        (folder / f'{name}.root').write_bytes(b'root1')
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0'
    assert scripts.call(*arguments).returncode == 0
    for name, change in changes.items():
        database.put({**database.get(name), **change})
        (folder / f'{name}.root').write_bytes(b'root22')
    before = database.existing(changes)
    told = scripts.call(*arguments)
    assert told.returncode == 1 and database.existing(changes) == before  # not unless it is said
    way_out = f'python make_metadata.py --from {folder} --pattern done.root --update'
    assert (
        f'move_to_sps has begun on that. To register it anew and have all steps done again: {way_out}\n' in told.stderr
    )

    told = scripts.call(*arguments[:3], '--pattern', 'done.root', '--update', '--settle', '0')  # as the message says
    assert told.returncode == 0 and 'registered 1 anew' in told.stdout and 'failed before' not in told.stdout
    assert 'all steps are done again on done\n' in told.stdout
    told = scripts.call(*arguments, '--update')
    assert told.returncode == 1 and 'registered 2 anew' in told.stdout and '3 changed since' in told.stdout
    assert 'requeue: python reprocess.py failed --failed\n' in told.stdout and 'again on held\n' in told.stdout
    assert 'move_to_sps is at that; when it is done: ' in told.stderr
    assert 'whose original was deleted as there are copies of it; rename this one' in told.stderr
    assert 'its process names no step; correct the document by hand' in told.stderr
    now = database.existing(changes)
    assert all(now[name] == before[name] for name in ('claimed', 'gone', 'odd'))
    for name in ('done', 'held'):
        # In one write, so that no listener could have had it with the bytes of before.
        assert now[name]['_rev'].startswith('3-') and now[name]['status'] == before[name]['status']
        assert (now[name]['size'], now[name]['process']) == (6, [])
        (cut,) = now[name]['superseded']
        assert cut['entries'] == done and cut['from'] == 'move_to_sps' and cut['hostname'] == socket.gethostname()
    assert (now['failed']['size'], now['failed']['status']) == (6, 'failed move to sps')
    assert scripts.call('reprocess.py', 'failed', '--failed', '--yes').returncode == 0
    assert database.get('failed')['status'] == 'good'


def test_a_changed_file_is_done_anew_beside_a_listener(scripts: Scripts, database: Database, folder: Path) -> None:
    file = folder / 'x.root'
    file.write_bytes(b'root1')
    make_new_folder(Path(database.settings.sps))
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0', '--update'
    assert scripts.call(*arguments).returncode == 0
    listener = scripts.listen('listen_newfiles.py')
    wait_until(lambda: len(database.get('x')['process']) == 1)
    file.write_bytes(b'root22')
    assert 'all steps are done again on x\n' in scripts.call(*arguments).stdout
    wait_until(lambda: len(database.get('x')['process']) == 1)
    assert listener.stop() == 0
    (entry,) = database.get('x')['process']
    assert entry['pass'] == 2 and entry['md5sum'] == files.md5_of(file) == files.md5_of(entry['file'])
    assert '1 had a document already' in scripts.call(*arguments).stdout


def test_documents_of_before_the_date_was_kept_are_as_good(scripts: Scripts, database: Database, folder: Path) -> None:
    for name in ('plain', 'sized', 'grown'):
        (folder / f'{name}.root').write_bytes(b'root1')
        doc = {'_id': name, 'run': name, 'status': 'good', 'original_file': str(folder / f'{name}.root'), 'process': []}
        size = {'plain': {}, 'sized': {'size': 5}, 'grown': {'size': 4}}[name]
        database.put({**doc, **size, 'md5sum': 'x'})
    done = scripts.call('make_metadata.py', '--from', str(folder), '--settle', '0')
    assert '2 had a document already' in done.stdout and '1 changed since they were registered' in done.stdout


def test_what_is_no_data_file_is_refused_with_its_reason(scripts: Scripts, database: Database, folder: Path) -> None:
    (folder / 'text.root').write_text('only text')
    (folder / 'empty.root').touch()
    (folder / 'two\nlines.root').write_bytes(b'root')
    (folder / 'raw_000').write_text('no ROOT ending, so anything')
    (folder / 'raw_001').touch()
    os.mkfifo(folder / 'fifo.root')
    (folder / 'circle.root').symlink_to('circle.root')
    (folder / 'below').mkdir()
    (folder / '.hidden').touch()
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0', '--pattern', '*.root', '--pattern', 'raw_*'
    done = scripts.call(*arguments)
    assert done.returncode == 1 and ids(database) == {'raw_000'}
    assert f'{folder}/text.root: is no ROOT file' in done.stderr and f'{folder}/empty.root: is empty' in done.stderr
    assert f'{folder}/raw_001: is empty' in done.stderr and 'control characters' in done.stderr
    assert 'warning' not in done.stderr
    assert 'registered 1 file' in done.stdout and '4 refused' in done.stdout
    assert 'passed over 1 device, FIFO or socket, 1 folder, 1 hidden file, 1 link that leads nowhere\n' in done.stdout


def without_the_rights_of_root() -> None:
    """In a child process, before it becomes the script: to root too, modes of files mean something then."""
    drop_from_bounding_set, override, read_search = 24, 1, 2  # of <sys/prctl.h> and <linux/capability.h>
    for capability in (override, read_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def test_a_file_that_cannot_be_read(scripts: Scripts, database: Database, folder: Path) -> None:
    for name in ('x', 'y'):
        (folder / f'{name}.root').write_bytes(b'root')
    (folder / 'y.root').chmod(0)
    (folder / 'closed').mkdir(mode=0)
    arguments = 'make_metadata.py', '--from', str(folder), '--settle', '0', '--recursive'
    done = scripts.run(*arguments, preexec_fn=without_the_rights_of_root)
    assert done.returncode == 1 and ids(database) == {'x'} and '2 could not be registered' in done.stdout
    assert f'{folder}/y.root: cannot be read: Permission denied' in done.stderr
    assert f'{folder}/closed: cannot be looked at: Permission denied' in done.stderr


def test_raw_files_of_the_acquisition_register_as_they_lie(scripts: Scripts, database: Database, folder: Path) -> None:
    for run in ('ma22a000', 'ma22a001'):
        (folder / run).mkdir()
        for number in range(2):
            (folder / run / f'{run}_{number:03d}').write_bytes(b'\0raw')
    (folder / 'ma22a000' / 'ma22a000_log').write_text('finished')
    arguments = ('--recursive', '--pattern', '*_[0-9][0-9][0-9]')
    done = scripts.call('make_metadata.py', '--from', str(folder), *arguments, '--done-mark', '{run}_log')
    assert done.returncode == 0 and not done.stderr
    assert 'registered 2 files' in done.stdout and 'left 2 for the next call, which have no mark' in done.stdout
    assert 'passed over 1 mark\n' in done.stdout
    done = scripts.call('make_metadata.py', '--from', str(folder), *arguments, '--settle', '0')
    assert 'registered 2 files, 2 had a document already' in done.stdout
    assert ids(database) == {'ma22a000_000', 'ma22a000_001', 'ma22a001_000', 'ma22a001_001'}
    doc = database.get('ma22a001_001')
    assert doc['run'] == 'ma22a001' and doc['original_file'] == str(folder / 'ma22a001' / 'ma22a001_001')


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (('--frmo', '/tmp'), 'unrecognized arguments: --frmo'),
        (('--pattern', 'x'), '--pattern goes with'),
        (('--recursive',), '--recursive goes with'),
        (('--update',), '--update goes with'),
        (('--done-mark', '{run}_log'), '--done-mark goes with'),
        (('--from', '.', '--done-mark', 'log'), "'log' holds none of"),
        (('--from', '.', '--pattern', 'run*/*.root'), 'fits no name of a file'),
        (('--from', '.', '--pattern', ''), 'fits no name of a file'),
        (('--from', '.', '--done-mark', '{run}_log', '--settle', '1'), 'give one'),
    ],
)
def test_options_that_do_not_go_together(scripts: Scripts, arguments: tuple[str, ...], says: str) -> None:
    done = scripts.call('make_metadata.py', *arguments)
    assert done.returncode == 2 and says in done.stderr


def test_copies_of_the_first_step_are_no_data_files(scripts: Scripts, database: Database) -> None:
    """Below the folder that both lie in, there are two files of each name."""
    assert scripts.call('make_metadata.py', '--events', '3').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    for doc_id in ids(database):
        database.delete(database.get(doc_id))
    data = scripts.config.parent
    done = scripts.call('make_metadata.py', '--from', str(data), '--recursive', '--settle', '0')
    assert done.returncode == 0 and 'registered 1 file, 0 had' in done.stdout, done.stderr
    assert '1 folder of copies ([data] sps)' in done.stdout
    (sps,) = data.rglob('sps')
    done = scripts.call('make_metadata.py', '--from', str(sps), '--settle', '0')  # of those alone, if somebody asks
    assert done.returncode == 0 and 'registered 0 files, 1 had' in done.stdout
    with watched(scripts, data) as process:
        (sps / 'y.root').write_bytes(b'root')
        (data / 'x.root').write_bytes(b'root')
        process.wait_for('registered x.root')
    assert 'y' not in ids(database)


@contextmanager
def watched(scripts: Scripts, folder: Path) -> Iterator[Process]:
    process = scripts.start('make_metadata.py', '--watch', str(folder), '--recursive', '--settle', '1e5')
    process.wait_for('watching ')
    yield process
    assert process.stop() == 0
