"""The scripts of 2013 and this project's, on one database at the same time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edw.database.client import Database
from edw.telling import presence
from edw.transfer import make_new_folder
from tests.acceptance.original_scripts import HOSTNAME
from tests.scripts import Process, Scripts, wait_until

ORIGINAL = Path(__file__).with_name('original_scripts.py')
STEPS = ['move_to_sps', 'signal_processing']
OURS = {'move_to_sps': 'listen_newfiles.py', 'signal_processing': 'listen_analysis1.py'}


def seed(scripts: Scripts) -> str:
    """The run that make_metadata.py makes, of two files, and closes."""
    done = scripts.call('make_metadata.py', '2', '--events', '5')
    assert done.returncode == 0, done.stderr
    return re.search('ma22a[0-9]{3}', done.stdout)[0]


def original_makes(scripts: Scripts) -> str:
    """The run that the original makes, of two files."""
    made = scripts.start(ORIGINAL, 'make', '2')
    assert made.end() == 0, made.output
    assert 'return code: 201' in made.output
    return made.output.split()[0]


def documents(database: Database) -> dict[str, Any]:
    return {row['id']: row['doc'] for row in database.all_docs(include_docs=True) if row['id'] >= 'a'}


def by_whom(doc: dict[str, Any]) -> list[tuple[str, bool]]:
    """Each step of a document, and whether the original did it.

    It claims nothing, and has nothing against doing a step again that the view still shows: once or twice is one here.
    """
    done = [(entry['name'], entry['hostname'] == HOSTNAME) for entry in doc['process']]
    return [one for number, one in enumerate(done) if not one[1] or one not in done[:number]]


def wait_for_both(database: Database, ids: list[str], *processes: Process) -> None:
    """Wait until both steps were done on all of the documents."""

    def behind() -> dict[str, list[tuple[str, bool]]]:
        done = {doc_id: by_whom(doc) for doc_id, doc in database.existing(ids).items()}
        return {doc_id: steps for doc_id, steps in done.items() if len(steps) != len(STEPS)}

    try:
        wait_until(lambda: not behind(), every=0.2)
    except AssertionError:
        said = '\n'.join(process.output for process in processes)
        raise AssertionError(f'not so after all the time: {behind()}\n{said}') from None


@pytest.fixture
def folders(database: Database) -> None:
    for folder in (database.settings.raw, database.settings.sps):
        make_new_folder(Path(folder))


def test_each_finds_the_next_run_behind_those_of_the_other(scripts: Scripts, database: Database, folders: None) -> None:
    runs = [seed(scripts), original_makes(scripts), seed(scripts), original_makes(scripts)]
    assert scripts.call('make_metadata.py', '--close', runs[3]).returncode == 0
    runs.append(original_makes(scripts))
    assert runs == [f'ma22a{number:03d}' for number in range(5)]
    found = documents(database)
    assert [doc_id for doc_id, doc in found.items() if doc.get('type') == 'run'] == [runs[0], runs[2], runs[3]]
    assert len(found) == 5 * 2 + 3
    assert {doc['run'] for doc in found.values() if 'run' in doc} == set(runs)


@pytest.mark.parametrize('theirs', STEPS)
def test_each_step_is_done_once_by_whoever_listens_for_it(
    scripts: Scripts, database: Database, folders: None, theirs: str
) -> None:
    (ours,) = {*STEPS} - {theirs}
    its = scripts.start(ORIGINAL, theirs)
    its.wait_for('listening for new files')
    own = scripts.listen(OURS[ours], '--engine', 'threads')
    wait_until(lambda: [there.step for there in presence.read(database)] == [ours])

    runs = [seed(scripts), original_makes(scripts)]
    held = f'{runs[1]}_001'
    assert scripts.call('make_metadata.py', '--close', runs[1]).returncode == 0
    told = ('--comment', 'seen', '--tag', 'good-night', '--quality', 'good')
    assert scripts.call('annotate.py', f'{runs[1]}_000', f'{runs[0]}_001', *told).returncode == 0
    runs.append(seed(scripts))
    ids = [f'{run}_{number:03d}' for run in runs for number in range(2)]
    wait_for_both(database, ids, its, own)

    # Held, and what comes while that is so: their listener looks at the whole view at each change.
    assert scripts.call('reprocess.py', '--yes', '--from', theirs, held).returncode == 0
    wait_until(lambda: len(by_whom(database.get(held))) == 2, every=0.2)
    assert scripts.call('annotate.py', held, '--hold', 'a pump failed').returncode == 0
    before = database.get(held)
    for run in runs:
        assert scripts.call('listen_run_complete.py', '--once').returncode == 0, run
    completed = {run: database.get(run) for run in (runs[0], runs[1], runs[2])}
    runs.append(original_makes(scripts))
    ids += [f'{runs[-1]}_{number:03d}' for number in range(2)]
    wait_for_both(database, ids, its, own)
    assert own.stop() == 0 and its.is_running()

    found = documents(database)
    assert database.get(held) == before
    for doc_id in ids:
        assert by_whom(found[doc_id]) == [(step, step == theirs) for step in STEPS], doc_id
        assert 'claim' not in found[doc_id] and 'failures' not in found[doc_id]
    for doc_id in (f'{runs[1]}_000', f'{runs[0]}_001'):
        doc = found[doc_id]
        assert (doc['comments'][0]['text'], doc['tags'][0]['name'], doc['quality']['value']) == (
            'seen',
            'good-night',
            'good',
        )
    # Complete, and touched by nobody else: the files of each are past the step, whoever did it.
    for run, doc in completed.items():
        assert found[run] == doc and [entry['name'] for entry in doc['process']] == ['run_complete'], run
    assert set(found) == {*ids, *completed} and database.conflicts(found) == {}
    shown = json.loads(scripts.call('show_status.py', '--json').stdout)['steps']
    assert [(step['name'], step['waiting'], step['failed']) for step in shown] == [(step, 0, 0) for step in STEPS]
