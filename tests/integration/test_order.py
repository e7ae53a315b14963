"""What is taken first of all that waits."""

from __future__ import annotations

from typing import Any

import pytest

import annotate
import listener
from edw.database import views
from edw.database.client import Database
from tests.loops import seed
from tests.scripts import Scripts

PRIORITIES = {'doc0003': 5, 'doc0007': 5.5, 'doc0001': -1, 'doc0002': 'high'}


def taken(database: Database, order: str, batch: int = 3) -> list[str]:
    """Ids in the order in which callbacks ran."""
    seen: list[str] = []

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        seen.append(doc['_id'])
        return {}

    step = listener.Step('first', 0, 'first failed')
    listener.Listener(
        callback, step, database.settings, workers=1, batch=batch, once=True, order=views.ORDERS[order]
    ).run()
    return seen


@pytest.mark.parametrize('order', views.ORDERS)
def test_the_order(database: Database, order: str) -> None:
    ids = seed(database, 10)
    for doc_id, priority in PRIORITIES.items():
        database.put({**database.get(doc_id), 'priority': priority})
    first = [
        'doc0007',
        'doc0003',
        *(doc_id for doc_id in ids if doc_id not in ('doc0001', 'doc0003', 'doc0007')),
        'doc0001',
    ]
    expected = {'oldest': ids, 'newest': ids[::-1], 'priority': first}
    assert taken(database, order) == expected[order]


def test_what_comes_later_and_is_newer_goes_first(database: Database) -> None:
    seed(database, 6)
    seen: list[str] = []

    def callback(doc: dict[str, Any]) -> dict[str, Any]:
        seen.append(doc['_id'])
        if len(seen) == 1:
            database.put({'_id': 'doc0009', 'status': 'good', 'process': []})
        return {}

    step = listener.Step('first', 0, 'first failed')
    newest = views.ORDERS['newest']
    listener.Listener(callback, step, database.settings, workers=1, batch=1, once=True, order=newest).run()
    assert seen[0] == 'doc0005' and seen.index('doc0009') <= 2 and len(seen) == 7


def test_the_options(scripts: Scripts, database: Database) -> None:
    seed(database, 3)
    config = ['--config', str(database.settings.file)]
    assert annotate.main(['doc0001', '--priority', '-2.5', *config]) == 0
    assert database.get('doc0001')['priority'] == -2.5
    assert annotate.main(['doc0001', '--priority', '0', *config]) == 0
    assert 'priority' not in database.get('doc0001')
    assert scripts.call('listen_newfiles.py', '--once', '--order', 'biggest').returncode == 2
    with pytest.raises(SystemExit):
        annotate.main(['doc0001', '--priority', 'inf', *config])
