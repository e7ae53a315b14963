"""annotate.py on a database where listeners and other people are at work."""

from __future__ import annotations

from typing import Any

import pytest

import annotate
import show_status
from edw.database.client import Database
from edw.errors import EdwError
from edw.operating import annotations, status
from edw.operating.annotations import Said
from tests.loops import once, seed

SAID = Said('anna', 1000.0)


def call(database: Database, *arguments: str) -> int:
    return annotate.main([*arguments, '--config', str(database.settings.file), '--by', 'anna'])


def test_a_held_run_waits_until_it_is_released(database: Database) -> None:
    seed(database, 3)
    for doc in database.existing(['doc0000', 'doc0001', 'doc0002']).values():
        database.put({**doc, 'run': 'r0' if doc['_id'] != 'doc0002' else 'r1'})
    assert call(database, 'r0', '--hold', 'fridge at 30 mK') == 0
    once(lambda doc: {}, database.settings)
    assert [len(doc['process']) for doc in database.existing(['doc0000', 'doc0001', 'doc0002']).values()] == [0, 0, 1]
    found = status.read(database)
    assert found.others == {'held': 2} and found.failed == 0
    assert call(database, 'doc0000', '--release', '--comment', 'cold again') == 0
    once(lambda doc: {}, database.settings)
    doc = database.get('doc0000')
    assert len(doc['process']) == 1 and 'hold' not in doc and doc['comments'][0]['text'] == 'cold again'
    assert database.get('doc0001')['hold']['reason'] == 'fridge at 30 mK'


def test_others_change_it_at_the_same_time(database: Database) -> None:
    seed(database, 1)
    raced: list[Any] = []

    def change(doc: dict[str, Any]) -> dict[str, Any]:
        if len(raced) < 3:  # between the reading and the writing of each of the first tries
            raced.append(database.put({**database.get('doc0000'), 'operator': len(raced)}))
        return annotations.tag(doc, 'golden', SAID)

    outcome = annotations.annotate(database, ['doc0000'], change)
    doc = database.get('doc0000')
    assert outcome.is_complete and doc['operator'] == 2 and doc['tags'][0]['name'] == 'golden'


@pytest.mark.parametrize('name', ['nosuchrun', '_design/process'])
def test_a_name_that_is_not_there(database: Database, name: str) -> None:
    with pytest.raises(EdwError, match='no document and no run'):
        call(database, name, '--tag', 'x')


def test_as_wanted_already(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    seed(database, 2)
    assert call(database, 'doc0000', '--tag', 'golden', '--quality', 'good') == 0
    assert capsys.readouterr().out.splitlines()[-1] == '1 document is now tagged golden, of quality good'
    assert call(database, 'doc0000', 'doc0001', '--tag', 'golden') == 0
    assert capsys.readouterr().out.splitlines()[-1] == '1 document is now tagged golden, 1 as wanted already'
    assert call(database, 'doc0000', 'doc0001', '--hold', 'warm', '--priority', '10') == 0
    assert capsys.readouterr().out.splitlines()[-1] == '2 documents are now held, of priority 10'


def test_what_was_said_is_shown_with_the_document(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    seed(database)
    call(database, 'doc0000', '--hold', 'warm', '--tag', 'golden', '--quality', 'bad', '--comment', 'mains\x1b[31m')
    capsys.readouterr()
    assert show_status.main(['--doc', 'doc0000', '--config', str(database.settings.file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ['doc0000  held', 'held: warm', 'quality: bad', 'tags: golden']
    assert lines[4].endswith(' anna: mains\\x1b[31m')
