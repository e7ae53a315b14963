"""Every script with every option, and values that nobody meant: it ends in order, and says why in a few lines."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import EllipsisType

import pytest

from edw.database.client import Database
from tests.scripts import ROOT, Scripts

SCRIPTS = sorted({path.name for path in ROOT.glob('*.py')} - {'listener.py'})
LISTENERS = ('listen_analysis1.py', 'listen_newfiles.py', 'listen_run_summary.py')
ODD = (
    '',
    ' ',
    '.',
    '..',
    '-',
    '_x',
    '_design/process',
    '_design/',
    '_design/..',
    '_local/x',
    'x' * 10_000,
    'ä' * 5_000,
    'a/b',
    'a/../b',
    '/',
    'a?b#c%2F',
    '%2E%2E',
    '%',
    '\udcff',
    '/\udcff/x.root',
    'a\nb',
    '\x1b[2J',
    '$\\frac$',
    '☃ é',
    'sftp://[',
    'x://y/z.root',
    '*',
    '[::1',
)
ODD_NUMBERS = ('-1', '0', '1e400', 'nan', 'inf', '1e300', '9' * 5_000, '99999999999999999999', '²', '٣', '0x10', '1_0')
TEXT, NUMBER = ODD, ODD_NUMBERS

# What each option is given; `...` stands for the value. Scripts that would serve for ever are given what ends them.
OPTIONS: dict[str, dict[str, tuple[tuple[str | EllipsisType, ...], tuple[str, ...]]]] = {
    'upload_design.py': {},
    'make_metadata.py': {
        'N': ((...,), NUMBER[:3] + NUMBER[6:8]),
        '--events': (('--events', ...), NUMBER),
        '--seed': (('--events', '1', '--seed', ...), NUMBER),
        '--from': (('--from', ...), TEXT),
        '--close': (('--close', ...), TEXT),
        '--settle': (('--from', '.', '--settle', ...), NUMBER),
        '--pattern': (('--from', '/nowhere', '--pattern', ...), TEXT),
        '--condition': (('--from', '/nowhere', '--condition', ...), TEXT),
        '--done-mark': (('--from', '/nowhere', '--done-mark', ...), (*TEXT, '{run}', '{', '{run', '{file}/', '{id}')),
        '--recursive': (('--from', '/nowhere', '--recursive', ...), TEXT),
        '--run': (('--from', '/nowhere', '--run', ...), TEXT),
        '--run-pattern': (('--from', '/nowhere', '--run-pattern', ...), (*TEXT, '{run}', '{run', '{run}/', '/{run}')),
        '--conditions': (('--from', '/nowhere', '--conditions', ...), TEXT),
        '--update': (('--from', '/nowhere', '--update', ...), TEXT),
        # Of a folder that can be watched it makes a watcher: tests/acceptance/test_watch.py
        '--watch': (('--watch', ...), tuple(text for text in TEXT if text not in ('', '.', '..', '/'))),
    },
    **{
        script: {
            '--workers': (('--once', '--workers', ...), NUMBER),
            '--batch': (('--once', '--batch', ...), NUMBER),
            '--timeout': (('--once', '--timeout', ...), NUMBER),
            '--metrics': (('--once', '--metrics', ...), TEXT + NUMBER + tuple(f'{text}:0' for text in TEXT)),
            '--once': (('--once', ...), TEXT),
            '--engine': (('--once', '--engine', ...), TEXT),
            '--farm': (('--once', '--insecure', '--farm', ...), ()),  # waits for it: tests/farm/test_addresses.py
            '--insecure': (('--once', '--insecure', ...), TEXT),
            '--instead-of': (('--once', '--instead-of', ...), TEXT),
            '--order': (('--once', '--order', ...), TEXT),
            '--for': (('--once', '--for', ...), NUMBER),
            '--limit': (('--once', '--limit', ...), NUMBER),
        }
        for script in LISTENERS
    },
    'listen_run_complete.py': {
        '--after': (('--once', '--after', ...), TEXT),
        '--once': (('--once', ...), TEXT),
    },
    'show_status.py': {
        '--doc': (('--doc', ...), TEXT),
        '--json': (('--json', '--doc', ...), TEXT),
        '--check': (('--check', ...), TEXT),
        '--max-wait': (('--check', '--max-wait', ...), NUMBER),
        '--notify': (('--check', '--notify', ...), TEXT),
        '--watch': (('--watch', '--max-wait', ...), NUMBER),
        '--conflicts': (('--conflicts', '--json', '--max-wait', ...), NUMBER),
        '--failed': (('--failed', ...), TEXT),
        '--waiting': (('--waiting', ...), TEXT),
        '--run': (('--run', ...), TEXT),
    },
    'reprocess.py': {
        'ID': (('--yes', '--failed', '--', ...), TEXT),
        '--failed': (('--yes', '--failed', ...), TEXT),
        '--kind': (('--yes', '--failed', '--kind', ...), TEXT),
        '--version-below': (('--yes', '--from', 'x', '--version-below', ...), TEXT),
        '--commit': (('--yes', '--from', 'x', '--commit', ...), TEXT),
        '--before': (('--yes', '--from', 'x', '--before', ...), TEXT + NUMBER),
        '--from': (('--yes', '--run', 'x', '--from', ...), TEXT),
        '--run': (('--yes', '--failed', '--run', ...), TEXT),
        '--range': (('--yes', '--failed', '--range', ..., ...), TEXT),
        '--where-status': (('--yes', '--failed', '--where-status', ...), TEXT),
        '--force': (('--dry-run', '--force', '--from', 'x', '--', ...), TEXT),
        '--yes': (('--yes', ...), TEXT),
        '--dry-run': (('--dry-run', '--from', 'x', '--', ...), TEXT),
    },
    'dashboard.py': {
        '--host': (('--port', '1', '--host', ...), TEXT),
        '--port': (('--host', 'nobody.invalid', '--port', ...), NUMBER),
        '--public-name': (('--host', 'nobody.invalid', '--public-name', ...), TEXT),
    },
    'plot_spectrum.py': {
        'RUN|FILE': ((...,), TEXT),
        '-o': (('x', '-o', ...), TEXT),
    },
    'check_files.py': {
        '--md5': (('--md5', ...), TEXT),
        '--json': (('--json', ...), TEXT),
    },
    'delete_originals.py': {
        '--after': (('--days', '1', '--dry-run', '--after', ...), TEXT),
        '--days': (('--after', 'x', '--dry-run', '--days', ...), NUMBER),
        '--keep-free': (('--after', 'x', '--days', '1', '--dry-run', '--keep-free', ...), TEXT + NUMBER),
        # Without --yes it is refused: it would go on for ever.
        '--watch': (('--after', 'x', '--days', '1', '--watch', ...), NUMBER),
        '--yes': (('--after', 'x', '--days', '1', '--yes', ...), TEXT),
        '--dry-run': (('--after', 'x', '--days', '1', '--dry-run', ...), TEXT),
        '--superseded': (('--days', '1', '--dry-run', '--superseded', ...), TEXT),
    },
    'delete_documents.py': {
        'RUN|ID': (('--yes', '--', ...), TEXT),
        '--with-files': (('--with-files', '--dry-run', '--', ...), TEXT),
        '--yes': (('--yes', ...), TEXT),
        '--dry-run': (('--dry-run', ...), TEXT),
    },
    'annotate.py': {
        'RUN|ID': (('--tag', 'x', '--', ...), TEXT),
        '--hold': (('x', '--hold', ...), TEXT),
        '--release': (('--release', '--', ...), TEXT),
        '--comment': (('x', '--comment', ...), TEXT),
        '--tag': (('x', '--tag', ...), TEXT),
        '--untag': (('x', '--untag', ...), TEXT),
        '--quality': (('x', '--quality', ...), TEXT),
        '--priority': (('x', '--priority', ...), NUMBER),
        '--by': (('x', '--tag', 'x', '--by', ...), TEXT),
    },
    'list_files.py': {
        '--step': (('--step', ...), TEXT),
        '--step-version': (('--step-version', ...), TEXT),
        '--status': (('--status', ...), TEXT),
        '--tag': (('--tag', ...), TEXT),
        '--quality': (('--quality', ...), TEXT),
        '--condition': (('--condition', ...), TEXT),
        '--since': (('--since', ...), TEXT + NUMBER),
        '--until': (('--until', ...), TEXT + NUMBER),
        '--where': (
            ('--where', ...),
            (*TEXT, *(f'{text} < 1' for text in TEXT), *(f'x = {text}' for text in TEXT + NUMBER)),
        ),
        '--paths': (('--paths', '--', ...), TEXT),
        '--csv': (('--csv', '--', ...), TEXT),
        '--json': (('--json', '--', ...), TEXT),
        '--md5': (('--md5', '--', ...), TEXT),
        '-0': (('--paths', '-0', '--', ...), TEXT),
    },
    'demo.py': {},
    'run_chain.py': {'--dir': (('--config', '/nowhere', '--dir', ...), TEXT)},  # else it serves for ever
    'local_couchdb.py': {
        '--port': (('--dir', '/sys/kernel/edw', '--port', ...), NUMBER),
        '--dir': (('--port', '65536', '--dir', ...), TEXT),
        '--use': (('--port', '65536', '--use', '--dir', ...), TEXT),
    },
}


def ends_in_order(done: subprocess.CompletedProcess[str]) -> bool:
    said = done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not re.match(r'usage: | {8,}', line)]
    return done.returncode in (0, 1, 2) and 'Traceback' not in said and len(lines) <= 4


@pytest.fixture
def call(scripts: Scripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Calls a script in a folder of its own; gives what was wrong with its end, None where nothing was."""
    folder = tmp_path / 'here'
    folder.mkdir()
    monkeypatch.chdir(folder)
    # By which local_couchdb.py becomes the server: here it would be the end of the tests.
    monkeypatch.setattr(os, 'execve', lambda *_: pytest.fail('the embedded server was started'))

    def called(script: str, *arguments: str) -> str | None:
        try:
            done = scripts.call(script, *arguments)
        except Exception as error:
            return f'{script} {shown(arguments)}: {type(error).__name__}: {str(error)[:200]}'
        return None if ends_in_order(done) else f'{script} {shown(arguments)}: {done.returncode} {done.stderr[:1000]}'

    return called


def shown(arguments: tuple[str, ...]) -> str:
    return ascii([text if len(text) < 50 else f'{text[:9]}...' for text in arguments])


@pytest.mark.parametrize('script', SCRIPTS)
def test_odd_values_of_options(call: Callable[..., str | None], database: Database, script: str) -> None:
    wrong = [
        call(script, *(value if part is ... else part for part in template))
        for template, values in OPTIONS[script].values()
        for value in values
    ]
    assert not any(wrong), '\n'.join(filter(None, wrong))


@pytest.mark.parametrize('script', SCRIPTS)
def test_no_option_is_left_out(scripts: Scripts, script: str) -> None:
    shown = scripts.call(script, '--help').stdout
    named = set(re.findall(r'^  (--[a-z0-9-]+|-o|-0|RUN\|ID|ID|N|RUN\|FILE)\b', shown, re.MULTILINE))
    assert named - {'--config', '--version'} == set(OPTIONS[script])


@pytest.mark.parametrize('script', sorted({*SCRIPTS} - {'demo.py'}))
def test_odd_settings_files(call: Callable[..., str | None], tmp_path: Path, script: str) -> None:
    """Each is refused, so that no script begins."""
    folder, loop, latin, null = (tmp_path / name for name in ('folder', 'loop', 'latin', 'null'))
    folder.mkdir()
    loop.symlink_to(loop)
    latin.write_bytes('[Cloudant]\nserver = http://é'.encode('latin-1'))
    null.write_bytes(b'[Cloudant]\nserver=http://127.0.0.1:1\ndbname=x\n[data]\nraw=a\0b\nsps=a\0b\n')
    port = tmp_path / 'port'
    port.write_text('[Cloudant]\nserver=http://127.0.0.1:65536\ndbname=x\nusername=x\npassword=x\n')
    needed = {'plot_spectrum.py': ('x',), 'reprocess.py': ('--failed', '--yes'), 'annotate.py': ('x', '--tag', 'x')}
    arguments = needed.get(script, ())
    odd = [*map(str, (folder, loop, latin, null, port, folder / ('ä' * 126))), *ODD]
    wrong = [call(script, '--config', text, *arguments) for text in odd]
    assert not any(wrong), '\n'.join(filter(None, wrong))
