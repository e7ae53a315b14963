"""reprocess.py as an operator runs it: something fails, is mended, and is requeued."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edw.database.client import Database
from tests.conftest import Server
from tests.loops import once
from tests.scripts import ANALYSIS, ROOT, Process, Scripts, wait_until

WAITING_STEP = ROOT / 'tests' / 'acceptance' / 'waiting_step.py'
STEPS = ['move_to_sps', 'signal_processing']


def names(database: Database, doc_id: str) -> list[str]:
    return [entry['name'] for entry in database.get(doc_id)['process']]


def seed(database: Database, number: int, **fields: Any) -> list[str]:
    docs = [
        {'_id': f'doc{index:03d}', 'run': 'r', 'status': 'good', 'process': [], **fields} for index in range(number)
    ]
    assert all(row.get('ok') for row in database.bulk_docs(docs))
    return [doc['_id'] for doc in docs]


def sequence(database: Database) -> object:
    return database.info()['update_seq']


@contextmanager
def at_a_terminal(scripts: Scripts, *arguments: str) -> Iterator[tuple[Process, Callable[[str], None]]]:
    """The script with a terminal to ask at, and what types an answer; it has shown what it would do."""
    ours, theirs = os.openpty()
    try:
        process = scripts.start('reprocess.py', *arguments, stdin=theirs)
        process.wait_for('would be requeued')
        yield process, lambda answer: os.write(ours, answer.encode()) and None
    finally:
        os.close(ours)
        os.close(theirs)


def test_failed_documents_are_mended_requeued_and_done(scripts: Scripts, database: Database, tmp_path: Path) -> None:
    assert scripts.call('make_metadata.py', '3', '--events', '20').returncode == 0
    files = sorted((tmp_path / 'raw').glob('*.root'))
    gone, wrong, cut_short = ids = [file.stem for file in files]
    files[0].rename(tmp_path / 'elsewhere')
    content = files[1].read_bytes()
    files[1].write_bytes(content[:-1] + b'?')
    assert scripts.call('listen_newfiles.py', '--once').returncode == 1
    moved = Path(database.get(cut_short)['process'][0]['file'])
    moved.write_bytes(moved.read_bytes()[:1000])
    assert scripts.call(*ANALYSIS).returncode == 1

    kinds = {doc_id: database.get(doc_id)['failures'][-1]['kind'] for doc_id in ids}
    assert list(kinds.values()) == ['file missing', 'md5 differs', 'md5 differs']
    told = scripts.call('show_status.py').stdout
    assert '1  move_to_sps        file missing' in told and '1  move_to_sps        md5 differs' in told
    one = scripts.call('reprocess.py', '--failed', '--kind', 'file missing', '--dry-run')
    assert one.returncode == 0 and '1 document would be requeued' in one.stdout and gone in one.stdout
    wrong_kind = scripts.call('reprocess.py', '--failed', '--kind', 'file mising', '--yes')
    assert wrong_kind.returncode == 1 and wrong_kind.stderr.endswith(
        'kinds that there are: file missing; md5 differs. Did you mean file missing?\n'
    )
    no_run = scripts.call('reprocess.py', '--failed', '--run', 'ma22a00', '--yes')
    assert no_run.returncode == 1 and no_run.stderr.endswith("has no documents of a run 'ma22a00'\n")
    before = sequence(database)
    shown = scripts.call('reprocess.py', '--failed', '--dry-run')
    assert shown.returncode == 0 and shown.stderr == '' and sequence(database) == before
    for group in ('ma22a000  failed move to sps         2', 'ma22a000  signal processing failure  1'):
        assert group in shown.stdout
    for doc_id in (gone, wrong):
        assert f"{doc_id}: status 'failed move to sps' becomes 'good'" in shown.stdout

    (tmp_path / 'elsewhere').rename(files[0])
    files[1].write_bytes(content)
    newfiles = scripts.listen('listen_newfiles.py')
    analysis = scripts.listen('listen_analysis1.py', '--engine', 'threads')
    done = scripts.call('reprocess.py', '--failed', 'move_to_sps', '--yes')
    assert done.returncode == 0 and 'requeued 2 documents' in done.stdout, done.stdout + done.stderr
    # It failed in the second step, but the first is to be done again: the copy is fetched anew.
    done = scripts.call('reprocess.py', '--failed', 'signal_processing', '--from', 'move_to_sps', '--yes')
    assert done.returncode == 0 and 'move_to_sps cut from process' in done.stdout, done.stdout + done.stderr
    wait_until(lambda: all(names(database, doc_id) == STEPS for doc_id in ids))
    assert newfiles.stop() == 0 and analysis.stop() == 0

    for doc_id in ids:
        doc = database.get(doc_id)
        attempts = [1] if doc_id == cut_short else [1, 2, 3]  # no data file of ours is no better at another attempt
        assert doc['status'] == 'good' and [failure['attempt'] for failure in doc['failures']] == attempts
        assert ('superseded' in doc) is (doc_id == cut_short)
    (superseded,) = database.get(cut_short)['superseded']
    assert superseded['from'] == 'move_to_sps' and superseded['entries'][0]['file'] == str(moved)
    again = scripts.call('reprocess.py', '--failed', '--yes')
    assert again.returncode == 0 and 'there is nothing to requeue' in again.stdout


def test_a_run_is_cut_back_to_before_a_step(scripts: Scripts, database: Database) -> None:
    ids = seed(database, 3, process=[{'name': step} for step in STEPS])
    arguments = ('--run', 'r', '--range', ids[1], 'doc999', '--from', 'signal_processing', '--yes')
    done = scripts.call('reprocess.py', *arguments)
    assert done.returncode == 0 and 'requeued 2 documents' in done.stdout
    assert [names(database, doc_id) for doc_id in ids] == [STEPS, STEPS[:1], STEPS[:1]]
    again = scripts.call('reprocess.py', *arguments)
    assert again.returncode == 0 and f'2 documents as wanted already: {ids[1]}, {ids[2]}' in again.stdout


def test_a_document_that_is_worked_on_is_left_alone_unless_forced(
    scripts: Scripts, database: Database, journal: Path
) -> None:
    def begun() -> list[int]:
        return [int(line.split()[2]) for line in journal.read_text().splitlines() if line.startswith('begins')]

    seed(database, 1)
    first = scripts.listen(WAITING_STEP)
    wait_until(lambda: begun() == [first.pid])
    first.send(signal.SIGSTOP)
    before = database.get('doc000')
    left = scripts.call('reprocess.py', 'doc000', '--from', 'waiting', '--yes')
    assert left.returncode == 1 and '1 document left alone, a listener is at it (see --force): doc000' in left.stdout
    assert database.get('doc000') == before and before['claim']['process'] == 'waiting'

    forced = scripts.call('reprocess.py', 'doc000', '--from', 'waiting', '--yes', '--force')
    assert forced.returncode == 0 and f'the claim of {before["claim"]["worker"]} removed' in forced.stdout
    assert 'claim' not in database.get('doc000')
    second = scripts.listen(WAITING_STEP)
    wait_until(lambda: begun() == [first.pid, second.pid])
    journal.with_suffix('.go').touch()
    wait_until(lambda: 'claim' not in database.get('doc000') and names(database, 'doc000') == ['waiting'])
    done = database.get('doc000')
    first.send(signal.SIGCONT)
    first.wait_for('doc000 is no longer claimed by this listener: the result is dropped')
    assert first.stop() == 0 and second.stop() == 0
    assert database.get('doc000') == done and [entry['pid'] for entry in done['process']] == [second.pid]


@pytest.mark.parametrize(
    ('answer', 'status'), [('y\n', 'good'), ('YES\n', 'good'), ('n\n', 'f'), ('\n', 'f'), ('\x04', 'f')]
)
def test_the_question(scripts: Scripts, database: Database, answer: str, status: str) -> None:
    ids = seed(database, 7, status='f')
    with at_a_terminal(scripts, '--failed') as (process, type_in):
        assert all(doc['status'] == 'f' for doc in database.existing(ids).values())
        type_in(answer)
        assert process.end() == (0 if status == 'good' else 1)
    assert 'Requeue 7 documents? [y/N]' in process.output
    assert 'and 2 more' in process.output
    assert ('requeued 7 documents' if status == 'good' else 'nothing was changed') in process.output
    assert all(doc['status'] == status for doc in database.existing(ids).values())


def test_what_changed_between_question_and_answer_is_left_alone(scripts: Scripts, database: Database) -> None:
    ids = seed(database, 5, status='f')
    with at_a_terminal(scripts, '--failed', '--force') as (process, type_in):
        database.put({**database.get(ids[1]), 'note': 'wait for the calibration'})
        database.put({**database.get(ids[2]), 'status': 'good'})
        database.delete(database.get(ids[3]))
        database.put({**database.get(ids[4]), 'claim': {'process': 'x', 'worker': 'w', 'since': 1}})
        type_in('y\n')
        assert process.end() == 1
    assert 'requeued 1 document' in process.output
    for doc_id in (ids[1], ids[3], ids[4]):
        assert f'error: {doc_id}: somebody else changed or deleted it meanwhile' in process.output
    docs = database.existing(ids)
    assert docs[ids[1]]['status'] == 'f' and docs[ids[1]]['note'] == 'wait for the calibration'
    assert docs[ids[0]]['status'] == docs[ids[2]]['status'] == 'good' and 'claim' in docs[ids[4]]
    again = scripts.call('reprocess.py', '--failed', '--yes')
    assert again.returncode == 1 and 'requeued 1 document' in again.stdout
    assert database.get(ids[1])['status'] == 'good' and database.get(ids[4])['status'] == 'f'


def test_ctrl_c_at_the_question_changes_nothing(scripts: Scripts, database: Database) -> None:
    (doc_id,) = seed(database, 1, status='f')
    with at_a_terminal(scripts, '--failed') as (process, _):
        process.send(signal.SIGINT)
        assert process.end() == 130
    assert 'Traceback' not in process.output and database.get(doc_id)['status'] == 'f'


def test_without_a_terminal_nothing_is_done_unasked(scripts: Scripts, database: Database) -> None:
    seed(database, 2, status='f')
    before = sequence(database)
    done = scripts.call('reprocess.py', '--failed')
    assert done.returncode == 2 and '--yes' in done.stderr and len(done.stderr.splitlines()) == 1
    done = scripts.call('reprocess.py', 'doc999', '--failed')
    assert done.returncode == 2 and done.stderr.startswith('error: doc999: there is no such document\n')
    assert 'There is no terminal to ask at' in done.stderr and sequence(database) == before


def test_documents_of_the_original_scripts(scripts: Scripts, database: Database) -> None:
    database.bulk_docs(
        [
            {'_id': 'old', 'run': 'la01a000', 'status': 'failed move to sps', 'process': []},
            {'_id': 'hand', 'run': 'la01a000', 'status': 'under discussion', 'process': []},
            {'_id': 'odd', 'run': 'la01a000', 'status': 'failed move to sps', 'process': 'move_to_sps'},
        ]
    )
    told = scripts.call('reprocess.py', '--failed', 'move_to_sps', '--dry-run')  # they do not tell in which step
    assert told.returncode == 1 and 'no document has ever been at step move_to_sps' in told.stderr
    done = scripts.call('reprocess.py', '--failed', '--where-status', 'failed move to sps', '--yes')
    assert done.returncode == 1 and 'error: odd: its process is missing or no list' in done.stderr
    assert [database.get(doc_id)['status'] for doc_id in ('old', 'hand')] == ['good', 'under discussion']
    assert database.get('odd')['_rev'].startswith('1-')
    assert 'hand' in scripts.call('reprocess.py', '--failed', '--dry-run').stdout


def test_ids_that_are_not_there_or_not_meant(scripts: Scripts, database: Database) -> None:
    ids = seed(database, 2)
    database.put({**database.get(ids[0]), 'status': 'f'})
    done = scripts.call('reprocess.py', *ids, 'doc999', '_design/process', '--failed', '--yes')
    assert done.returncode == 1 and 'requeued 1 document' in done.stdout
    assert 'error: doc999: there is no such document' in done.stderr
    assert f'{ids[1]} has not failed' in done.stdout
    assert database.get('_design/process')['_rev'].startswith('1-')


def test_ids_may_follow_the_option_that_takes_a_step(scripts: Scripts, database: Database) -> None:
    ids = seed(database, 4, status='f')
    for arguments, number in ((ids[:1], 1), (ids[1:3], 2)):
        done = scripts.call('reprocess.py', '--failed', *arguments, '--yes')
        assert done.returncode == 0 and f'requeued {number} document' in done.stdout, done.stderr
    assert [database.get(doc_id)['status'] for doc_id in ids] == ['good', 'good', 'good', 'f']
    neither = scripts.call('reprocess.py', '--failed', 'doc999', '--yes')
    assert neither.returncode == 1 and 'no document has ever been at step doc999' in neither.stderr


def test_a_step_that_is_misspelt_is_an_error_that_names_the_others(scripts: Scripts, database: Database) -> None:
    seed(database, 2, process=[{'name': 'move_to_sps'}, {'name': 'signal_processing'}])
    before = sequence(database)
    for arguments in (
        ('reprocess.py', '--run', 'r', '--from', 'signal_procesing', '--yes'),
        ('reprocess.py', '--failed', 'signal_procesing', '--yes'),
        ('list_files.py', 'r', '--step', 'signal_procesing'),
        ('delete_originals.py', '--after', 'signal_procesing', '--days', '1', '--yes'),
        ('listen_run_complete.py', '--after', 'signal_procesing', '--once'),
    ):
        refused = scripts.call(*arguments)
        assert refused.returncode == 1, arguments
        assert refused.stderr.splitlines()[-1] == (
            'error: no document has ever been at step signal_procesing; steps that were done here: move_to_sps, '
            'signal_processing. Did you mean signal_processing?'
        )
    assert sequence(database) == before
    # Cut from all documents, a step was done all the same: the same command twice does no harm.
    for _ in range(2):
        cut = scripts.call('reprocess.py', '--run', 'r', '--from', 'move_to_sps', '--yes')
        assert cut.returncode == 0, cut.stderr


def test_watchers_and_listeners_wait_for_a_step_that_nobody_has_done_yet(scripts: Scripts, database: Database) -> None:
    seed(database, 1)
    (scripts.config.parent / 'raw').mkdir(exist_ok=True)
    nobody = 'no document has ever been at step copy; steps that were done here: '
    watching = ('delete_originals.py', '--after', 'copy', '--days', '1', '--yes', '--watch', '1')
    completing = ('listen_run_complete.py', '--after', 'copy')
    process = scripts.start(*completing)
    process.wait_for('waiting for the first document of copy')
    assert process.stop() == 0 and nobody not in process.output
    database.put({'_id': 'other', 'run': 'r', 'status': 'good', 'process': [{'name': 'first'}]})
    for arguments in (watching, completing):
        process = scripts.start(*arguments)
        process.wait_for(f'{nobody}first')
        assert process.is_running() and process.stop() == 0


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        ((), 'add what to do'),
        (('doc000',), 'add what to do: --failed requeues documents that failed, --from STEP has steps done again'),
        (('--run', 'r'), 'add what to do'),
        (('--where-status', 'f', '--force'), 'add what to do'),
        (('--from', 'first'), 'say which documents'),
        (('--from', 'first', '--force', '--yes'), 'say which documents'),
        (('doc000', '--from', ''), '--from needs the name of a step'),
        (('doc000', '--from'), 'expected one argument'),
        (('--range', 'doc000', '--failed'), 'expected 2 arguments'),
        (('--range', 'doc001', 'doc000', '--failed'), 'doc001 comes after doc000'),
        (('--failed', '--yes', '--dry-run'), 'not allowed with'),
        (('--failed', '--version-below', '3'), 'go with --from STEP'),
        (('--run', 'r', '--from', 'first', '--kind', 'f'), 'give --failed, too'),
        (('--from', 'first', '--version-below', ''), 'must not be empty'),
        (('--from', 'first', '--commit', 'HEAD'), 'no commit like'),
        (('--from', 'first', '--before', 'yesterday'), 'no time like'),
    ],
)
def test_commands_that_are_wrong_do_nothing(
    scripts: Scripts, database: Database, arguments: tuple[str, ...], says: str
) -> None:
    seed(database, 2, status='f')
    before = sequence(database)
    done = scripts.call('reprocess.py', *arguments)
    assert done.returncode == 2 and says in done.stderr and 'Traceback' not in done.stderr
    assert sequence(database) == before


def test_servers_and_databases_that_cannot_be_used(scripts: Scripts, empty_database: Database, server: Server) -> None:
    command = ('reprocess.py', '--failed', '--yes')
    no_design = scripts.call(*command)
    assert no_design.returncode == 1 and 'no design document' in no_design.stderr
    server.request('DELETE', empty_database.settings.dbname)
    no_database = scripts.call(*command)
    assert no_database.returncode == 1 and 'no such database' in no_database.stderr
    text = scripts.config.read_text()
    scripts.config.write_text(text.replace(f'username = {server.username}', 'username = nobody'))
    refused = scripts.call(*command)
    assert refused.returncode == 1 and "refused user 'nobody'" in refused.stderr
    for done in (no_design, no_database, refused):
        assert len(done.stderr.splitlines()) <= 2 and server.password not in done.stdout + done.stderr


def test_only_what_an_older_version_made_is_done_again(scripts: Scripts, database: Database) -> None:
    def step(doc: dict[str, Any]) -> dict[str, Any]:
        return {}

    for number, version in enumerate(('1', '2')):
        database.put({'_id': f'x{number}', 'run': 'r', 'status': 'good', 'process': []})
        assert once(step, database.settings, name='s', version=version) == 0
    database.put({'_id': 'y', 'run': 'other', 'status': 'good', 'process': []})
    for arguments, ids in (
        (('--version-below', '2'), ['x0']),
        (('--version-below', '2', '--run', 'other'), []),
        (('--before', '2020-01-01'), []),
        (('--before', '2120-01-01'), ['x0', 'x1']),
    ):
        shown = scripts.call('reprocess.py', '--from', 's', *arguments, '--dry-run')
        assert shown.returncode == 0, shown.stderr
        assert [doc_id for doc_id in ('x0', 'x1') if f'{doc_id}: s cut' in shown.stdout] == ids, arguments
    for arguments, says in (
        (('--version-below', 'v2'), "version 'v2' cannot be compared with those of s, which are numbers: 1, 2"),
        (('--commit', 'ffff'), 'nothing that s has left is by commit ffff; commits that there are: '),
    ):
        refused = scripts.call('reprocess.py', '--from', 's', *arguments, '--yes')
        assert refused.returncode == 1 and says in refused.stderr and refused.stderr.count('\n') == 1, refused.stderr
        assert len(database.get('x0')['process']) == 1
    done = scripts.call('reprocess.py', '--from', 's', '--version-below', '2', '--yes')
    assert done.returncode == 0 and 'made by version 1' in done.stdout and 'requeued 1 document' in done.stdout
    assert once(step, database.settings, name='s', version='2') == 0
    (entry,) = database.get('x0')['process']
    assert (entry['software']['step'], entry['pass']) == ('2', 2)
    assert (
        'there is nothing to requeue'
        in scripts.call('reprocess.py', '--from', 's', '--version-below', '2', '--yes').stdout
    )


def test_documents_of_runs_are_meant_by_their_names_alone(scripts: Scripts, database: Database) -> None:
    seed(database, 1, process=[{'name': 'move_to_sps'}, {'name': 'signal_processing'}])
    process = [{'name': 'run_complete'}, {'name': 'run_summary'}]
    database.put({'_id': 'doc', 'type': 'run', 'status': 'good', 'process': process})
    shown = scripts.call('reprocess.py', '--range', 'doc', 'doc999', '--from', 'signal_processing', '--dry-run')
    assert shown.returncode == 0 and '1 document would be requeued' in shown.stdout
    assert 'as wanted already' not in shown.stdout
    shown = scripts.call('reprocess.py', 'doc', '--from', 'signal_processing', '--dry-run')
    assert '1 document as wanted already: doc' in shown.stdout
    shown = scripts.call('reprocess.py', 'doc', '--from', 'run_summary', '--dry-run')
    assert '\ndoc  good    1\n' in shown.stdout, shown.stdout  # its run is its own


def test_help(scripts: Scripts) -> None:
    done = scripts.call('reprocess.py', '--help')
    assert done.returncode == 0 and '--config' in done.stdout and '--where-status' in done.stdout
