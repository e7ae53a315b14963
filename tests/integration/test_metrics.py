"""The metrics of a listener say what happened to real documents on a real server."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import listener
from edw.config import Settings
from edw.database import views
from edw.database.client import Database
from edw.database.retry import Outage
from edw.errors import EdwError, Unavailable
from edw.listening import exporter, metrics
from edw.listening.exporter import Exporter
from edw.listening.steps import Step
from edw.model import documents
from tests.integration.test_design import ODD_DOCUMENTS
from tests.integration.test_listener import STEP, edit, seed
from tests.scripts import wait_until

FIRST = Step(**STEP)


def value(exported: Exporter, name: str, **labels: str) -> float:
    found = exported.registry.get_sample_value(name, {'step': FIRST.name, **labels})
    assert found is not None, name
    return found


def attempts(exported: Exporter) -> dict[str, float]:
    return {name: value(exported, 'edw_attempts_total', outcome=name) for name in metrics.OUTCOMES}


def work_off(callback: Any, settings: Settings, exported: Exporter) -> None:
    step = dataclasses.replace(FIRST, when=lambda doc: doc.get('skip') is None or 'not for it')
    listener.Listener(callback, step, settings, workers=1, batch=100, once=True, metrics=exported).run()


def test_attempts_are_counted_by_what_became_of_them(database: Database) -> None:
    fails, fails_once, lost, edited, done = seed(database, 5)
    database.put({'_id': 'skipped', 'status': 'good', 'process': [], 'skip': True})
    calls: Counter[str] = Counter()

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        calls[doc['_id']] += 1
        if doc['_id'] == fails or (doc['_id'] == fails_once and calls[fails_once] == 1):
            raise RuntimeError('no')
        if doc['_id'] == lost:
            edit(Database(database.settings), lost, claim=None, status='taken away')
        if doc['_id'] == edited:
            edit(Database(database.settings), edited, process=[{'name': 'another'}])
        return {}

    exported = Exporter(FIRST)
    work_off(callback, database.settings, exported)
    assert attempts(exported) == {'success': 2, 'skipped': 1, 'retried': 3, 'failed': 1, 'lost': 2}
    assert value(exported, 'edw_failures_total', kind='RuntimeError') == 4
    assert database.get(done)['process'][0]['name'] == database.get(fails_once)['process'][0]['name'] == 'first'
    assert value(exported, 'edw_callback_seconds_count') == sum(calls.values()) == 8
    assert value(exported, 'edw_documents_in_flight') == 0


def test_documents_in_flight_are_counted_while_they_are(database: Database) -> None:
    exported = Exporter(FIRST)
    seen = []

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        # It may begin before the listener, which gave it to the engine, has counted it.
        wait_until(lambda: value(exported, 'edw_documents_in_flight') == 1)
        seen.append(doc['_id'])
        return {}

    ids = seed(database)
    work_off(callback, database.settings, exported)
    assert seen == ids and value(exported, 'edw_documents_in_flight') == 0


def test_what_waits_and_how_long_it_waited(database: Database) -> None:
    exported = Exporter(FIRST)
    assert math.isnan(value(exported, 'edw_documents_waiting'))
    old = float(int(time.time()) - 100)  # whole, because the embedded server rounds the keys of views
    seed(database, 3, datecreated=old)
    database.put({'_id': 'timeless', 'status': 'good', 'process': []})
    database.put({'_id': 'later', 'status': 'good', 'process': [{'name': 'first', 'finished': 1.0}]})
    assert views.waiting_behind(database, 0) == views.Waiting(4, old)
    assert views.waiting_behind(database, 'first') == views.Waiting(1, 1.0)
    assert views.waiting_behind(database, 'nobody') == views.Waiting()
    work_off(lambda doc: {}, database.settings, exported)
    # As counted at the first sweep, before anything was taken.
    assert value(exported, 'edw_documents_waiting') == 4
    assert value(exported, 'edw_oldest_waiting_timestamp_seconds') == old
    assert value(exported, 'edw_wait_seconds_count') == 3
    assert value(exported, 'edw_wait_seconds_bucket', le='60.0') == 0
    assert value(exported, 'edw_wait_seconds_sum') >= 300
    exported.swept(views.waiting_behind(database, 0))
    assert value(exported, 'edw_documents_waiting') == 0
    assert math.isnan(value(exported, 'edw_oldest_waiting_timestamp_seconds'))


def test_view_and_listener_agree_since_when_a_document_waits(database: Database) -> None:
    timed = [
        {**doc, 'datecreated': created, 'process': process}
        for doc in ({'status': 'good'},)
        for created in (12.5, 7, True, None, 'noon')
        for process in ([], [{'name': 'a', 'finished': 3}], [{'name': 'a', 'finished': '3'}], [{'name': 'a'}])
    ]
    docs = {f'doc{number}': {'_id': f'doc{number}', **doc} for number, doc in enumerate(ODD_DOCUMENTS + timed)}
    assert all(row.get('ok') for row in database.bulk_docs(list(docs.values())))
    rows = database.view('_design/process/_view/queue', reduce=False)['rows']
    assert len(rows) > len(timed)
    assert [row['key'][2] for row in rows] == [documents.waiting_since(docs[row['id']]) for row in rows]


def test_claims_of_a_dead_worker_are_counted(database: Database) -> None:
    settings = dataclasses.replace(database.settings, heartbeat=0.1, lease=0.5)
    claim = {'process': 'first', 'worker': 'gone:1:abc', 'since': 0}
    seed(database, 3, claim=claim)
    exported = Exporter(FIRST)
    loop = listener.Listener(
        lambda doc: loop.stop() or {}, FIRST, settings, workers=1, batch=100, once=False, metrics=exported
    )
    loop.run()
    assert value(exported, 'edw_claims_released_total') == 3


def test_outages_and_the_last_contact() -> None:
    exported = Exporter(FIRST)
    outage = Outage(exported.outage, exported.reached)
    assert value(exported, 'edw_server_last_contact_timestamp_seconds') == 0
    for _ in range(2):
        outage.begin(Unavailable('gone'))
        outage.begin(Unavailable('still gone'))
        before = time.time()
        outage.end()
    assert value(exported, 'edw_server_outages_total') == 2
    assert value(exported, 'edw_server_last_contact_timestamp_seconds') >= before


def test_a_scrape_gets_the_text_and_a_taken_port_is_said() -> None:
    server = exporter.serve(Exporter(FIRST), '127.0.0.1', 0)
    try:
        with urlopen(f'http://127.0.0.1:{server.server_port}/metrics', timeout=30) as answer:
            text = answer.read().decode()
        assert 'edw_attempts_total{outcome="success",step="first"} 0.0' in text
        assert '_created' not in text
        with pytest.raises(EdwError, match=f'127.0.0.1:{server.server_port} cannot be listened on: Address already'):
            exporter.serve(Exporter(FIRST), '127.0.0.1', server.server_port)
    finally:
        server.shutdown()
        server.server_close()


def test_how_full_the_disks_are(settings: Settings, tmp_path: Path) -> None:
    exported = Exporter(FIRST, {'raw': str(tmp_path), 'sps': str(tmp_path / 'nowhere')})
    free, size = (
        exported.registry.get_sample_value(name, {'folder': 'raw'})
        for name in ('edw_disk_free_bytes', 'edw_disk_size_bytes')
    )
    assert free is not None and size is not None and 0 < free < size
    assert exported.registry.get_sample_value('edw_disk_free_bytes', {'folder': 'sps'}) is None
