"""People see the farms that listeners work on."""

from __future__ import annotations

import json

import pytest

from edw.database.client import Database
from edw.errors import NotFound
from edw.operating import status
from edw.telling import farms
from edw.telling.farms import FarmStatus
from tests.scripts import Scripts

HERE = FarmStatus('host:1:a', 'analysis', room=64, running=31, nodes=8, away='', since=1.0)
AWAY = FarmStatus('host:2:b', 'fits', room=0, running=0, nodes=0, away='[tcp] it does not answer', since=2.0)


def test_farms_are_shown(database: Database, scripts: Scripts) -> None:
    farms.tell(database, HERE, seconds=1e9)
    farms.tell(database, AWAY, seconds=1e9)
    assert status.read(database).farms == [HERE, AWAY]
    shown = scripts.call('show_status.py').stdout
    assert [line.split() for line in shown.splitlines() if line.startswith('analysis')] == [
        ['analysis', '8', '64', '31', *words(shown, 'analysis'), 'host:1:a']
    ]
    assert 'the farm of fits is away for ' in shown and ': [tcp] it does not answer' in shown
    told = json.loads(scripts.call('show_status.py', '--json').stdout)['farms']
    assert told[0]['nodes'] == 8 and told[1]['away'] == AWAY.away
    checked = scripts.call('show_status.py', '--check')
    assert checked.returncode == 1 and 'the farm of fits is away: [tcp] it does not answer' in checked.stdout


def words(shown: str, step: str) -> list[str]:
    """The age in the line of a step, of one word or two."""
    (line,) = [line.split() for line in shown.splitlines() if line.startswith(step)]
    return line[4:-1]


def test_of_a_listener_that_is_gone_nothing_is_shown_for_long(database: Database) -> None:
    farms.tell(database, HERE, seconds=-100.0)
    farms.tell(database, AWAY, seconds=1e9)
    assert farms.read(database) == [AWAY]
    farms.withdraw(database, AWAY.listener)
    with pytest.raises(NotFound):
        database.get(farms.FARMS_ID)


def test_odd_notices_are_no_trouble(database: Database) -> None:
    odd = {'room': 'x', 'running': -1e300, 'nodes': [], 'away': 7, 'since': {}, 'again': 1e12, 'process': None}
    database.put({'_id': farms.FARMS_ID, 'listeners': {'odd': odd, 'none': 3}})
    (farm,) = farms.read(database)
    assert (farm.step, farm.room, farm.nodes, farm.away, farm.since) == ('None', 0, 0, '', None)
    database.put({**database.get(farms.FARMS_ID), 'listeners': []})
    assert farms.read(database) == []
