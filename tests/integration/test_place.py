"""Two steps at one place in the chain would share the documents: the second one is refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import listener
from edw.database.client import Database
from edw.errors import SettingsError
from edw.listening import place
from edw.listening.steps import Step
from tests.loops import Running, names, once, seed
from tests.scripts import Scripts, wait_until


def callback(doc: dict[str, Any]) -> dict[str, Any]:
    return {}


def start(database: Database, name: str, after: str | int, *instead_of: str) -> None:
    step = Step(name, after, f'{name} failed')
    listener.Listener(callback, step, database.settings, workers=1, batch=9, once=True, instead_of=instead_of).run()


def test_a_place_that_another_step_has_is_refused(database: Database) -> None:
    seed(database, 2)
    once(callback, database.settings)
    with pytest.raises(
        SettingsError, match=r'(?s)other would take new documents, and so does first:.*--instead-of first'
    ):
        start(database, 'other', 0)
    start(database, 'second', 'first')
    with pytest.raises(SettingsError, match='third would take documents after first, and so does second'):
        start(database, 'third', 'first')
    assert all(names(doc) == ['first', 'second'] for doc in database.existing(['doc0000', 'doc0001']).values())


def test_a_step_replaces_another(database: Database) -> None:
    seed(database, 1)
    once(callback, database.settings)
    database.put({'_id': 'x', 'status': 'good', 'process': []})
    start(database, 'renamed', 0, 'first')
    assert names(database.get('x')) == ['renamed']
    start(database, 'renamed', 0)  # from then on it has the place itself


def test_a_step_that_is_at_work_there_has_the_place_before_it_was_ever_done(database: Database) -> None:
    seed(database, 1)
    claim = {'process': 'first', 'worker': 'here:1:abc', 'since': 1.0}
    database.put({**database.get('doc0000'), 'claim': claim})
    database.put(
        {'_id': 'elsewhere', 'status': 'good', 'process': [{'name': 'first'}], 'claim': claim | {'process': 'b'}}
    )
    with pytest.raises(SettingsError, match='and so does first:'):
        place.check(database, Step('other', 0, 'failed'))
    place.check(database, Step('other', 0, 'failed'), ['first'])
    place.check(database, Step('first', 0, 'failed'))
    place.check(database, Step('0', 'x', 'failed'))


def test_a_step_before_that_nobody_has_ever_done_is_named(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    seed(database, 1)
    with caplog.at_level(logging.INFO):
        start(database, 'second', 'frist')
    assert 'second: waiting for the first document of frist' in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    once(callback, database.settings)
    caplog.clear()
    start(database, 'second', 'frist')
    assert 'steps that were done here: first' in caplog.text
    caplog.clear()
    start(database, 'second', 'first')
    start(database, 'summary', 'run_complete')
    assert 'no document has ever been' not in caplog.text


def test_a_step_behind_itself_is_refused(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    seed(database, 1)
    once(callback, database.settings)
    start(database, 'second', 'first')
    with pytest.raises(SettingsError, match=r'(?s)first would take documents after second.*--instead-of first'):
        start(database, 'first', 'second')
    assert names(database.get('doc0000')) == ['first', 'second']
    start(database, 'first', 'second', 'first')
    assert names(database.get('doc0000')) == ['first', 'second', 'first']
    start(database, 'first', 0)  # where it was before, as ever


def test_a_step_that_moves_is_named(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    seed(database, 1)
    once(callback, database.settings)
    start(database, 'third', 'first')
    start(database, 'second', 'first', 'third')
    assert 'so far' not in caplog.text
    database.put({'_id': 'x', 'status': 'good', 'process': [{'name': 'first'}, {'name': 'second'}]})
    start(database, 'third', 'second')
    assert 'third was done after first so far, and is to come after second now' in caplog.text
    assert names(database.get('x')) == ['first', 'second', 'third']
    caplog.clear()
    start(database, 'third', 'second')
    assert 'so far' not in caplog.text


def test_several_listeners_of_one_step_are_no_others(database: Database) -> None:
    seed(database, 20)
    with Running(callback, database.settings), Running(callback, database.settings):
        wait_until(lambda: all(names(doc) for doc in database.existing(f'doc{n:04d}' for n in range(20)).values()))


def test_the_script_says_so_and_ends(scripts: Scripts, database: Database) -> None:
    database.put({'_id': 'x', 'status': 'good', 'process': [{'name': 'copy'}]})
    refused = scripts.call('listen_newfiles.py', '--once')
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith('start it with --instead-of copy.')
    assert scripts.call('listen_newfiles.py', '--once', '--instead-of', 'copy').returncode == 0


def test_a_row_that_is_older_than_its_document_is_no_step_at_work(database: Database) -> None:
    class Older(Database):
        """Answers the view of claims from before the step was done, with the document as it is."""

        def view(self, viewname: str, **query: Any) -> dict[str, Any]:
            if not viewname.endswith('/claims'):
                return super().view(viewname, **query)
            row = {'id': 'x', 'key': ['first', 'here:1:abc'], 'value': 1}
            return {'rows': [row | ({} if query.get('group_level') else {'doc': self.get('x')})]}

    database.put({'_id': 'x', 'status': 'good', 'process': [{'name': 'first'}]})
    place.check(Older(database.settings), Step('second', 'first', 'second failed'))


@pytest.mark.parametrize('odd', [['first'], {'a': 1}, None, 1])
def test_a_claim_of_somebody_else_that_names_no_step_holds_nobody_up(database: Database, odd: Any) -> None:
    database.put({'_id': 'odd', 'status': 'good', 'process': [], 'claim': {'process': odd, 'worker': odd}})
    seed(database, 1)
    start(database, 'first', 0)
    assert names(database.get('doc0000')) == ['first']
