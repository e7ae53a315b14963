"""Documents of any shape: the views and the listener agree on them, and nothing stops, or goes round in circles."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import listener
from edw.database import views
from edw.database.client import Database
from edw.listening import in_flight
from edw.model import documents

EXACT = 2**53  # the largest whole number that JavaScript keeps
STEPS = ('first', 'second')
MEGABYTE = 2**20
GOOD: dict[str, Any] = {'status': 'good', 'process': []}

text = st.text(st.characters(exclude_categories=['Cs']), max_size=12) | st.sampled_from(
    [
        'good',
        'first',
        'first\ufff0',
        "'",
        '"',
        '</script>',
        '/',
        '?x=1',
        '%2F',
        '0',
        '\u2028',
        'ü',
        '__proto__',
        'length',
    ]
)
numbers = st.integers(-EXACT, EXACT) | st.floats(allow_nan=False, allow_infinity=False, width=32)
anything = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
entry = st.fixed_dictionaries({'name': st.sampled_from(STEPS) | anything}, optional={'file': anything})
process = st.just([]) | st.lists(entry | anything, max_size=3) | anything
document = st.fixed_dictionaries(
    {},
    optional={
        'status': st.just('good') | anything,
        'process': process,
        'claim': anything,
        'failures': anything,
        'original_file': anything,
        'md5sum': anything,
    },
)
name = st.text(st.characters(exclude_categories=['Cs', 'Cc']), min_size=1, max_size=20)
unique = itertools.count()


def put(database: Database, docs: dict[str, dict[str, Any]]) -> None:
    rows = database.bulk_docs([{**doc, '_id': doc_id} for doc_id, doc in docs.items()])
    assert all(row.get('ok') for row in rows), rows


def waiting(database: Database, after: str | int) -> set[str]:
    rows = database.view(database.settings.viewname, startkey=[after], endkey=[after, {}], reduce=False)['rows']
    return {row['id'] for row in rows}


@settings(max_examples=settings.default.max_examples // 15, suppress_health_check=list(HealthCheck))
@given(docs=st.lists(st.tuples(name, document), min_size=20, max_size=60))
def test_any_document_is_processed_failed_or_left_alone(
    database: Database, docs: list[tuple[str, dict[str, Any]]]
) -> None:
    run = next(unique)
    given_docs = {f'{run}/{number}?{doc_id}': doc for number, (doc_id, doc) in enumerate(docs)}
    put(database, given_docs)
    given_docs = database.existing(given_docs)  # numbers as the server has them
    free = {doc_id for doc_id, doc in given_docs.items() if documents.is_free(doc, 0)}
    assert waiting(database, 0) == free
    for after in STEPS:
        assert waiting(database, after) & set(given_docs) == {
            doc_id for doc_id, doc in given_docs.items() if documents.is_free(doc, after)
        }

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        return {'length': len(doc['original_file'])}  # of what may be missing, or of no length

    at_once = dataclasses.replace(database.settings, retry_pause=0.0)
    for step, after in zip(STEPS, (0, 'first'), strict=True):
        # Or a document that has the second step first would have the place of the first one.
        others = [name for _, name in views.edges(database)]
        others += [name for name in views.counts(database, views.CLAIMS) if isinstance(name, str)]
        options: dict[str, Any] = {'settings': at_once, 'once': True, 'instead_of': others}
        listener.run(callback, name=step, after=after, failed=f'{step} failed', **options)
        assert waiting(database, after) == set()
    for doc_id, doc in database.existing(given_docs).items():
        before = given_docs[doc_id]
        if doc_id in free or documents.is_free(before, 'first'):
            assert 'claim' not in doc or doc['claim'] is None
            failed = doc['status'] in [f'{step} failed' for step in STEPS]
            assert failed or documents.last_step(doc) == 'second'
            if failed:
                assert doc['failures'][-1]['attempt'] == database.settings.attempts
        else:
            assert doc == before
    # Those of this run wait for nothing any more; the next one begins with none.
    assert not any(waiting(database, after) for after in (0, 'first'))


def test_a_very_large_document(database: Database) -> None:
    put(database, {'large': {'status': 'good', 'process': [], 'payload': 'x' * (4 * MEGABYTE)}, 'small': GOOD})
    for step, after in zip(STEPS, (0, 'first'), strict=True):
        settings_ = database.settings
        assert listener.run(lambda doc: {}, name=step, after=after, failed='f', settings=settings_, once=True) == 0
    assert [entry['name'] for entry in database.get('large')['process']] == list(STEPS)


def test_a_result_that_the_server_refuses_is_a_failure(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CouchDB's max_document_size, or a validation function of the site, does to a result."""
    refuse = "function(doc) { if (JSON.stringify(doc).indexOf('forbidden word') >= 0) throw({forbidden: 'not here'}); }"
    database.put({'_id': '_design/site', 'validate_doc_update': refuse})
    put(database, {'refused': GOOD, 'taken': GOOD})

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        return {'log': 'forbidden word' if doc['_id'] == 'refused' else 'all right'}

    monkeypatch.setattr(in_flight, 'FIRST_OFFER', 0.05)
    monkeypatch.setattr(in_flight, 'PATIENCE', 0.0)
    failed = listener.run(callback, name='first', after=0, failed='f', settings=database.settings, once=True)
    if database.get('refused')['status'] == 'good':
        pytest.skip('the embedded server does not know validation functions')
    assert failed == 1
    doc = database.get('refused')
    assert doc['status'] == 'f' and doc['process'] == [] and 'claim' not in doc
    assert (
        'the database refused the result' in doc['failures'][0]['error'] and 'not here' in doc['failures'][0]['error']
    )
    assert database.get('taken')['process'][0]['log'] == 'all right'


def test_a_document_that_cannot_be_claimed_is_left_alone(database: Database) -> None:
    refuse = "function(doc) { if (doc._id === 'fixed' && doc.claim) throw({forbidden: 'hands off'}); }"
    put(database, {'fixed': GOOD, 'x1': GOOD, 'x2': GOOD})
    database.put({'_id': '_design/site', 'validate_doc_update': refuse})
    listener.run(lambda doc: {}, name='first', after=0, failed='f', settings=database.settings, once=True, batch=1)
    assert database.get('x1')['process'] and database.get('x2')['process']
