"""Documents with anything in any field, numbers beyond all years among it, on every screen."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
import requests

from edw.database import views
from edw.database.client import Database
from tests.integration.test_web import odd_database
from tests.scripts import LIMIT, Scripts

__all__ = ['odd_database']  # a fixture


def no_constant(name: str) -> None:
    pytest.fail(f'{name} is no JSON')


def test_on_the_terminal(scripts: Scripts, odd_database: Database) -> None:
    ids = [row['id'] for row in odd_database.all_docs()]
    commands = [(), ('--json',), ('--check', '--max-wait', '1')]
    commands += [('--doc', doc_id) for doc_id in ids]
    commands += [('--json', '--doc', doc_id) for doc_id in ids if doc_id[1].isdigit()]
    for command in commands:
        done = scripts.call('show_status.py', *command)
        assert done.stderr == '' and done.returncode == ('--check' in command), command
        assert all(line.isprintable() for line in done.stdout.splitlines()), command
        if '--json' in command:
            json.loads(done.stdout, parse_constant=no_constant)


def test_requeued(scripts: Scripts, odd_database: Database) -> None:
    for arguments in (('--failed',), ('--run', 'q', '--from', 's'), ('--range', 'a', 'z', '--from', 's', '--force')):
        for how in ('--dry-run', '--yes'):
            done = scripts.call('reprocess.py', *arguments, how)
            assert done.returncode in (0, 1) and 'Traceback' not in done.stderr


def test_on_the_pages(scripts: Scripts, odd_database: Database) -> None:
    running = scripts.start('dashboard.py', '--port', '0')
    running.wait_for('dashboard at ')
    url = running.output.split('dashboard at ')[1].split()[0]
    ids = [row['id'] for row in odd_database.all_docs() if row['id'][1].isdigit()]
    failed = views.rows(odd_database, views.FAILED, group_level=2)
    kinds = [{name: value for name, value in zip(('step', 'kind'), row['key'], strict=True) if value} for row in failed]
    pages = ['', 'runs', 'run?name=r', 'run?name=q', *(f'document?{urlencode({"id": doc_id})}' for doc_id in ids)]
    pages += [f'failures?{urlencode(kind)}' for kind in kinds if 'kind' in kind]
    pages += [f'spectrum?{urlencode({"id": doc_id})}' for doc_id in ids if doc_id.startswith('e')][:3]
    with requests.Session() as session:
        answers = {page: session.get(url + page, timeout=LIMIT).status_code for page in pages}
    assert set(answers.values()) == {200}, {page: code for page, code in answers.items() if code != 200}
    assert running.stop() == 0
    assert 'Traceback' not in running.output and 'cannot be read' not in running.output
