"""Standard streams that are closed, full, or of an encoding that has few characters: work is done, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edw.database.client import Database
from tests.scripts import LIMIT, ROOT, Scripts

ASCII = {'LANG': 'C', 'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
ODD_TEXT = 'Detektor für ☃ \ud800 \u202e \x1b[2J'  # also half a surrogate pair, which is no character
COMMANDS = (
    ('show_status.py',),
    ('show_status.py', '--doc', 'x'),
    ('reprocess.py', '--failed', '--dry-run'),
    ('upload_design.py', '--help'),
    ('listen_newfiles.py', '--once'),
)


@pytest.fixture
def odd_document(database: Database) -> Database:
    failure = {'process': f'step {ODD_TEXT}', 'error': ODD_TEXT, 'time': 1e300, 'attempt': 3}
    doc = {'_id': 'x', 'run': 'für', 'status': 'größer ☃', 'process': [{'name': '☃', 'log': 'é'}]}
    try:
        database.put({**doc, 'failures': [failure]})
    except Exception:  # as CouchDB does
        database.put({**doc, 'failures': [{**failure, 'process': '☃', 'error': 'Δ'}]})
    return database


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def run(scripts: Scripts, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A script that buffers nothing, so that the very first line meets the stream."""
    script, *arguments = command
    line = [sys.executable, '-u', ROOT / script, '--config', scripts.config, *arguments]
    given = {'stdin': subprocess.DEVNULL, 'stderr': subprocess.PIPE, **options}
    return subprocess.run(line, text=True, timeout=LIMIT, check=False, cwd=scripts.config.parent, **given)


@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_streams_that_are_full_or_closed_end_no_script(
    scripts: Scripts, odd_document: Database, command: tuple[str, ...]
) -> None:
    as_usual = scripts.call(*command)
    with open('/dev/full', 'w') as full:
        done = run(scripts, *command, stdout=full, env={**os.environ, **ASCII})
    assert 'Traceback' not in done.stderr
    if as_usual.stdout and as_usual.returncode == 0:
        assert done.returncode == 1
        assert done.stderr == 'error: standard output cannot be written to: No space left on device\n'
    else:
        assert done.returncode == as_usual.returncode
    closed = run(scripts, *command, stdin=None, stderr=None, preexec_fn=lambda: os.closerange(0, 3))
    assert closed.returncode == as_usual.returncode


@pytest.mark.parametrize('command', COMMANDS[:3], ids=' '.join)
def test_text_that_the_terminal_does_not_have(
    scripts: Scripts, odd_document: Database, command: tuple[str, ...]
) -> None:
    done = run(scripts, *command, stdout=subprocess.PIPE, env={**os.environ, **ASCII})
    assert done.returncode == 0 and done.stderr == '' and done.stdout.isascii()


def test_nobody_reads_what_a_script_says_and_its_work_is_done(
    scripts: Scripts, database: Database, broken_pipe: int
) -> None:
    """As of `make_metadata.py 2 | head -1`, where head may be gone before the first line or after the last."""
    seeded = run(scripts, 'make_metadata.py', '2', '--events', '1', stdout=broken_pipe)
    assert (seeded.returncode, seeded.stderr) == (0, '')
    docs = database.existing(['ma22a000_000', 'ma22a000_001'])
    assert [doc['status'] for doc in docs.values()] == ['good', 'good']
    database.bulk_docs([{**doc, 'status': 'bad'} for doc in docs.values()])
    requeued = run(scripts, 'reprocess.py', '--failed', '--yes', stdout=broken_pipe)
    assert (requeued.returncode, requeued.stderr) == (0, '')
    assert {doc['status'] for doc in database.existing(docs).values()} == {'good'}


def test_a_full_disk_under_the_output_leaves_nothing_half_done(scripts: Scripts, database: Database) -> None:
    with open('/dev/full', 'w') as full:
        seeded = run(scripts, 'make_metadata.py', '1', '--events', '1', stdout=full)
    assert seeded.returncode == 1 and seeded.stderr.startswith('error: standard output cannot be written to: ')
    assert database.get('ma22a000_000')['status'] == 'good' and (scripts.config.parent / 'raw').is_dir()


def test_a_watch_ends_with_its_reader(scripts: Scripts, database: Database, broken_pipe: int) -> None:
    ended = run(scripts, 'show_status.py', '--watch', stdout=broken_pipe)
    assert (ended.returncode, ended.stderr) == (0, '')
    with open('/dev/full', 'w') as full:
        ended = run(scripts, 'show_status.py', '--watch', '--json', stdout=full)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1


def test_what_a_check_found_is_its_exit_code_whoever_reads(
    scripts: Scripts, odd_document: Database, broken_pipe: int
) -> None:
    assert run(scripts, 'show_status.py', '--check', stdout=broken_pipe).returncode == 1


def test_files_do_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """What a script or its child process prints would else go into the first file that is opened."""
    code = (
        'import subprocess, sys; from edw import cli\n'
        'def work():\n'
        '    with open(sys.argv[1], "w") as file:\n'
        '        print("said"); subprocess.run(["echo", "said"]); file.write("kept")\n'
        'sys.exit(cli.ending(work))\n'
    )
    file = tmp_path / 'file'
    command = [sys.executable, '-c', code, file]
    done = subprocess.run(command, preexec_fn=lambda: os.closerange(0, 3), cwd=ROOT, timeout=LIMIT, check=False)
    assert done.returncode == 0 and file.read_text() == 'kept'
