"""show_status.py as somebody on shift runs it."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import local_couchdb
from edw import __version__, config
from edw.database import design
from edw.database.client import Database
from edw.telling import presence
from edw.telling.presence import Presence
from edw.transfer import make_new_folder
from tests.conftest import Server
from tests.loops import once
from tests.scripts import LIMIT, ROOT, Scripts, wait_until
from upload_design import DESIGN_FILE

SCRIPT = 'show_status.py'
STEP = ROOT / 'tests' / 'acceptance' / 'waiting_step.py'
SERVER = '(embedded server, data in '  # begins a line of one long path


def as_json(scripts: Scripts, *arguments: str) -> dict[str, Any]:
    done = scripts.call(SCRIPT, '--json', *arguments)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    return json.loads(done.stdout)


def new_document(database: Database, doc_id: str, **fields: Any) -> None:
    database.put({'_id': doc_id, 'status': 'good', 'process': [], 'datecreated': time.time(), **fields})


def test_a_listener_at_work_then_paused(scripts: Scripts, database: Database, journal: Path) -> None:
    new_document(database, 'x')
    listener = scripts.listen(STEP)
    wait_until(lambda: 'begins x' in journal.read_text())
    wait_until(lambda: as_json(scripts)['listeners'][0]['heartbeat'] is not None, every=0.5)
    found = as_json(scripts)
    (holder,) = found['listeners']
    assert holder['name'].startswith(f'{socket.gethostname()}:{listener.pid}:') and holder['claims'] == 1
    assert abs(holder['heartbeat'] - time.time()) < LIMIT
    (step,) = found['steps']
    assert (step['name'], step['after'], step['waiting'], step['running']) == ('waiting', 0, 0, 1)
    listener.send(signal.SIGSTOP)
    wait_until(lambda: 'without a heartbeat' in scripts.call(SCRIPT).stdout, every=0.5)
    done = scripts.call(SCRIPT, '--check', '--max-wait', '1')
    assert done.returncode == 1 and '1 document of waiting held for' in done.stdout
    listener.send(signal.SIGCONT)
    journal.with_suffix('.go').touch()
    wait_until(lambda: database.get('x')['process'])
    assert listener.stop() == 0
    found = as_json(scripts)
    assert (found['finished'], found['listeners'], found['steps'][0]['done_last_hour']) == (1, [], 1)


def test_failures_of_two_kinds(scripts: Scripts, database: Database) -> None:
    make_new_folder(Path(database.settings.sps))
    new_document(database, 'nameless')
    new_document(database, 'gone', original_file='/nowhere/gone.root', md5sum='0' * 32)
    assert scripts.call('listen_newfiles.py', '--once').returncode == 1
    kinds = {(kind['step'], kind['kind'], kind['count'], kind['doc_id']) for kind in as_json(scripts)['failures']}
    assert kinds == {
        ('move_to_sps', 'field missing', 1, 'nameless'),
        ('move_to_sps', 'file missing', 1, 'gone'),
    }
    shown = scripts.call(SCRIPT).stdout
    assert '/nowhere/gone.root cannot be moved' in shown and '2 failed' in shown
    history = scripts.call(SCRIPT, '--doc', 'gone').stdout
    assert 'failed move to sps' in history and history.count('attempt ') == 3
    events = as_json(scripts, '--doc', 'gone')['events']
    assert [event['what'] for event in events] == ['made', 'failed', 'failed', 'failed']


def test_a_failure_says_where_it_was_raised_and_by_what(scripts: Scripts, database: Database) -> None:
    def broken(doc: dict[str, Any]) -> dict[str, Any]:
        return {'number': int('no number')}

    new_document(database, 'x')
    assert once(broken, database.settings, version='3') == 1
    history = scripts.call(SCRIPT, '--doc', 'x').stdout
    assert (
        "in broken return {'number': int('no number')}" in history
        and f'edw {__version__}' in history
        and 'step 3, python' in history
    )
    (_, failed, *_) = as_json(scripts, '--doc', 'x')['events']
    assert failed['traceback'].endswith("ValueError: invalid literal for int() with base 10: 'no number'")


def test_check(scripts: Scripts, database: Database) -> None:
    done = scripts.call(SCRIPT, '--check', '--max-wait', '60')
    assert (done.returncode, done.stdout) == (0, 'ok: 0 waiting, 0 running, 0 finished\n')
    new_document(database, 'x', datecreated=time.time() - 7000)
    nobody = 'nobody listens for (first step): start its listener. Waiting: 1 document, the oldest for 1.9 h\n'
    for arguments in ((), ('--max-wait', '3600')):
        late = scripts.call(SCRIPT, '--check', *arguments)
        assert (late.returncode, late.stdout) == (1, nobody)
    assert scripts.call(SCRIPT, '--check', '--max-wait', '9000').returncode == 0
    here = Presence('host:1:a', 'first', since=time.time())
    presence.Teller(database, here).tell()
    assert scripts.call(SCRIPT, '--check').returncode == 0  # it may be at others: only --max-wait judges that
    late = scripts.call(SCRIPT, '--check', '--max-wait', '3600')
    assert (late.returncode, late.stdout) == (1, '1 document waiting for first, the oldest for 1.9 h\n')
    new_document(database, 'bad', status='bad\nrun')
    failed = scripts.call(SCRIPT, '--check')
    assert failed.returncode == 1 and failed.stdout.startswith('1 document failed, bad: ')
    assert len(failed.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    'arguments',
    [
        ('--max-wait', '5'),
        ('--check', '--max-wait', '0'),
        ('--check', '--json'),
        ('--notify', 'cat'),
        ('--check', '--notify', ' '),
        ('--check', '--watch'),
        ('--conflicts', '--watch'),
        ('--watch', '--doc', 'x'),
        ('x',),
    ],
)
def test_bad_arguments(scripts: Scripts, arguments: tuple[str, ...]) -> None:
    assert scripts.call(SCRIPT, *arguments).returncode == 2


@pytest.mark.parametrize('doc_id', ['nix', '', '_all_docs', '_local/x', 'a/b?c'])
def test_a_document_that_is_not_there(scripts: Scripts, database: Database, doc_id: str) -> None:
    done = scripts.call(SCRIPT, '--doc', doc_id)
    assert done.returncode == 1 and f'there is no document {doc_id!r}' in done.stderr and done.stdout == ''
    assert len(done.stderr.splitlines()) == 1


def test_documents_in_conflict(scripts: Scripts, database: Database, server: Server) -> None:
    assert scripts.call(SCRIPT, '--conflicts').stdout == 'no document is in conflict\n'
    versions = [{'_id': 'x', '_rev': f'1-{host}', 'process': [{'name': 's', 'hostname': host}]} for host in 'ab']
    path = f'{database.settings.dbname}/_bulk_docs'
    assert server.request('POST', path, json={'docs': versions, 'new_edits': False}).ok
    done = scripts.call(SCRIPT, '--conflicts')
    assert done.returncode == 0 and done.stderr == ''
    assert f"-X DELETE '{database.url}/x?rev=1-a'" in done.stdout and '1-b (the one that is seen)' in done.stdout
    assert server.password not in done.stdout
    (found,) = as_json(scripts, '--conflicts')
    assert (found['doc_id'], found['revisions']) == ('x', ['1-b', '1-a'])


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_watch_shows_a_new_document_and_ends_in_order(scripts: Scripts, database: Database, number: int) -> None:
    watching = scripts.start(SCRIPT, '--watch')
    watching.wait_for('0 documents')
    new_document(database, 'x')
    watching.wait_for('1 waiting')
    assert watching.stop(number) == 0
    assert 'Traceback' not in watching.output and 'interrupted' not in watching.output


def test_watch_prints_a_line_of_json_for_each_look(scripts: Scripts, database: Database) -> None:
    watching = scripts.start(SCRIPT, '--watch', '--json')
    watching.wait_for('"documents": 0')
    new_document(database, 'x')
    watching.wait_for('"documents": 1')
    assert watching.stop(signal.SIGINT) == 0
    looks = [json.loads(line)['documents'] for line in watching.output.splitlines()]
    assert looks[0] == 0 and looks[-1] == 1


def test_watch_waits_for_a_server_that_is_away(scripts: Scripts, server: Server, tmp_path: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    scripts.config.write_text(scripts.config.read_text().replace(server.url, f'http://127.0.0.1:{port}'))
    settings = config.load(scripts.config)
    at_its_port = (tmp_path / 'couchdb', settings.username, settings.password, port)
    with local_couchdb.running(*at_its_port):
        database = Database(settings)
        database.create()
        design.upload(database, design.read(DESIGN_FILE))
        watching = scripts.start(SCRIPT, '--watch')
        watching.wait_for('0 documents')
    watching.wait_for('trying again until it answers')
    with local_couchdb.running(*at_its_port):
        new_document(database, 'x')
        watching.wait_for('1 waiting')
        assert watching.stop(signal.SIGINT) == 0
    assert watching.output.count('trying again until it answers') == 1 and 'Traceback' not in watching.output


def test_nothing_of_a_document_is_obeyed_by_the_terminal(scripts: Scripts, database: Database, server: Server) -> None:
    nasty = f'\x1b[2J[bold]\r\n\u202e{server.password} http://me:hidden@host/'
    step = {'name': nasty, 'hostname': nasty, 'file': nasty, 'log': nasty, 'finished': 1e300}
    made_by = {'edw': nasty, 'commit': nasty, 'step': nasty, 'packages': {nasty: nasty}}
    step |= {'software': made_by, nasty: nasty}
    failure = {'process': nasty, 'error': f'E: {nasty}', 'time': -1e300, 'software': made_by}
    failure['traceback'] = f'  File "{nasty}\n    {nasty}\nE: {nasty}'
    new_document(database, 'x[/bold]', process=[step], status=nasty, failures=[failure])
    new_document(database, 'y', process=[step], claim={'process': nasty, 'worker': nasty, 'since': 1})
    new_document(database, 'z', process=[step, {}])
    for arguments in (
        (),
        ('--doc', 'x[/bold]'),
        ('--check',),
        ('--json',),
        ('--json', '--doc', 'x[/bold]'),
        ('--doc', 'y'),
    ):
        done = scripts.call(SCRIPT, *arguments)
        assert done.stderr == '' and '[bold]' in done.stdout, arguments
        assert all(line.isprintable() for line in done.stdout.splitlines()), arguments
        assert not done.stdout.isspace() and '\u202e' not in done.stdout
        assert server.password not in done.stdout and 'hidden' not in done.stdout, arguments


Then = tuple[str, Callable[[subprocess.Popen], object]]


def on_a_terminal(scripts: Scripts, *arguments: str, when: tuple[Then, ...] = ()) -> str:
    """What the script writes to a terminal until it ends; `when` is (text, what to do when it is written), in order."""
    command = [sys.executable, str(ROOT / SCRIPT), '--config', str(scripts.config), *arguments]
    ours, its = pty.openpty()
    environment = {**os.environ, 'TERM': 'xterm', 'COLUMNS': '80'}
    written = ''
    left = list(when)
    with subprocess.Popen(command, stdout=its, stderr=its, stdin=its, env=environment) as process:
        os.close(its)
        try:
            while select.select([ours], [], [], LIMIT)[0] and (part := os.read(ours, 65536)):
                written += part.decode(errors='replace')
                if left and left[0][0] in written:
                    left.pop(0)[1](process)
        except OSError as error:
            if error.errno != errno.EIO:  # as Linux says that the other end is closed
                raise
        finally:
            os.close(ours)
            if left:
                process.kill()
        assert process.wait(LIMIT) == 0 and not left, written
    return written


def test_what_is_long_stands_in_one_piece_on_a_narrow_terminal(scripts: Scripts, database: Database) -> None:
    path = f'/srv/edw/{"long/" * 20}x-y.root'
    failure = {'process': 'copy', 'error': f'StepError: {path} is gone', 'kind': 'file missing', 'time': time.time()}
    new_document(database, 'x', run='r', status='failed copy', failures=[failure], original_file=path)
    for arguments in ((), ('--failed',), ('--run', 'r'), ('--doc', 'x')):
        shown = re.sub(r'\x1b\[\d+m', '', on_a_terminal(scripts, *arguments))
        assert path in shown, arguments
        assert all(len(line) <= 80 for line in shown.splitlines() if path not in line and SERVER not in line), shown


def test_no_word_of_a_table_is_broken_on_a_narrow_terminal(scripts: Scripts, database: Database) -> None:
    names = ['vm:67550:26962d2f', 'node017.cluster.example.org:1:0c6a4c4b']
    for name in names:
        presence.Teller(database, Presence(name, 'signal_processing', 'move_to_sps', since=time.time() - 5000)).tell()
    entry = {'name': 'move_to_sps', 'finished': time.time() - 5000}
    claim = {'process': 'signal_processing', 'worker': names[0], 'since': time.time() - 700}
    new_document(database, 'x', run='ma22a000', process=[entry], claim=claim)
    new_document(database, 'y', run='ma22a000', status='signal processing failure', process=[entry])
    new_document(database, 'z', run='ma22a000', status='held back by somebody', process=[entry])
    shown = re.sub(r'\x1b\[[\d;]+m', '', on_a_terminal(scripts))
    words = [*names, 'signal_processing', 'listeners', 'last heartbeat', 'signal processing failure', 'there for']
    assert all(word in shown for word in words) and '(no room for: ' in shown, shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines() if SERVER not in line), shown
    steps = [line.split() for line in shown.splitlines() if line.startswith('signal_processing')]
    heading = next(line for line in shown.splitlines() if line.startswith('step ')).split()
    assert steps[0][heading.index('listeners')] == '2', shown


def test_lists_of_documents(scripts: Scripts, database: Database) -> None:
    new_document(database, 'x', run='r', status='failed copy', failures=[{'process': 'copy', 'error': 'KeyError: 1'}])
    for arguments in (('--failed',), ('--failed', 'copy'), ('--failed', '--run', 'r'), ('--run', 'r')):
        done = scripts.call(SCRIPT, *arguments)
        assert done.returncode == 0 and done.stdout.splitlines()[1].startswith('x  '), done.stderr
        assert 'failed in copy  KeyError: 1' in done.stdout
    assert 'no document is like that' in scripts.call(SCRIPT, '--waiting', 'copy').stderr
    refused = scripts.call(SCRIPT, '--failed', 'cpoy')
    assert refused.returncode == 1 and 'Did you mean copy?' in refused.stderr
    for arguments in (('--failed', '--json'), ('--run', 'r', '--check'), ('--failed', '--waiting', 'copy')):
        assert scripts.call(SCRIPT, *arguments).returncode == 2, arguments


def test_watch_on_a_terminal(scripts: Scripts, database: Database) -> None:
    add = '0 documents', lambda _: new_document(database, 'x')
    end = '1 waiting', lambda process: process.send_signal(signal.SIGINT)
    shown = on_a_terminal(scripts, '--watch', when=(add, end))
    assert shown.index('0 documents') < shown.index('1 waiting') and 'Traceback' not in shown


def test_colours_only_on_a_terminal(scripts: Scripts, database: Database) -> None:
    new_document(database, 'x', datecreated=1)
    shown = on_a_terminal(scripts)
    assert '\x1b[' in shown and 'nobody listens for (first step)' in shown
    assert '\x1b' not in scripts.call(SCRIPT).stdout
    assert 'made' in on_a_terminal(scripts, '--doc', 'x')


def test_a_reader_that_has_seen_enough(scripts: Scripts, database: Database) -> None:
    command = [sys.executable, str(ROOT / SCRIPT), '--config', str(scripts.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == '' and process.wait(LIMIT) == 0


def test_a_design_document_that_is_too_old(scripts: Scripts, empty_database: Database) -> None:
    doc = design.read(DESIGN_FILE)
    del doc['views']['entries']
    empty_database.put(doc)
    done = scripts.call(SCRIPT)
    assert done.returncode == 1 and 'has no entries in its views' in done.stderr and 'upload_design.py' in done.stderr
