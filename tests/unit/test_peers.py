"""Whose lease has ended, by the observer's own clock."""

from __future__ import annotations

from typing import cast

import pytest

from edw.claiming.cluster import Disputes
from edw.claiming.peers import Peers
from edw.database.client import Database
from edw.errors import Unavailable
from edw.model import documents, listeners
from tests.unit.memory import SETTINGS, MemoryDatabase, new

PEER = 'there:7:fff'


class Observed:
    """A step whose only document a peer holds, and a clock."""

    def __init__(self, peer: object = PEER) -> None:
        self.now = 1000.0  # as awake machines count
        self.slept = 7200.0
        self.database = MemoryDatabase(new('a'))
        self.database.put(documents.claimed(self.database.get('a'), 'first', cast(str, peer), 1.0))
        database = cast(Database, self.database)
        clocks = (lambda: self.now + self.slept), (lambda: self.now)
        self.peers = Peers(database, 'first', 'here:1:abc', Disputes(database), *clocks)

    def beat(self, counter: int) -> None:
        self.database.put({'_id': listeners.heartbeat_id(PEER), 'counter': counter})

    def after(self, seconds: float) -> int:
        self.now += seconds
        return self.peers.check()

    def is_released(self) -> bool:
        return 'claim' not in self.database.get('a')


def test_a_peer_is_dead_when_its_counter_stood_still_for_a_lease() -> None:
    observed = Observed()
    observed.beat(1)
    assert [observed.after(10.0) for _ in range(4)] == [0, 0, 0, 1]
    assert observed.is_released()


def test_a_counter_that_moves_is_alive_however_slowly() -> None:
    observed = Observed()
    for beat in range(20):
        observed.beat(beat)
        assert observed.after(10.0) == observed.after(10.0) == 0
    assert not observed.is_released()


def test_one_without_a_heartbeat_has_a_lease_too() -> None:
    for peer in (PEER, 'something else', 17, None, {'a': 1}):
        observed = Observed(peer)
        assert [observed.after(10.0) for _ in range(4)] == [0, 0, 0, 1], peer


def test_what_stood_still_while_nobody_looked_says_nothing() -> None:
    observed = Observed()
    observed.beat(1)
    observed.after(0.0)
    assert observed.after(10 * SETTINGS.lease) == 0  # an outage: its writer was cut off, too
    assert [observed.after(10.0) for _ in range(3)] == [0, 0, 1]


def test_what_stood_still_in_a_sleep_says_nothing() -> None:
    """The peer's machine may have slept as well, and awakes with this one."""
    observed = Observed()
    observed.beat(1)
    assert [observed.after(10.0) for _ in range(3)] == [0, 0, 0]
    observed.slept += 3600.0
    assert observed.after(10.0) == 0
    observed.beat(2)
    assert [observed.after(10.0) for _ in range(3)] == [0, 0, 0]
    assert observed.after(10.0) == 1


def test_the_next_check_is_a_heartbeat_away_or_where_a_lease_ends() -> None:
    observed = Observed()
    observed.after(0.0)
    assert observed.peers.due == observed.now + SETTINGS.heartbeat
    observed.after(15.0)
    observed.after(7.0)
    assert observed.peers.due == 1000.0 + SETTINGS.lease


def test_ones_own_claims_are_no_business_of_the_check() -> None:
    observed = Observed('here:1:abc')
    assert [observed.after(10.0) for _ in range(9)] == [0] * 9


def test_a_check_that_was_broken_off_forgets_nothing() -> None:
    """As where the server refuses one of many requests each time, because there are too many a second."""
    observed = Observed()
    observed.beat(1)
    observed.after(0.0)
    for _ in range(2):
        observed.database.views_to_refuse = 1
        with pytest.raises(Unavailable):
            observed.after(10.0)
        assert observed.after(0.0) == 0
    assert observed.after(10.0) == 1
