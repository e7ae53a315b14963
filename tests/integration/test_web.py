"""The overview of a database that holds anything."""

from __future__ import annotations

import time
from typing import Any

import pytest

from edw.database.client import Database
from web import live, pages, render

ODD: list[Any] = [None, True, 0, -1.5, '', '<b>', [], [None], {}, {'name': 3}, [{'name': ''}], [{'name': '<i>'}]]
ODD += [1e300, 1.7e308, -1.7e308, 253402300800, -62135596801, 2**53]  # the ends of floats, of years, of whole numbers


@pytest.fixture
def odd_database(database: Database) -> Database:
    docs: list[dict[str, Any]] = []
    for number, odd in enumerate(ODD):
        for field in ('status', 'process', 'claim', 'failures', 'run', 'datecreated'):
            doc = {
                '_id': f'{field}{number}',
                'run': 'r',
                'status': 'bad',
                'process': [],
                'failures': [{'process': 's'}],
            }
            docs.append({**doc, field: odd})
        entry = {'name': 's', 'finished': odd, 'started': odd, 'file': odd, 'log': odd}
        claim = {'process': odd, 'worker': odd, 'since': odd}
        failure = {'process': 's', 'error': odd, 'time': odd, 'attempt': odd}
        doc = {'run': 'q', 'status': 'good', 'process': [entry]}
        docs += [{**doc, '_id': f'e{number}'}, {**doc, '_id': f'c{number}', 'claim': claim}]
        docs.append({**doc, '_id': f'f{number}', 'status': 'bad', 'failures': [failure]})
    database.bulk_docs(docs)
    return database


def test_the_overview_can_be_made_of_any_documents(odd_database: Database) -> None:
    reading = live.read(odd_database)
    html = render.html('live.html', reading=reading, error=None, now=time.time(), lease=30.0)
    assert '<strong>Live</strong>' in html
    assert '<b>' not in html.replace('<b class="count">', '') and '<i>' not in html
    for failure in reading.status.failures:
        assert len(pages.failed_rows(odd_database, failure.step, failure.kind, 1000)) == failure.count


def test_the_overview_of_an_empty_database(database: Database) -> None:
    html = render.html('live.html', reading=live.read(database), error=None, now=time.time(), lease=30.0)
    assert 'No document, and no step, yet.' in html
