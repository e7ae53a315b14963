"""show_status.py --check --notify: a command hears of each change once, and of nothing else."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import local_couchdb
from edw import config
from edw.database import design
from edw.database.client import Database
from edw.operating import notifying
from tests.conftest import Server
from tests.programs import program
from tests.scripts import ROOT, Scripts, wait_until
from upload_design import DESIGN_FILE

SCRIPT = 'show_status.py'
ADVICE = (ROOT / 'docs' / 'monitoring.md').read_text(encoding='utf-8')
SECRET = 'https://hooks.slack.com/services/T000/B000/XXXX'
# In place of curl and mail: what they were given, and the URL in the file that -K names.
STAND_IN = f"""#!{sys.executable}
import json, pathlib, sys
arguments = sys.argv[1:]
config = pathlib.Path(arguments[arguments.index('-K') + 1]).read_text() if '-K' in arguments else ''
given = {{'arguments': arguments, 'config': config, 'stdin': sys.stdin.read()}}
pathlib.Path(__file__).with_suffix('.given').write_text(json.dumps(given))
"""


def failed(database: Database, doc_id: str, error: str) -> None:
    failures = [{'process': 'first', 'error': error}]
    database.put({'_id': doc_id, 'status': 'no first', 'failures': failures, 'process': []})


def mended(database: Database, doc_id: str) -> None:
    database.put({**database.get(doc_id), 'status': 'held', 'failures': []})


def check(scripts: Scripts, *arguments: str, code: int) -> tuple[str, str]:
    """What a check says on stdout and stderr."""
    done = scripts.call(SCRIPT, '--check', *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_each_change_is_told_once(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    told = tmp_path / 'told'
    notify = ('--notify', f'cat >> {told}')
    check(scripts, *notify, code=0)
    assert not told.exists()  # that all is well is news only where it was not
    failed(database, 'x', 'StepError: disk')
    lines = [check(scripts, *notify, code=1)[0]]
    assert told.read_text() == lines[0] == '1 document failed, x: StepError: disk\n'
    failed(database, 'y', 'StepError: disk')
    assert check(scripts, *notify, code=1) == ('2 documents failed, y: StepError: disk\n', '')
    failed(database, 'z', 'ValueError: 7')
    lines += [check(scripts, *notify, code=1)[0]]
    check(scripts, *notify, code=1)
    mended(database, 'z')
    check(scripts, *notify, code=1)
    assert told.read_text() == ''.join(lines)
    failed(database, 'z2', 'ValueError: 7')
    lines += [check(scripts, *notify, code=1)[0]]
    for doc_id in ('x', 'y', 'z2'):
        mended(database, doc_id)
    lines += [check(scripts, *notify, code=0)[0]]
    check(scripts, *notify, code=0)
    assert told.read_text() == ''.join(lines) and lines[-1].startswith('ok: ')


def test_a_command_that_fails_is_said_and_tried_again(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    told, gate = tmp_path / 'told', tmp_path / 'gate'
    notify = ('--notify', f'echo heard; test -e {gate} && cat >> {told}')
    failed(database, 'x', 'StepError: disk')
    for _ in range(2):
        out, err = check(scripts, *notify, code=1)
        assert out == '1 document failed, x: StepError: disk\n'
        assert err == 'error: --notify: the command ended with code 1. The change is told again by the next --check.\n'
    gate.touch()
    assert check(scripts, *notify, code=1) == (told.read_text(), '')
    gate.unlink()
    mended(database, 'x')
    assert 'code 1' in check(scripts, *notify, code=0)[1]


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    scripts: Scripts, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, 'PATIENCE', 0.5)
    failed(database, 'x', 'StepError: disk')
    started = tmp_path / 'started'
    _, err = check(scripts, '--notify', f'sleep 600 & echo $! > {started}; wait', code=1)
    assert 'takes longer than 0.5 s' in err
    state = Path(f'/proc/{started.read_text().strip()}/stat')
    wait_until(lambda: not state.exists() or state.read_text().rpartition(')')[2].split()[0] == 'Z')


def test_each_operator_is_told(
    scripts: Scripts, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(database, 'x', 'StepError: disk')
    told = [tmp_path / name for name in ('mail', 'chat', 'mail-of-another')]
    check(scripts, '--notify', f'cat >> {told[0]}', code=1)
    check(scripts, '--notify', f'cat >> {told[1]}', code=1)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'another'))
    check(scripts, '--notify', f'cat >> {told[2]}', code=1)
    assert len({file.read_text() for file in told}) == 1


def test_a_database_that_is_away_is_told_and_that_it_is_back(scripts: Scripts, server: Server, tmp_path: Path) -> None:
    told = tmp_path / 'told'
    notify = ('--notify', f'cat >> {told}')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    scripts.config.write_text(scripts.config.read_text().replace(server.url, f'http://127.0.0.1:{port}'))
    for _ in range(2):
        out, err = check(scripts, *notify, code=1)
        assert out == '' and err.count('cannot be reached') == 1
    assert told.read_text().count('cannot be reached') == 1
    settings = config.load(scripts.config)
    with local_couchdb.running(tmp_path / 'couchdb', settings.username, settings.password, port):
        database = Database(settings)
        database.create()
        design.upload(database, design.read(DESIGN_FILE))
        check(scripts, *notify, code=0)
    assert told.read_text().splitlines()[1:] == ['ok: 0 waiting, 0 running, 0 finished']


def test_where_nothing_can_be_kept_it_is_told_rather_too_often(
    scripts: Scripts, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, no_folder = tmp_path / 'told', tmp_path / 'file'
    no_folder.touch()
    monkeypatch.setenv('XDG_STATE_HOME', str(no_folder))
    failed(database, 'x', 'StepError: disk')
    for _ in range(2):
        assert 'what was told cannot be kept' in check(scripts, '--notify', f'cat >> {told}', code=1)[1]
    assert told.read_text().count('1 document failed') == 2


def test_two_checks_at_the_same_time_tell_once(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    told = tmp_path / 'told'
    failed(database, 'x', 'StepError: disk')
    both = [scripts.start(SCRIPT, '--check', '--notify', f'cat >> {told}; sleep 2') for _ in range(2)]
    assert [process.end() for process in both] == [1, 1]
    assert told.read_text().count('1 document failed') == 1


def advised(teller: str) -> list[str]:
    """The options of the command of docs/monitoring.md that tells by a program, without cron's part."""
    code = [line for line in ADVICE.splitlines() if line.startswith('    ')]
    (line,) = (line for line in code if '--notify' in line and f'{teller} ' in line)
    return shlex.split(line[line.index('python show_status.py') :].removesuffix(' > /dev/null'))[2:]


@pytest.mark.parametrize('teller', ['mail', 'curl'])
def test_what_the_documentation_advises(
    scripts: Scripts, database: Database, teller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / 'bin' / teller
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    monkeypatch.setenv('PATH', f'{stand_in.parent}:{Path(sys.executable).parent}:/usr/bin:/bin')
    monkeypatch.setenv('HOME', str(tmp_path))
    settings = [line.strip() for line in ADVICE[ADVICE.index('    url = ') :].split('\n\n')[0].splitlines()]
    webhook = tmp_path / '.config' / 'edw' / 'webhook'
    webhook.parent.mkdir(parents=True)
    webhook.write_text('\n'.join(settings))
    failed(database, 'x', 'StepError: "é" \\ no')
    done = scripts.call(SCRIPT, *advised(teller))
    assert (done.returncode, done.stderr) == (1, '')
    given = json.loads(stand_in.with_suffix('.given').read_text())
    assert SECRET not in str(given['arguments'])
    if teller == 'mail':
        assert (given['arguments'], given['stdin']) == (['-s', 'EDW', 'shift@example.org'], done.stdout)
    else:
        assert f'url = "{SECRET}"' in given['config'] and given['arguments'][-2:] == ['--data', '@-']
        assert json.loads(given['stdin']) == {'text': done.stdout}


def test_curl_understands_the_file_that_the_documentation_advises(tmp_path: Path) -> None:
    settings = [line.strip() for line in ADVICE[ADVICE.index('    url = ') :].split('\n\n')[0].splitlines()]
    assert settings[2:] == ['fail', 'silent', 'show-error', 'max-time = 30']
    webhook = tmp_path / 'webhook'
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    webhook.write_text('\n'.join(settings).replace(SECRET, f'http://127.0.0.1:{port}/'))
    curl = program('curl', package='curl')
    done = subprocess.run([curl, '-K', str(webhook), '--data', 'x'], capture_output=True, text=True, check=False)
    assert done.returncode == 7 and 'onnect' in done.stderr and 'unknown' not in done.stderr, done.stderr
