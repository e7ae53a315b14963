"""What goes wrong at a user's desk: one or two clear lines, the right exit code, and nothing lost."""

from __future__ import annotations

import importlib
import signal
import socket
from pathlib import Path

import pytest

import edw
import local_couchdb
from edw import config
from edw.database import design
from edw.database.client import Database
from edw.storage.local import MARKER, make_new_folder
from tests.conftest import Server
from tests.scripts import ANALYSIS, ROOT, Scripts, called, wait_until
from upload_design import DESIGN_FILE

PLAIN = ('upload_design.py', 'make_metadata.py', 'show_status.py')
LISTENERS = ('listen_newfiles.py', 'listen_analysis1.py')


def change(scripts: Scripts, old: str, new: str) -> None:
    text = scripts.config.read_text()
    assert old in text
    scripts.config.write_text(text.replace(old, new, 1))


def one_or_two_lines(stderr: str) -> None:
    lines = [line for line in stderr.splitlines() if line]
    assert 1 <= len(lines) <= 2 and 'Traceback' not in stderr, stderr


@pytest.mark.parametrize('script', PLAIN + LISTENERS)
def test_wrong_login(scripts: Scripts, server: Server, script: str) -> None:
    # The user, because CouchDB locks an address out after five wrong passwords of one that exists.
    change(scripts, f'username = {server.username}', 'username = nobody')
    done = scripts.call(script)
    assert done.returncode == 1
    assert "refused user 'nobody'" in done.stderr and server.password not in done.stderr + done.stdout
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize('script', PLAIN + LISTENERS)
@pytest.mark.parametrize(
    ('old', 'new', 'says'),
    [
        ('workers = 1', 'workers = one', '[listener] workers'),
        ('[data]', '', 'an option raw that nobody reads. It belongs into [data]'),
        ('batch = 500', 'bacth = 500', 'Did you mean batch?'),
        ('sps = sps', 'sps =', '[data] sps must not be empty'),
        ('server = ', '# server = ', 'no option server'),
        ('dbname', 'nonsense', 'nonsense'),
    ],
)
def test_broken_settings(scripts: Scripts, script: str, old: str, new: str, says: str) -> None:
    change(scripts, old, new)
    done = scripts.call(script)
    assert done.returncode == 2 and says in done.stderr and str(scripts.config) in done.stderr
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize('script', PLAIN + LISTENERS)
def test_no_settings_file(scripts: Scripts, script: str) -> None:
    """Of each script as a process: that an error ends it as it ends what the other tests call."""
    scripts.config.unlink()
    done = scripts.run(script)
    assert done.returncode == 2 and 'no such settings file' in done.stderr
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize('script', PLAIN)
def test_scripts_end_where_there_is_no_server(scripts: Scripts, server: Server, script: str) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    change(scripts, server.url, f'http://127.0.0.1:{port}')
    done = scripts.call(script)
    assert done.returncode == 1 and 'cannot be reached' in done.stderr
    one_or_two_lines(done.stderr)


def test_a_listener_waits_for_its_server_and_works_when_it_comes(
    scripts: Scripts, server: Server, tmp_path: Path
) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    change(scripts, server.url, f'http://127.0.0.1:{port}')
    settings = config.load(scripts.config)
    server_at_its_port = (tmp_path / 'couchdb', settings.username, settings.password, port)
    with local_couchdb.running(*server_at_its_port):
        database = Database(settings)
        database.create()
        design.upload(database, design.read(DESIGN_FILE))
    listener = scripts.start('listen_newfiles.py')
    listener.wait_for('trying again until it answers')
    with local_couchdb.running(*server_at_its_port):
        listener.wait_for('the server answers again')
        database.put({'_id': 'late', 'status': 'good', 'process': []})
        wait_until(lambda: database.get('late')['status'] == 'failed move to sps')
        assert listener.stop() == 0
    assert listener.output.count('trying again until it answers') == 1


@pytest.mark.parametrize('script', ('make_metadata.py', 'show_status.py', *LISTENERS))
def test_no_database(scripts: Scripts, script: str) -> None:
    done = scripts.call(script)
    assert done.returncode == 1 and 'no such database' in done.stderr and 'upload_design.py' in done.stderr
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize('script', ('show_status.py', *LISTENERS))
def test_no_design_document(scripts: Scripts, empty_database: Database, script: str) -> None:
    done = scripts.call(script)
    assert done.returncode == 1 and 'no design document' in done.stderr and 'upload_design.py' in done.stderr
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize('script', LISTENERS)
@pytest.mark.parametrize('part', ['filters', 'views'])
def test_a_function_is_missing_in_the_design_document(
    scripts: Scripts, empty_database: Database, script: str, part: str
) -> None:
    doc = design.read(DESIGN_FILE)
    empty_database.put({**doc, part: {}})
    done = scripts.call(script)
    assert done.returncode == 1 and f'in its {part}' in done.stderr and 'upload_design.py' in done.stderr
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize(
    'arguments',
    [
        ('0',),
        ('-1',),
        ('two',),
        ('1.5',),
        ('100001',),
        ('1', '--events', '0'),
        ('--seed', '-1'),
        ('--settle', '5'),
        ('--from', '.', '--settle', '-1'),
        ('--from', '.', '--settle', 'nan'),
        ('2', '--from', '.'),
    ],
)
def test_seeding_with_bad_arguments_does_nothing(
    scripts: Scripts, database: Database, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = scripts.call('make_metadata.py', *arguments)
    assert done.returncode == 2
    assert 'error: ' in done.stderr and 'Traceback' not in done.stderr
    assert [row['id'] for row in database.all_docs()] == ['_design/process']
    assert not (tmp_path / 'raw').exists()


def test_seeding_into_a_folder_that_cannot_be(scripts: Scripts, database: Database) -> None:
    change(scripts, 'raw = raw', 'raw = /sys/kernel/edw')
    done = scripts.call('make_metadata.py')
    assert done.returncode == 1 and '/sys/kernel/edw' in done.stderr
    one_or_two_lines(done.stderr)
    assert [row['id'] for row in database.all_docs()] == ['_design/process']


def test_registering_from_a_folder_that_is_not_there(scripts: Scripts, database: Database) -> None:
    done = scripts.call('make_metadata.py', '--from', '/nowhere')
    assert done.returncode == 1 and '/nowhere: no such folder' in done.stderr
    one_or_two_lines(done.stderr)


@pytest.mark.parametrize(
    ('fields', 'says', 'attempts'),
    [
        ({'original_file': '/nowhere/x.root', 'md5sum': '0' * 32}, 'No such file', 3),
        ({'md5sum': '0' * 32}, 'the document has no original_file', 1),
        ({'original_file': 7, 'md5sum': '0' * 32}, 'the document has no original_file', 1),
        ({'original_file': '/etc/hostname'}, 'the document has no md5sum', 1),
        ({'original_file': '/etc/hostname', 'md5sum': '0' * 32}, 'but its document says', 3),
        ({'original_file': '/etc', 'md5sum': '0' * 32}, '/etc is no regular file', 3),
    ],
)
def test_documents_that_cannot_be_moved(
    scripts: Scripts, database: Database, fields: dict[str, object], says: str, attempts: int
) -> None:
    make_new_folder(scripts.config.with_name('sps'))
    database.put({'_id': 'x', 'status': 'good', 'process': [], **fields})
    done = scripts.call('listen_newfiles.py', '--once')
    assert done.returncode == 1 and says in done.stderr and 'Traceback' not in done.stderr
    doc = database.get('x')
    assert doc['status'] == 'failed move to sps' and doc['process'] == [] and 'claim' not in doc
    assert [failure['attempt'] for failure in doc['failures']] == list(range(1, attempts + 1))
    assert says in doc['failures'][0]['error']


def test_target_folder_that_cannot_be_written_to(scripts: Scripts, database: Database) -> None:
    change(scripts, 'sps = sps', 'sps = /sys/kernel/edw')
    assert scripts.call('make_metadata.py', '--events', '5').returncode == 0
    done = scripts.call('listen_newfiles.py', '--once')
    assert done.returncode == 1 and 'the folder /sys/kernel/edw cannot be used: No such file' in done.stderr
    change(scripts, 'sps = /sys/kernel/edw', 'sps = sps')
    make_new_folder(scripts.config.with_name('sps'))
    # Mended, and requeued: nothing was lost.
    database.put({**database.get('ma22a000_000'), 'status': 'good'})
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert database.get('ma22a000_000')['process'][0]['name'] == 'move_to_sps'


@pytest.mark.parametrize(('damage', 'attempts'), [('cut', 1), ('empty', 1), ('text', 1), ('gone', 3)])
def test_root_files_that_cannot_be_analysed(
    scripts: Scripts, database: Database, tmp_path: Path, damage: str, attempts: int
) -> None:
    assert scripts.call('make_metadata.py', '--events', '20').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    file = Path(database.get('ma22a000_000')['process'][0]['file'])
    content = file.read_bytes()
    if damage == 'gone':
        file.unlink()
    else:
        file.write_bytes({'cut': content[: len(content) // 2], 'empty': b'', 'text': b'not ROOT\n' * 100}[damage])
    done = scripts.call(*ANALYSIS)
    assert done.returncode == 1 and file.name in done.stderr and 'Traceback' not in done.stderr
    doc = database.get('ma22a000_000')
    assert doc['status'] == 'signal processing failure' and len(doc['process']) == 1 and 'claim' not in doc
    assert [failure['attempt'] for failure in doc['failures']] == list(range(1, attempts + 1))
    left = [path.name for path in (tmp_path / 'sps').iterdir() if path.name != MARKER]
    assert left == ([] if damage == 'gone' else [file.name])


@pytest.mark.parametrize(
    ('fields', 'says'),
    [
        ({}, 'x (process is missing)'),
        ({'process': 'none'}, 'x (process is not a list)'),
        ({'process': [{'file': '/x.root'}]}, 'x (the last entry of process has no name)'),
    ],
)
def test_documents_without_a_place_in_the_chain(
    scripts: Scripts, database: Database, fields: dict[str, object], says: str
) -> None:
    database.put({'_id': 'x', 'status': 'good', **fields})
    before = database.get('x')
    done = scripts.call('listen_newfiles.py', '--once')
    assert done.returncode == 0 and says in done.stderr
    assert database.get('x') == before


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_idle_listener(scripts: Scripts, database: Database, number: int) -> None:
    listener = scripts.listen('listen_newfiles.py')
    assert listener.stop(number) == 0
    assert 'Traceback' not in listener.output


@pytest.mark.parametrize('script', (*PLAIN, *LISTENERS, 'local_couchdb.py'))
def test_help_fits_the_terminal(scripts: Scripts, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    for columns in (80, 132):
        monkeypatch.setenv('COLUMNS', str(columns))
        done = scripts.call(script, '--help')
        lines = done.stdout.splitlines()
        assert done.returncode == 0 and '--config' in done.stdout and len(lines) > 5
        assert max(map(len, lines)) <= columns, done.stdout


@pytest.mark.parametrize('script', sorted({path.name for path in ROOT.glob('*.py')} - {'listener.py'}))
def test_version(script: str) -> None:
    done = called(importlib.import_module(Path(script).stem).main, '--version')
    assert (done.returncode, done.stdout) == (0, f'edw {edw.__version__}\n')
