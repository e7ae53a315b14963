"""The kind of run, from the command line or the header of its files to what people select."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import edw
from detector.acquisition import read_header, write_file
from edw.completing.completer import Completer
from edw.database.client import Database
from edw.database.retry import Retry
from edw.registering import catalogue, runs
from tests.loops import edit, once
from tests.scripts import Scripts

RUN = 'ma22a000'
CONDITIONS = {'temperature': 0.0155}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / 'there'
    made.mkdir()
    return made


def written(folder: Path, number: int, condition: str | None = None, run: str = RUN) -> str:
    doc_id = runs.file_id(run, number)
    write_file(folder / f'{doc_id}.root', 2, 1, CONDITIONS, condition)
    return doc_id


def test_seeded_files_their_documents_and_their_run_have_it(scripts: Scripts, database: Database) -> None:
    assert scripts.call('make_metadata.py', '2', '--events', '2', '--condition', 'neutron').returncode == 0
    for number in range(2):
        doc = database.get(runs.file_id(RUN, number))
        assert doc['condition'] == 'neutron' == read_header(Path(doc['original_file'])).condition
        assert doc['conditions'].keys() == {'volts', 'temperature'}  # the original's, as ever
    assert database.get(RUN)['condition'] == 'neutron'
    assert scripts.call('make_metadata.py', '--events', '2').returncode == 0
    assert 'condition' not in database.get('ma22a001_000') and 'condition' not in database.get('ma22a001')


def test_the_header_of_a_file_says_it_and_may_not_be_contradicted(
    scripts: Scripts, database: Database, folder: Path
) -> None:
    says, silent = written(folder, 0, 'background'), written(folder, 1)
    done = scripts.call('make_metadata.py', '--from', str(folder), '--settle', '0', '--condition', 'calibration')
    assert done.returncode == 1 and '1 refused' in done.stdout
    assert f'{says}.root: its header says that its run is background, and not calibration' in done.stderr
    assert database.get(silent)['condition'] == 'calibration' and says not in database.existing([says])
    assert scripts.call('make_metadata.py', '--from', str(folder), '--settle', '0').returncode == 0
    assert database.get(says)['condition'] == 'background' and database.get(says)['conditions'] == CONDITIONS
    assert database.get(silent)['condition'] == 'calibration'  # as it was


def test_a_file_that_is_registered_anew_has_what_it_says_now(
    scripts: Scripts, database: Database, folder: Path
) -> None:
    doc_id = written(folder, 0, 'background')
    arguments = ('--from', str(folder), '--settle', '0', '--update')
    assert scripts.call('make_metadata.py', *arguments).returncode == 0
    written(folder, 0, 'calibration')
    assert scripts.call('make_metadata.py', *arguments).returncode == 0
    assert database.get(doc_id)['condition'] == 'calibration'
    written(folder, 0)
    assert scripts.call('make_metadata.py', *arguments).returncode == 0
    assert database.get(doc_id)['condition'] == 'calibration'  # nothing says another


def test_what_a_watch_registers_has_it(scripts: Scripts, database: Database, folder: Path) -> None:
    watch = scripts.start('make_metadata.py', '--watch', str(folder), '--settle', '0.2', '--condition', 'calibration')
    watch.wait_for('watching')
    doc_id = written(folder, 0)
    watch.wait_for(f'registered {doc_id}.root')
    assert watch.stop() == 0
    assert database.get(doc_id)['condition'] == 'calibration'


@pytest.mark.parametrize('name', ['', ' calibration', 'x' * 41, 'two\nlines'])
def test_what_is_no_kind_of_run(scripts: Scripts, database: Database, folder: Path, name: str) -> None:
    done = scripts.call('make_metadata.py', '--condition', name)
    assert done.returncode == 2 and 'is no kind of run' in done.stderr
    doc_id = written(folder, 0, name)
    done = scripts.call('make_metadata.py', '--from', str(folder), '--settle', '0')
    assert done.returncode == 0 and 'in its header' in done.stderr
    assert 'condition' not in database.get(doc_id)


def test_it_goes_not_with_close(scripts: Scripts, database: Database) -> None:
    done = scripts.call('make_metadata.py', '--close', RUN, '--condition', 'calibration')
    assert done.returncode == 2 and '--condition goes not with --close' in done.stderr


def test_a_run_has_it_of_its_files_where_they_agree(database: Database) -> None:
    docs = [
        {'_id': runs.file_id(RUN, number), 'run': RUN, 'status': 'good', 'process': [], **more}
        for number, more in enumerate([{}, {'condition': 'background'}, {'condition': 3}])
    ]
    docs.append({'_id': f'{RUN}_note', 'condition': 'calibration'})
    docs[1]['_id'] = 'of another name'
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    assert runs.condition_of(database, RUN) == 'background'
    assert catalogue.close_runs(database, [RUN], 1.0) == ([RUN], [])
    assert database.get(RUN)['condition'] == 'background'
    edit(database, runs.file_id(RUN, 0), condition='calibration')
    assert runs.condition_of(database, RUN) is None
    assert runs.condition_of(database, 'ma22a009') is None


def test_a_run_that_is_complete_has_what_came_since_it_was_closed(database: Database) -> None:
    doc_id = runs.file_id(RUN, 0)
    database.put({'_id': doc_id, 'run': RUN, 'status': 'good', 'process': []})
    catalogue.close_run(database, RUN, 1.0)
    edit(database, doc_id, condition='neutron')
    once(lambda doc: {}, database.settings)
    assert Completer(database, 'first', Retry(threading.Event().wait)).check([RUN]) == 1
    assert database.get(RUN)['condition'] == 'neutron'


def test_people_select_by_it_and_see_it(scripts: Scripts, database: Database) -> None:
    for condition in ('calibration', 'background'):
        assert scripts.call('make_metadata.py', '--events', '2', '--condition', condition).returncode == 0
    done = scripts.call('list_files.py', '--condition', 'background')
    head, line = done.stdout.splitlines()
    assert head.split()[3] == 'condition' and line.split()[0] == 'ma22a001_000' and ' background ' in line
    done = scripts.call('show_status.py', '--doc', 'ma22a001')
    assert 'condition: background' in done.stdout
    pytest.importorskip('pandas')
    files = edw.select_files(condition='calibration', settings=str(scripts.config))
    assert list(files['id']) == ['ma22a000_000'] and list(files['condition']) == ['calibration']
