"""What the bench fills a database with."""

from __future__ import annotations

import json
from collections import Counter

from bench.large import catalogue
from bench.work import STEPS
from edw.model import documents
from edw.registering import runs


def test_a_catalogue_is_as_the_suite_leaves_it() -> None:
    docs = catalogue.documents(0, 6_000)
    assert len({doc['_id'] for doc in docs}) == len(docs) and max(Counter(doc['run'] for doc in docs).values()) == 200
    assert all(runs.run_of(doc['_id']) == doc['run'] for doc in docs)
    assert {tuple(entry['name'] for entry in doc['process']) for doc in docs} == {(), STEPS[:1], STEPS}
    states = Counter(doc['status'] for doc in docs)
    assert states.keys() == {'good', 'held', 'failed move to sps', 'signal processing failure'}
    assert states['good'] > 0.95 * len(docs)
    assert all((documents.failed_step(doc) is not None) == ('failures' in doc) for doc in docs)
    assert 900 < len(json.dumps(docs)) / len(docs) < 1500


def test_documents_of_a_catalogue_depend_on_their_numbers_alone() -> None:
    assert catalogue.documents(1_000_199, 2) == [*catalogue.documents(1_000_199, 1), *catalogue.documents(1_000_200, 1)]
    assert catalogue.run_of(1_000_199) < catalogue.run_of(1_000_200)
