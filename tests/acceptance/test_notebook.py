"""The notebook of the documentation runs as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edw.database.client import Database
from edw.operating import annotations
from edw.operating.annotations import Said
from tests.scripts import ANALYSIS, ROOT, Scripts

NOTEBOOK = ROOT / 'docs' / 'analysis.ipynb'


def code() -> str:
    """All its cells of code, in order; the last line of a cell is only shown."""
    cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
    return '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')


def test_the_notebook_draws_what_was_selected(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    for _ in range(2):
        assert scripts.call('make_metadata.py', '2', '--events', '100', '--seed', '7').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once', '-q').returncode == 0
    assert scripts.call(*ANALYSIS, '-q').returncode == 0
    annotations.annotate(
        database, ['ma22a001_001'], annotations.changes(Said('anna', 1.0), reason='not to be selected')
    )
    picture = tmp_path / 'spectrum.png'
    told = (
        f'figure.savefig({str(picture)!r})\n'
        "print(sorted(files['id']), sum(len(values) for values in energies.values()))\n"
    )
    settings = database.settings
    login = {'EDW_USERNAME': settings.username, 'EDW_PASSWORD': settings.password, 'MPLBACKEND': 'agg'}
    environment = {**os.environ, **login, 'EDW_SERVER': settings.server, 'EDW_DBNAME': settings.dbname}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', f'{code()}\n{told}'],
        cwd=NOTEBOOK.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['ma22a000_000', 'ma22a000_001', 'ma22a001_000'] 600"
    assert picture.read_bytes().startswith(b'\x89PNG')
