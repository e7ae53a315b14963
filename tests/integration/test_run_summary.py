"""The summary of a run: made of the files that its documents name, and anew when the run is complete anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import listener
from detector.acquisition import write_file
from detector.spectrum import read_energies
from edw import files
from edw.completing.files_of_run import files_of_run
from edw.config import using
from edw.database.client import Database
from edw.errors import DatabaseError, StepError, TryLater, Unprocessable
from edw.model.documents import Document
from edw.operating import reprocessing
from edw.registering import catalogue
from listen_run_summary import run_summary
from tests.loops import once
from tests.scripts import Scripts

RUN = 'ma22a000'
EVENTS = 60


@pytest.fixture
def sps(database: Database) -> Path:
    folder = Path(database.settings.sps)
    folder.mkdir(parents=True)
    return folder


def moved(database: Database, sps: Path, *, number: int = 3, run: str = RUN) -> list[Path]:
    """Data files of a run that signal_processing has behind it, as far as their documents say."""
    docs, paths = [], []
    for index in range(number):
        doc_id = f'{run}_{index:03d}'
        path = sps / f'{doc_id}.root'
        write_file(path, EVENTS, index)
        entry = {'name': 'move_to_sps', 'file': str(path), 'md5sum': files.md5_of(path), 'finished': 1.0}
        analysed = {'name': 'signal_processing', 'finished': 2.0}
        docs.append({'_id': doc_id, 'run': run, 'status': 'good', 'process': [entry, analysed]})
        paths.append(path)
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    return paths


def complete(database: Database, run: str = RUN, **entry: Any) -> Document:
    """The document of a run that is complete."""
    catalogue.close_run(database, run, 1.0)
    first = {'name': 'run_complete', 'after': 'signal_processing', 'finished': 3.0, **entry}
    database.put({**database.get(run), 'status': 'good', 'process': [first]})
    return database.get(run)


def summarised(database: Database, **options: Any) -> int:
    return once(
        run_summary, database.settings, name='run_summary', after='run_complete', failed='no run summary', **options
    )


def test_the_entry_names_both_files_and_has_resolution_and_counts(database: Database, sps: Path) -> None:
    moved(database, sps)
    complete(database)
    assert summarised(database) == 0
    entry = database.get(RUN)['process'][-1]
    assert entry['name'] == 'run_summary' and (entry['files'], entry['events']) == (3, 3 * EVENTS)
    assert entry['file'] == str(sps / f'{RUN}.amp.root') and entry['md5sum'] == files.md5_of(entry['file'])
    (picture,) = entry['more_files']
    assert picture == {'file': str(sps / f'{RUN}.pdf'), 'md5sum': files.md5_of(sps / f'{RUN}.pdf')}
    assert (sps / f'{RUN}.pdf').read_bytes().startswith(b'%PDF')
    assert entry['left_out'] == [] and entry['log'].startswith('180 events of 3 files; detector_a: 356.0 keV FWHM ')
    for detector in entry['detectors'].values():
        assert 0.5 < detector['baseline_fwhm'] < 1.5
        assert any(line['energy'] == 356.013 and line['counts'] > 10 for line in detector['lines'])
    assert {name: energies.size for name, energies in read_energies(sps / f'{RUN}.amp.root').items()} == {
        'detector_a': 3 * EVENTS,
        'detector_b': 3 * EVENTS,
    }


def test_files_that_failed_are_left_out_and_named(database: Database, sps: Path) -> None:
    moved(database, sps)
    failed = f'{RUN}_001'
    doc = database.get(failed)
    database.put({**doc, 'status': 'signal processing failure', 'process': doc['process'][:1]})
    complete(database)
    assert summarised(database) == 0
    entry = database.get(RUN)['process'][-1]
    assert (entry['files'], entry['left_out']) == (2, [failed]) and entry['log'].endswith('; left out: 1 that failed')


def test_a_file_that_failed_in_a_later_step_is_in_it(database: Database, sps: Path) -> None:
    moved(database, sps)
    database.put({**database.get(f'{RUN}_001'), 'status': 'no second copy'})
    assert len(files_of_run(database, complete(database), 'move_to_sps').files) == 3


@pytest.mark.parametrize(
    ('entry', 'error'),
    [
        ({'after': 'copy_to_archive'}, 'none of the 2 files of run ma22a000 is past copy_to_archive with a file of'),
        ({'after': None}, 'none of the 2 files'),
    ],
)
def test_a_run_of_which_nothing_can_be_analysed_fails_at_once(
    database: Database, sps: Path, entry: dict[str, Any], error: str
) -> None:
    moved(database, sps, number=2)
    complete(database, **entry)
    assert summarised(database) == 1
    doc = database.get(RUN)
    assert doc['status'] == 'no run summary' and len(doc['failures']) == 1
    assert error in doc['failures'][0]['error'] and len(list(sps.iterdir())) == 2


def test_a_run_without_documents_fails_at_once(database: Database, sps: Path) -> None:
    complete(database)
    assert summarised(database) == 1
    assert 'has no documents of a run' in database.get(RUN)['failures'][0]['error']


def test_a_file_with_another_md5_than_its_entry_says_is_not_passed_over(database: Database, sps: Path) -> None:
    _, wrong = moved(database, sps, number=2)
    write_file(wrong, EVENTS, 77)
    complete(database)
    assert summarised(database) == 1
    doc = database.get(RUN)
    assert f'{wrong} has the md5' in doc['failures'][0]['error'] and doc['status'] == 'no run summary'
    assert sorted(file.name for file in sps.iterdir()) == [f'{RUN}_000.root', f'{RUN}_001.root']


def test_files_of_another_machine_are_copied_and_compared(database: Database, sps: Path) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    _, away = moved(database, sps, number=2)
    MemoryFileSystem().pipe_file(f'/host/{away.name}', away.read_bytes())
    doc = database.get(f'{RUN}_001')
    doc['process'][0]['file'] = f'memory://host/{away.name}'
    database.put(doc)
    away.unlink()
    run = complete(database)
    with using(database.settings):
        assert run_summary(run)['events'] == 2 * EVENTS
        MemoryFileSystem().pipe_file(f'/host/{away.name}', b'root, and something else')
        with pytest.raises(StepError, match=rf'memory://host/{away.name} has the md5'):
            run_summary(run)


def test_a_file_that_is_missing_is_an_attempt(database: Database, sps: Path) -> None:
    moved(database, sps, number=2)[1].unlink()
    doc = complete(database)
    with using(database.settings), pytest.raises(StepError, match='cannot be read: No such file') as caught:
        run_summary(doc)
    assert not isinstance(caught.value, Unprocessable)


def test_the_database_is_at_hand_in_a_callback_and_waited_for_when_it_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt is counted when the server does not answer a callback."""
    catalogue.close_run(database, RUN, 1.0)
    complete(database)
    seen = []

    def reads(doc: Document) -> dict[str, Any]:
        seen.append(listener.database().get(doc['_id'])['_id'])
        return {}

    def finds_it_away(doc: Document) -> dict[str, Any]:
        monkeypatch.setattr(listener, 'PATIENCE', 0.2)
        with using(replace(database.settings, server='http://127.0.0.1:9')):
            listener.database().info()
        return {}

    step = {'name': 'step', 'after': 'run_complete', 'failed': 'failed'}
    assert once(finds_it_away, database.settings, **step) == 1  # put off
    doc = database.get(RUN)
    assert doc['status'] == 'good' and 'failures' not in doc and 'claim' not in doc
    assert once(reads, database.settings, **step) == 0 and seen == [RUN]


def test_without_a_password_nobody_logs_in(database: Database) -> None:
    """As on the nodes of a farm: CouchDB locks an address out after five refused logins."""
    with using(replace(database.settings, password='')), pytest.raises(TryLater, match='no password for http://'):
        listener.database()


def test_whatever_else_the_server_says_to_a_callback_is_a_failure(database: Database, sps: Path) -> None:
    doc = complete(database)
    gone = replace(database.settings, dbname='edwtest-gone')
    with using(gone), pytest.raises(DatabaseError):
        run_summary(doc)


def test_all_listeners_once_and_a_file_done_again(scripts: Scripts, database: Database) -> None:
    """Two runs from their seeding to their summaries; then one file is done again, and its run's summary is, too."""

    def rounds() -> None:
        for script in ('newfiles', 'analysis1', 'run_complete', 'run_summary'):
            engine = [] if script == 'run_complete' else ['--engine', 'threads']
            assert scripts.call(f'listen_{script}.py', '--once', *engine).returncode == 0

    for seed in ('1', '2'):
        made = scripts.call('make_metadata.py', '3', '--events', '60', '--seed', seed)
        assert made.returncode == 0, made.stderr
    rounds()
    first = {run: database.get(run) for run in (RUN, 'ma22a001')}
    for doc in first.values():
        assert [entry['name'] for entry in doc['process']] == ['run_complete', 'run_summary']
    assert scripts.call('check_files.py', '--md5').returncode == 0
    database.put(reprocessing.cut_before(database.get(f'{RUN}_001'), 'signal_processing', 1.0, 'here'))
    rounds()
    again = database.get(RUN)
    assert [entry['name'] for entry in again['superseded'][0]['entries']] == ['run_complete', 'run_summary']
    assert again['process'][1]['finished'] > first[RUN]['process'][1]['finished']
    assert database.get('ma22a001')['process'] == first['ma22a001']['process']
    assert scripts.call('check_files.py', '--md5').returncode == 0
