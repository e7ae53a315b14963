"""Whose lease has ended, by the observer's own clock."""

from __future__ import annotations

import heapq
import math
import random
from typing import cast

import pytest

from edw.claiming.cluster import Disputes
from edw.claiming.peers import OBSERVED, Peers, followers
from edw.database.client import Database
from edw.errors import Unavailable
from edw.model import documents, listeners
from edw.model.documents import Document
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


class Crowd:
    """Many listeners of a step, each with a document, that look and beat at times of their own, and a clock."""

    def __init__(self, number: int, seed: int = 1) -> None:
        uniform = random.Random(seed).uniform
        self.now = 1000.0
        self.names = [f'host{index % 12}:{index}:{index:04x}' for index in range(number)]
        self.died: dict[str, float] = {}
        self.stuck: set[str] = set()  # beat, and check nobody
        self.phase = {name: uniform(0.0, SETTINGS.heartbeat) for name in self.names}
        self.memory = CrowdDatabase(self)
        self.looks: list[tuple[float, str]] = []
        self.peers = {name: self.peers_of(name) for name in self.names}
        for name in self.names:
            claimed = documents.claimed(new(f'of {name}'), 'first', name, 1.0)
            self.memory.put(claimed)
            heapq.heappush(self.looks, (self.now + uniform(0.0, SETTINGS.heartbeat), name))

    def peers_of(self, name: str) -> Peers:
        database = cast(Database, self.memory)
        return Peers(database, 'first', name, Disputes(database), clock=lambda: self.now, monotonic=lambda: self.now)

    def beat(self, name: str) -> int:
        until = min(self.now, self.died.get(name, self.now))
        return int((until + self.phase[name]) // SETTINGS.heartbeat)

    def run(self, until: float) -> dict[str, float]:
        """Let time pass; returns when the claims of each dead listener were released."""
        released: dict[str, float] = {}
        while self.looks[0][0] <= until:
            self.now, name = heapq.heappop(self.looks)
            if name in self.died:
                continue
            if name not in self.stuck and self.peers[name].check():
                held = {doc['claim']['worker'] for doc in self.memory.docs.values() if 'claim' in doc}
                released |= {gone: self.now for gone in self.names if gone not in held and gone not in released}
            # The answers take a moment, so that nobody keeps in step with another one.
            due = max(self.peers[name].due, self.now + 1.0)
            heapq.heappush(self.looks, (due + 0.013 * (1 + len(name) % 7), name))
        self.now = until
        return released

    def kill(self, names: list[str]) -> None:
        self.died |= dict.fromkeys(names, self.now)

    def heartbeats_read(self) -> int:
        return sum(request.startswith('get _local') for request in self.memory.requests)


class CrowdDatabase(MemoryDatabase):
    """Has the heartbeats of a crowd."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self.crowd = crowd

    def get(self, doc_id: str) -> Document:
        self.requests.append(f'get {doc_id}')
        return {'_id': doc_id, 'counter': self.crowd.beat(doc_id.removeprefix('_local/worker:')), 'time': 1.0}


@pytest.mark.slow
@pytest.mark.parametrize('number', [20, 150])
def test_a_look_costs_the_same_however_many_there_are(number: int) -> None:
    crowd = Crowd(number)
    crowd.run(crowd.now + 3 * SETTINGS.heartbeat)
    crowd.memory.requests.clear()
    crowd.run(crowd.now + 5 * SETTINGS.heartbeat)
    looks = crowd.memory.requests.count('view')
    assert looks >= 4 * number
    assert crowd.heartbeats_read() <= (OBSERVED + 2.5) * looks


def test_few_check_each_other() -> None:
    crowd = Crowd(OBSERVED + 1)
    crowd.run(crowd.now + 3 * SETTINGS.heartbeat)
    assert crowd.heartbeats_read() == OBSERVED * crowd.memory.requests.count('view')
    crowd.kill(crowd.names[1:])
    died = crowd.now
    released = crowd.run(died + 2 * SETTINGS.lease)
    assert sorted(released) == sorted(crowd.names[1:])
    assert max(released.values()) <= died + SETTINGS.lease + SETTINGS.heartbeat


def test_each_is_checked_by_as_many_as_it_checks() -> None:
    names = Crowd(40).names
    first = [list(followers(name, names).values())[:OBSERVED] for name in names]
    assert all(sum(name in checked for checked in first) == OBSERVED for name in names)
    idle = followers('idle:1:a', names)
    assert sorted(idle.values()) == sorted(names)


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'deaths'), [(150, 100), (40, 39)])
def test_when_most_die_at_once_all_claims_are_released(number: int, deaths: int) -> None:
    """Also of those whose observers are all dead, and by no more requests than at other times."""
    crowd = Crowd(number)
    crowd.run(crowd.now + 4 * SETTINGS.heartbeat)
    gone = random.Random(deaths).sample(crowd.names, deaths)
    crowd.kill(gone)
    died = crowd.now
    crowd.memory.requests.clear()
    released = crowd.run(died + 6 * SETTINGS.lease)
    assert sorted(released) == sorted(gone)
    for name in gone:
        before = list(followers(name, crowd.names).values())[::-1]
        dead_in_a_row = next(index for index, other in enumerate(before) if other not in crowd.died)
        looks = math.ceil((dead_in_a_row + 1) / OBSERVED)
        # A look begins a little more than a heartbeat after the one before, and later where a lease ended in between.
        assert released[name] - died <= SETTINGS.lease + (1.25 * looks + 0.25) * SETTINGS.heartbeat, name
    assert crowd.heartbeats_read() <= 2 * (OBSERVED + 2) * crowd.memory.requests.count('view')


def test_observers_that_beat_and_check_nobody_are_no_hindrance() -> None:
    """As listeners whose callback holds the interpreter's lock for hours."""
    crowd = Crowd(30)
    dead = crowd.names[7]
    crowd.stuck = set(list(followers(dead, crowd.names).values())[-2 * OBSERVED :])
    crowd.run(crowd.now + 3 * SETTINGS.heartbeat)
    crowd.kill([dead])
    assert list(crowd.run(crowd.now + 4 * SETTINGS.lease)) == [dead]


def test_what_was_seen_outlasts_a_moment_in_which_others_come_before() -> None:
    """Holders come and go, and with them the places on the ring."""
    observed = Observed()
    passing = [f'passing:{index}:a' for index in range(60)]
    between = [*followers('here:1:abc', [PEER, *passing]).values()]
    between = between[: between.index(PEER)][-OBSERVED - 2 :]
    assert len(between) == OBSERVED + 2

    def hold(names: list[str], counter: int) -> None:
        for name in names:
            observed.database.put(documents.claimed(new(f'of {name}'), 'first', name, 1.0))
            observed.database.put({'_id': listeners.heartbeat_id(name), 'counter': counter})

    observed.beat(1)
    observed.after(0.0)
    observed.beat(2)
    observed.after(10.0)
    hold(between, 1)
    reads = observed.database.requests
    reads.clear()
    observed.after(10.0)
    assert f'get {listeners.heartbeat_id(PEER)}' not in reads
    for name in between:
        del observed.database.docs[f'of {name}']
    assert observed.after(10.0) == 0
    assert observed.after(10.0) == 1


def test_one_that_stands_still_is_looked_at_wherever_it_stands() -> None:
    observed = Observed()
    passing = [f'passing:{index}:a' for index in range(60)]
    observed.beat(1)
    observed.after(0.0)
    for beat in range(3):
        for name in passing:
            observed.database.put(documents.claimed(new(f'of {name}'), 'first', name, 1.0))
            observed.database.put({'_id': listeners.heartbeat_id(name), 'counter': beat})
        released = observed.after(10.0)
    assert released == 1 and observed.is_released()


def test_one_that_held_no_claim_meanwhile_has_its_whole_lease() -> None:
    observed = Observed()
    observed.beat(1)
    observed.after(0.0)
    claimed = observed.database.docs.pop('a')
    assert [observed.after(10.0) for _ in range(4)] == [0] * 4
    observed.database.docs['a'] = claimed
    assert [observed.after(10.0) for _ in range(4)] == [0, 0, 0, 1]
