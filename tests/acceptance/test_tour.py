"""The tour of docs/analysis.md, each of its commands as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edw import files
from edw.database.client import Database
from edw.keeping.copies import superseded_of
from tests.scripts import ROOT

PAGE = ROOT / 'docs' / 'analysis.md'
ENDS_WITH = re.compile(r'\s+# ends with (\d+)$')
RUNS = ['ma22a000', 'ma22a001', 'ma22a002']
MENDED = 'ma22a001_001'


def blocks(language: str) -> list[str]:
    tour = PAGE.read_text(encoding='utf-8').split('## A tour, by hand\n')[1].split('\n## ')[0]
    return re.findall(rf'^```{language}\n(.*?)^```$', tour, re.DOTALL | re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the scripts, one of which the tour changes."""
    copy = tmp_path / 'project'
    copy.mkdir()
    for package in ('edw', 'detector'):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns('__pycache__'))
    for file in (*ROOT.glob('*.py'), *ROOT.glob('*.json'), ROOT / 'edw.ini'):
        shutil.copy(file, copy)
    return copy


@pytest.fixture
def environment(database: Database, tmp_path: Path) -> dict[str, str]:
    settings = database.settings
    login = {'EDW_USERNAME': settings.username, 'EDW_PASSWORD': settings.password}
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    server = {'EDW_SERVER': settings.server, 'EDW_DBNAME': settings.dbname}
    return {**os.environ, **login, **server, 'PATH': path, 'MPLBACKEND': 'agg'}


def run(command: list[str], project: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def whole(doc: dict[str, Any]) -> bool:
    """Whether each file that was left by a step, now or before, has the md5 that its entry says."""
    entries = [*doc['process'], *(entry for cut in doc.get('superseded', []) for entry in cut['entries'])]
    named = [entry for entry in entries if 'file' in entry]
    return bool(named) and all(files.md5_of(entry['file']) == entry['md5sum'] for entry in named)


def test_the_tour(database: Database, project: Path, environment: dict[str, str]) -> None:
    pytest.importorskip('pandas', reason='the Python package pandas (requirements-dev.txt) is not here')
    said: list[tuple[str, str]] = []
    for line in '\n'.join(blocks('sh')).splitlines():
        if command := ENDS_WITH.sub('', line):
            ends = ENDS_WITH.search(line)
            done = run(['bash', '-o', 'pipefail', '-c', command], project, environment)
            assert done.returncode == int(ends[1] if ends else 0), (command, done.stdout + done.stderr)
            said.append((command, done.stdout))

    def outputs(beginning: str) -> list[str]:
        return [text for command, text in said if command.startswith(beginning)]

    (summary,) = outputs('python show_status.py --doc ma22a001')
    assert '2 files are past signal_processing, 1 failed' in summary and 'left out: 1 that failed' in summary
    some, none = outputs('python reprocess.py --from signal_processing --version-below 2 --dry-run')
    assert 'made by version 1' in some and '5 documents would be requeued' in some
    assert 'there is nothing to requeue' in none
    wrong, right = outputs('python check_files.py --md5')
    assert '1 file wrong, 0 strays' in wrong and MENDED in wrong and 'none wrong, 0 strays' in right
    assert '600 events of 3 files' in outputs('python show_status.py --doc ma22a000')[0]
    without, selected = outputs('python list_files.py --condition calibration')[:2]
    assert 'ma22a001' not in without and without.count('ma22a000_') == 2 * 3
    assert outputs('python list_files.py ma22a001 --status held')[0].count(' held ') == 3
    assert selected.count('.amp.root') == 6
    assert (project / 'ba133.png').read_bytes().startswith(b'\x89PNG')

    docs = [doc for run in RUNS for doc in database.existing(f'{run}_{number:03d}' for number in range(3)).values()]
    assert len(docs) == 9 and all(doc['status'] == 'good' and whole(doc) for doc in docs)
    assert {doc['process'][1]['software']['step'] for doc in docs} == {'2'}
    for doc in docs:
        before = [Path(file.location).name for file in superseded_of(doc)]
        assert before == ([] if doc['_id'] == MENDED else [f'{doc["_id"]}.amp.root'])
    assert database.get('ma22a001_000')['comments'][0]['text'] == 'it was the thermometer'
    for number, run_doc in enumerate(database.existing(RUNS).values()):
        assert run_doc['process'][1]['pass'] == (3 if number == 1 else 2) and whole(run_doc)
        assert run_doc['process'][1]['left_out'] == [] and run_doc['process'][1]['files'] == 3
        assert run_doc['condition'] == ('background' if number == 2 else 'calibration')

    (cell,) = blocks('python')
    done = run([sys.executable, '-c', f'{cell}\nprint(sorted(files["id"]), set(files["step"]))'], project, environment)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[-1]
        == f"{[f'{run}_00{n}' for run in RUNS[:2] for n in range(3)]} {{'signal_processing'}}"
    )
