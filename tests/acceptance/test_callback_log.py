"""What a callback prints and logs is in the output of its listener, with the document that it is about."""

from __future__ import annotations

import re

import pytest

from edw.database.client import Database
from tests.loops import seed
from tests.scripts import ROOT, Scripts

STEP = ROOT / 'tests' / 'acceptance' / 'talking_step.py'


@pytest.mark.parametrize('engine', ['threads', 'processes'])
def test_lines_name_their_document(
    scripts: Scripts, database: Database, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    ids = seed(database, 3)
    done = scripts.run(STEP, '--once', '--engine', engine, '--workers', '2')
    assert done.returncode == 0, done.stderr
    for doc_id in ids:
        assert f'printed of {doc_id}\n' in done.stdout
        for said in ('something is odd', 'something is told'):
            assert len(re.findall(rf'^\S+ \S+ {doc_id}: {said}$', done.stderr, re.MULTILINE)) == 1, done.stderr
    assert 'nobody asks' not in done.stderr
    assert re.search(rf'^\S+ \S+ updated {ids[0]}$', done.stderr, re.MULTILINE)  # the listener's own as they were
