"""The original's walk-through, with the scripts as processes and real files.

Scripts that only prepare for what a test is about are called within its own process.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import uproot

from detector import acquisition
from edw import files
from edw.database.client import Database
from edw.model.documents import is_run
from edw.transfer import make_new_folder
from tests.conftest import Server
from tests.scripts import ANALYSIS, ROOT, Scripts, wait_until

STEPS = ['move_to_sps', 'signal_processing']
MANY = 40  # documents that two listeners share


def done_with(database: Database, step: str) -> int:
    """How many documents have this step as their last."""
    rows = database.view(database.settings.viewname, startkey=[step], endkey=[step, {}])['rows']
    return rows[0]['value'] if rows else 0


def documents(database: Database) -> list[dict]:
    """Those of files."""
    docs = (row['doc'] for row in database.all_docs(include_docs=True))
    return [doc for doc in docs if not doc['_id'].startswith('_') and not is_run(doc)]


def test_walkthrough(scripts: Scripts, settings, server: Server) -> None:
    assert scripts.call('upload_design.py').returncode == 0
    database = Database(settings)
    first = scripts.listen('listen_newfiles.py')
    second = scripts.listen('listen_analysis1.py')
    seeding = scripts.run('make_metadata.py', '2', '--events', '40')
    assert seeding.returncode == 0, seeding.stderr
    assert 'run ma22a000' in seeding.stdout and 'uploaded 2 documents' in seeding.stdout
    assert 'current database sequence number:\n' in seeding.stdout
    assert seeding.stderr == ''  # the progress bar is quiet where there is no terminal

    for process, step in ((first, 'move_to_sps'), (second, 'signal_processing')):
        process.wait_for('updated', times=2)
        for said in (f'{step}: listening for ', 'from sequence', f'"name": "{step}"'):
            assert said in process.output
        for doc_id in ('ma22a000_000', 'ma22a000_001'):
            for said in ('claimed', 'appending process results to', 'updated'):
                assert f'{said} {doc_id}' in process.output
        stamped = [line for line in process.output.splitlines() if re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', line)]
        assert len(stamped) >= 8

    assert second.stop(signal.SIGINT) == 0
    assert scripts.call('make_metadata.py', '2', '--events', '40').returncode == 0
    # Only now: documents that came while the listener started were found by its first look, not by the feed.
    first.wait_for('caught change: ')
    wait_until(lambda: done_with(database, 'move_to_sps') == 2)
    third = scripts.listen('listen_analysis1.py')
    third.wait_for('updated', times=2)
    assert first.stop() == 0 and third.stop() == 0

    docs = documents(database)
    assert [doc['_id'] for doc in docs] == [f'ma22a00{run}_00{number}' for run in (0, 1) for number in (0, 1)]
    for doc in docs:
        assert [entry['name'] for entry in doc['process']] == STEPS
        assert doc['status'] == 'good' and 'claim' not in doc and 'failures' not in doc
        assert doc['conditions']['volts'] == {'detector_a': [8, -8, 2, -2], 'detector_b': [4, -4, 1.5, -1.5]}
        assert 0.015 <= doc['conditions']['temperature'] <= 0.016
        for file, md5sum in [(doc['original_file'], doc['md5sum'])] + [
            (e['file'], e['md5sum']) for e in doc['process']
        ]:
            assert files.md5_of(file) == md5sum
        amplitudes = Path(doc['process'][1]['file'])
        assert amplitudes.name == f'{doc["_id"]}.amp.root'
        with uproot.open(amplitudes) as root:
            assert root['amplitudes'].num_entries == 40
    assert server.password not in first.output + second.output + third.output + json.dumps(docs)


def test_two_listeners_of_each_step_on_many_documents(scripts: Scripts, database: Database) -> None:
    seeding = scripts.call('make_metadata.py', str(MANY), '--events', '2', '--seed', '1')
    assert seeding.returncode == 0, seeding.stderr
    listeners = [scripts.start(f'listen_{step}.py', '-v') for step in ('newfiles', 'analysis1') for _ in range(2)]
    wait_until(lambda: done_with(database, 'signal_processing') == MANY, limit=240, every=0.3)
    for listener in listeners:
        assert listener.stop() == 0
    docs = documents(database)
    assert all([entry['name'] for entry in doc['process']] == STEPS for doc in docs)
    assert not any('claim' in doc or 'failures' in doc for doc in docs)
    # The work was shared, and nothing was done by two.
    for one, other in (listeners[:2], listeners[2:]):
        taken = [set(re.findall(r'\d claimed (\S+)', listener.output)) for listener in (one, other)]
        assert len(taken[0] | taken[1]) == MANY and not taken[0] & taken[1]


def test_a_signal_during_a_callback_finishes_and_records_it(scripts: Scripts, database: Database) -> None:
    scripts.call('make_metadata.py', '2', '--events', '1000')
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    listener = scripts.start('listen_analysis1.py')
    listener.wait_for('appending process results to')  # the first is done, and the next has begun
    assert listener.stop() == 0
    docs = documents(database)
    assert not any('claim' in doc for doc in docs)
    assert [len(doc['process']) for doc in docs].count(2) >= 1


def test_registering_files_from_a_folder(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    assert scripts.call('make_metadata.py', '2', '--events', '3').returncode == 0
    for doc in documents(database):
        database.delete(doc)
    folder = str(tmp_path / 'raw')
    done = scripts.call('make_metadata.py', '--from', folder, '--settle', '0')
    assert done.returncode == 0 and 'registered 2 files' in done.stdout
    again = scripts.call('make_metadata.py', '--from', folder, '--settle', '0')
    assert again.returncode == 0 and 'registered 0 files, 2 had a document already' in again.stdout
    for doc in documents(database):
        assert doc['run'] == 'ma22a000' and doc['conditions']['volts']['detector_a'] == [8, -8, 2, -2]
        assert doc['md5sum'] == files.md5_of(doc['original_file'])
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0
    assert done_with(database, 'signal_processing') == 2


def test_originals_of_one_name_stay_two_files_to_the_end(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    """Registered through links, whose targets have one base name: in sps the second replaced the first."""
    folder = tmp_path / 'links'
    folder.mkdir()
    make_new_folder(tmp_path / 'sps')
    for index, run in enumerate(('run#1', 'run::2')):
        path = tmp_path / 'store' / run / 'data.root'
        path.parent.mkdir(parents=True)
        acquisition.write_file(path, 20 + index, np.random.default_rng(index))
        (folder / f'{run}.root').symlink_to(path)
    for script in (
        ('make_metadata.py', '--from', str(folder), '--settle', '0'),
        ('listen_newfiles.py', '--once'),
        ANALYSIS,
    ):
        done = scripts.call(*script)
        assert done.returncode == 0, done.stderr
    docs = documents(database)
    assert [Path(doc['original_file']).name for doc in docs] == ['data.root', 'data.root']
    assert [doc['process'][1]['log'].split(';')[0] for doc in docs] == ['20 events', '21 events']
    entries = [entry for doc in docs for entry in doc['process']]
    assert len({entry['file'] for entry in entries}) == 4
    assert all(files.md5_of(entry['file']) == entry['md5sum'] for entry in entries)


def test_two_seedings_at_once_get_different_runs(scripts: Scripts, database: Database) -> None:
    both = [scripts.start('make_metadata.py', '5', '--events', '3') for _ in range(2)]
    assert [process.end() for process in both] == [0, 0]
    docs = documents(database)
    assert sorted({doc['run'] for doc in docs}) == ['ma22a000', 'ma22a001'] and len(docs) == 10
    assert all(files.md5_of(doc['original_file']) == doc['md5sum'] for doc in docs)


def test_the_step_of_the_readme(scripts: Scripts, database: Database) -> None:
    text = (ROOT / 'README.md').read_text(encoding='utf-8').split('<!-- step -->')[1].split('```')[1]
    script = scripts.config.with_name('listen_filesize.py')
    script.write_text(text.removeprefix('python\n'))
    assert scripts.call('make_metadata.py', '--events', '3').returncode == 0
    assert scripts.call('listen_newfiles.py', '--once').returncode == 0
    assert scripts.call(*ANALYSIS).returncode == 0
    command = [sys.executable, str(script), '--config', str(scripts.config), '--once']
    # Saved among the scripts, as the README says, its folder is on the path; here it is put there.
    done = subprocess.run(command, env={'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (doc,) = documents(database)
    analysed, entry = doc['process'][-2:]
    assert entry['name'] == 'file_size'
    assert entry['bytes'] == Path(analysed['file']).stat().st_size > 0
    assert f'bytes={entry["bytes"]}' in scripts.call('show_status.py', '--doc', doc['_id']).stdout
    assert json.loads(scripts.call('list_files.py', doc['run'], '--json').stdout)[0]['md5sum'] == analysed['md5sum']


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / 'demo.py')], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('signal_processing') > 3 and 'keV' in done.stdout
    shown = json.loads(done.stdout.split(' in full:\n')[1].split('\n\nresolution')[0])
    assert [entry['name'] for entry in shown['process']] == STEPS


def test_the_demo_shows_what_failed_and_leaves_nothing_running(tmp_path: Path) -> None:
    copy = tmp_path / 'copy'
    for name in ('edw', 'local_couchdb'):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).symlink_to(ROOT / name)
    for file in (*ROOT.glob('*.py'), *ROOT.glob('*.json'), *ROOT.glob('*.ini')):
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / 'detector').symlink_to(ROOT / 'detector')
    (copy / 'listen_analysis1.py').write_text("raise SystemExit('no analysis today')\n")
    done = subprocess.run(
        [sys.executable, str(copy / 'demo.py')], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    assert 'listen_analysis1.py ended with exit code 1' in done.stderr and 'no analysis today' in done.stderr
    running = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True, check=True).stdout
    assert str(copy) not in running
