"""Names that only look the same: CouchDB sorts them as one (ICU collation), and the listener tells them apart."""

from __future__ import annotations

import unicodedata

import pytest

from edw.database.client import Database
from edw.operating import status
from tests.loops import names, once

COMPOSED = unicodedata.normalize('NFC', 'dépouillement')
LOOKALIKES = [unicodedata.normalize('NFD', COMPOSED), COMPOSED + '\u200d', '\u00ad' + COMPOSED, COMPOSED + '\x01']


@pytest.mark.parametrize('lookalike', LOOKALIKES, ids=ascii)
@pytest.mark.parametrize('batch', [1, 500])
def test_documents_behind_a_name_that_looks_the_same_hold_up_no_others(
    database: Database, lookalike: str, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    docs = {f'aa{number:02d}': lookalike for number in range(30)}
    docs |= {f'bb{number:02d}': COMPOSED for number in range(5)}
    docs['cc'] = lookalike
    database.bulk_docs([{'_id': key, 'status': 'good', 'process': [{'name': name}]} for key, name in docs.items()])
    asked = []
    view = database.view
    database.view = lambda *arguments, **query: (asked.append(query), view(*arguments, **query))[1]
    assert once(lambda doc: {}, database.settings, name='next', after=COMPOSED, batch=batch) == 0
    for doc in database.existing(docs).values():
        assert names(doc)[1:] == (['next'] if docs[doc['_id']] == COMPOSED else [])
    found = status.read(database)
    (step,) = [step for step in found.steps if step.name == 'next']
    assert (step.waiting, step.done, found.finished) == (0, 5, 5)
    assert any(ascii(lookalike) in text and ascii(COMPOSED) not in text for text in found.unplaced) is False
    assert any(f'31 behind {lookalike!a}' in text for text in found.unplaced)
    assert caplog.text.count('it is left alone') <= 1


def test_each_of_two_names_that_look_the_same_has_its_own_step(database: Database) -> None:
    database.bulk_docs(
        [
            {'_id': f'{number}{index}', 'status': 'good', 'process': [{'name': name}]}
            for number in range(4)
            for index, name in enumerate((COMPOSED, LOOKALIKES[0]))
        ]
    )
    once(lambda doc: {}, database.settings, name='next', after=COMPOSED)
    once(lambda doc: {}, database.settings, name='other', after=LOOKALIKES[0])
    for doc in database.existing([f'{number}{index}' for number in range(4) for index in range(2)]).values():
        assert names(doc) in ([COMPOSED, 'next'], [LOOKALIKES[0], 'other'])
