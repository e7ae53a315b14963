"""The floor: what any correct solution must ask of the database, by one client, back to back, and nothing else."""

from __future__ import annotations

import json
import time

import requests

from bench.store import Store
from bench.work import STEPS, Document, entry, paced

BULK = 1000  # documents in one request, as in CouchDB's own advice for bulk writes


class Floor:
    """One client, back to back; there are no listeners."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def throughput(self, number: int, listeners: int) -> float:
        """See Contender."""
        return _run(self._store.url, self._store.login, self._store.new(number))

    def latencies(self, number: int, rate: float, listeners: int) -> list[float]:
        """See Contender."""
        return [_run(self._store.url, self._store.login, [doc]) for doc in paced(self._store.new(number), rate)]


def _run(url: str, login: tuple[str, str], docs: list[Document]) -> float:
    """Insert, and per step read the view once and write the results in bulk; returns seconds."""
    session = requests.Session()
    session.auth = login
    started = time.perf_counter()
    _write(session, url, docs)
    for number, step in enumerate(STEPS):
        after = STEPS[number - 1] if number else 0
        query = {
            'startkey': json.dumps([after]),
            'endkey': json.dumps([after, {}]),
            'reduce': 'false',
            'include_docs': 'true',
        }
        answer = session.get(f'{url}/_design/process/_view/lastproc', params=query, timeout=600)
        waiting = [row['doc'] for row in answer.json()['rows']]
        assert len(waiting) == len(docs), f'{len(waiting)} of {len(docs)} documents wait for {step}'
        for doc in waiting:
            doc['process'].append(entry(step, doc))
        _write(session, url, waiting)
    return time.perf_counter() - started


def _write(session: requests.Session, url: str, docs: list[Document]) -> None:
    for start in range(0, len(docs), BULK):
        answer = session.post(f'{url}/_bulk_docs', json={'docs': docs[start : start + BULK]}, timeout=600)
        answer.raise_for_status()
        assert all('rev' in row for row in answer.json())
