"""The whole chain in one terminal: all is up, works, and ends in order."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from edw import config
from edw.database.client import Database
from edw.embedded import ports
from tests.acceptance.test_walkthrough import STEPS, documents, done_with
from tests.scripts import ROOT, Process, Scripts, wait_until

FOLDERS = ('edw', 'web', 'detector', 'local_couchdb')


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project in a folder of its own, at a port of its own; the dashboard takes any."""
    folder = tmp_path / 'copy'
    folder.mkdir()
    for name in FOLDERS:
        (folder / name).symlink_to(ROOT / name)
    for file in (*ROOT.glob('*.py'), *ROOT.glob('*.json'), ROOT / 'edw.ini', ROOT / 'Procfile'):
        (folder / file.name).write_bytes(file.read_bytes())
    file = folder / 'edw.ini'
    file.write_text(re.sub(r'127.0.0.1:\d+\n', f'127.0.0.1:{ports.any_free()}\n', file.read_text()))
    procfile = folder / 'Procfile'
    procfile.write_text(procfile.read_text().replace('dashboard.py', 'dashboard.py --port 0'))
    return folder


def start(copy: Path) -> Process:
    command = [sys.executable, str(copy / 'run_chain.py'), '--config', str(copy / 'edw.ini')]
    return Process(command, cwd=copy)


def left_of(copy: Path) -> list[str]:
    """Processes that have anything of the copy on their command line."""
    listed = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(copy) in line]


def test_all_is_up_two_files_go_through_and_ctrl_c_ends_it_in_order(copy: Path) -> None:
    chain = start(copy)
    try:
        chain.wait_for('listening for ', times=2)
        chain.wait_for('dashboard at ')
        dashboard = re.search(r'dashboard at (\S+)', chain.output)
        assert dashboard and requests.get(dashboard[1], timeout=30).status_code == 200
        with Scripts(copy / 'edw.ini') as scripts:
            seeding = scripts.call('make_metadata.py', '2', '--events', '20')
        assert seeding.returncode == 0, seeding.stderr
        database = Database(config.load(copy / 'edw.ini'))
        wait_until(lambda: done_with(database, STEPS[-1]) == 2)
        assert all([entry['name'] for entry in doc['process']] == STEPS for doc in documents(database))
        assert chain.stop(signal.SIGINT) == 0, chain.output
    finally:
        chain.kill()
    assert re.search(r'signal_processing +\| .*updated ma22a000_001', chain.output)
    assert chain.output.count('stopped (rc=0)') == 3, 'the server was there until all had ended'
    assert left_of(copy) == []


def test_if_one_ends_by_itself_all_end(copy: Path) -> None:
    (copy / 'Procfile').write_text('good: python listen_newfiles.py\nbad: python show_status.py --max-wait 1\n')
    chain = start(copy)
    try:
        assert chain.end() == 2
    finally:
        chain.kill()
    assert re.search(r'bad +\| .*--max-wait goes with --check', chain.output) and 'bad stopped (rc=2)' in chain.output
    assert left_of(copy) == []
