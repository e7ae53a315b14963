"""The overview of a database that holds anything."""

from __future__ import annotations

import time
from typing import Any

import pytest

from edw.database.client import Database
from edw.model.run_state import state_of
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


RUN = {'_id': 'ma22a000', 'type': 'run', 'status': 'good'}
COMPLETE = {'name': 'run_complete', 'log': '4 files are past signal_processing, 0 failed'}


def state_html(doc: Any) -> str:
    return render.html('run_state.html', state=state_of(doc), kinds=[])


def test_a_run_is_shown_with_its_state_and_what_its_summary_found() -> None:
    assert '>open' in state_html(None) and '>open' in state_html({'_id': 'ma22a000', 'status': 'good'})
    assert '>closed' in state_html({**RUN, 'status': 'closed', 'process': []})
    assert '>complete' in state_html({**RUN, 'process': [COMPLETE]})
    line = {'energy': 356.013, 'fwhm': 0.8123, 'fwhm_uncertainty': None, 'counts': 141.2, 'counts_uncertainty': 11.9}
    found = {'baseline_fwhm': 0.85, 'theoretical_fwhm': 0.84, 'lines': [line]}
    summary = {'name': 'run_summary', 'log': '1200 events of 4 files', 'detectors': {'detector_a': found}}
    html = state_html({**RUN, 'process': [COMPLETE, summary], 'claim': {'process': 'archive'}})
    for text in (
        '>run_summary',
        '1200 events of 4 files',
        '0.850',
        'theory 0.840',
        '0.812',
        '141 ± 12',
        'archive is at',
    ):
        assert text in html, text
    assert 'href="/document?id=ma22a000"' in html
    assert 'class="text bad">no run summary' in state_html({**RUN, 'status': 'no run summary', 'process': [COMPLETE]})


@pytest.mark.parametrize('odd', ODD)
def test_the_state_of_any_run_can_be_shown(odd: Any) -> None:
    entry = {'name': odd, 'log': odd, 'detectors': odd}
    lines = {'name': 's', 'detectors': {'a': {'baseline_fwhm': odd, 'lines': odd}, 'b': {'lines': [odd]}, 'c': odd}}
    energy = {'name': 's', 'detectors': {'<b>': {'lines': [{'energy': odd, 'fwhm': odd, 'counts': odd}]}}}
    for doc in (
        *({**RUN, field: odd} for field in ('status', 'process', 'claim', 'type')),
        {**RUN, 'process': [entry, lines, energy, odd]},
        {**RUN, 'status': odd, 'process': [energy], 'claim': {'process': odd}},
    ):
        html = state_html(doc)
        assert '<b>' not in html and '<i>' not in html and 'State' in html
