"""How many documents are claimed, and when: facts in, decisions out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edw.listening.policy import (
    BACK_OFF,
    LONGEST_WRITE_DELAY,
    LOST_PAUSE,
    NEVER,
    NOW,
    WIDE_PAGE,
    WRITE_DELAY,
    Load,
    Look,
    Policy,
    in_own_order,
)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def longest(low: float, high: float) -> float:
    return high


def policy(workers: int = 1, batch: int = 500, seconds: float | None = None, **options: object) -> Policy:
    made = Policy('here:1:abc', batch, **{'clock': Clock(), 'uniform': longest, **options})
    made.workers_are(workers)
    if seconds is not None:
        for _ in range(20):
            made.callback_took(seconds)
    return made


@pytest.mark.parametrize(
    ('workers', 'batch', 'seconds', 'target'),
    [
        (1, 500, None, 1),  # nothing is known yet
        (4, 500, None, 4),
        (1, 500, 3600.0, 1),  # slow ones leave the rest to other machines
        (4, 500, 3600.0, 4),
        (1, 500, 0.2, 10),  # about two seconds' work
        (4, 500, 0.2, 40),
        (1, 500, 0.02, 100),
        (1, 500, 0.0, 500),  # never more than a batch
        (8, 4, 0.0, 8),  # but one for each worker
    ],
)
def test_about_two_seconds_work_is_claimed(workers: int, batch: int, seconds: float | None, target: int) -> None:
    made = policy(workers, batch, seconds)
    assert target <= made.target <= target * 1.01


def test_without_workers_nothing_is_claimed_and_the_feed_is_not_polled() -> None:
    made = policy(seconds=0.02)
    made.workers_are(0)
    assert made.room(Load()) == 0 and made.poll_due(Load()) == NEVER
    made.wait.place_away('disk full')
    assert made.room(Load()) == 0
    made.workers_are(2)
    made.wait.done()
    assert made.room(Load()) == 200 and made.poll_due(Load()) == NOW


def test_three_fast_callbacks_are_enough_to_know_the_pace() -> None:
    made = policy()
    for _ in range(3):
        made.callback_took(0.0)
    assert made.target == 500


@pytest.mark.parametrize(
    ('seconds', 'load', 'room'),
    [
        (0.2, Load(), 10),
        (0.2, Load(running=4), 6),
        (0.2, Load(running=6), 0),  # not for a few at a time while the workers have enough
        (0.2, Load(unwritten=9), 10),  # what is finished is written with the claims
        (0.2, Load(resting=300), 10),  # those that rest take no place of the others
        (0.2, Load(resting=495), 5),
        (0.2, Load(resting=500), 0),  # but all together are no more than a batch
        (3600.0, Load(), 1),
        (3600.0, Load(running=1), 0),
        (0.0, Load(running=100), 400),
        (0.0, Load(running=240, unwritten=260), 0),  # the rest of the batch comes in this moment
        (0.0, Load(unwritten=500), 500),
    ],
)
def test_room(seconds: float, load: Load, room: int) -> None:
    assert policy(seconds=seconds).room(load) == room


def test_a_request_that_goes_anyway_claims_a_few_too() -> None:
    made = policy(seconds=0.2)
    assert made.room(Load(running=6, unwritten=2)) == 0 and made.room(Load(running=6, unwritten=2), writes=True) == 4
    assert made.room(Load(running=10, unwritten=2), writes=True) == 0


def test_a_worker_that_is_free_is_reason_enough() -> None:
    assert policy(workers=2, seconds=3600.0).room(Load(running=1)) == 1


@pytest.mark.parametrize(
    ('load', 'due'),
    [
        (Load(running=3), NEVER),
        (Load(unwritten=1), NOW),  # nothing is to come that it could wait for
        (Load(running=1, unwritten=1), 990.0 + WRITE_DELAY),
        (Load(running=1, unwritten=500), NOW),
        (Load(resting=1), NEVER),
    ],
)
def test_results_wait_for_others_but_not_long(load: Load, due: float) -> None:
    assert policy().write_due(load, since=990.0) == due


@pytest.mark.parametrize(
    ('seconds', 'running', 'delay'),
    [
        (0.04, 100, LONGEST_WRITE_DELAY),
        (0.04, 15, 0.15),  # half of the time until the workers have nothing to do
        (0.04, 1, WRITE_DELAY),
        (3.0, 2, WRITE_DELAY),  # nothing comes soon that could be written with it
    ],
)
def test_results_wait_longer_while_much_is_to_be_done(seconds: float, running: int, delay: float) -> None:
    made = policy(workers=2, seconds=seconds)
    for _ in range(4):
        made.results_written(Load(running=200))
    assert made.write_due(Load(running=running, unwritten=1), since=990.0) == pytest.approx(990.0 + delay)


def test_the_first_results_of_a_burst_do_not_wait_long_because_the_next_step_waits_for_them() -> None:
    made = policy(workers=2, seconds=0.04)
    much = Load(running=200, unwritten=1)
    delays = []
    for _ in range(6):
        delays.append(made.write_due(much, since=990.0) - 990.0)
        made.results_written(Load(running=200))
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    made.results_written(Load())  # all is done
    assert made.write_due(much, since=990.0) == pytest.approx(990.0 + WRITE_DELAY)


@pytest.mark.parametrize(
    ('won', 'lost', 'contended', 'pause'),
    [
        (5, 0, False, 0.0),
        (4, 1, True, 0.0),
        (1, 4, True, LOST_PAUSE),
        (0, 1, True, LOST_PAUSE),
    ],
)
def test_after_lost_claims_listeners_get_out_of_step(won: int, lost: int, contended: bool, pause: float) -> None:
    made = policy(seconds=0.2)
    made.claimed(won, lost)
    assert made.look(Load(), copies=1).in_own_order is contended
    assert made.claim_due == (1000.0 + pause if pause else NOW)
    assert not made.backs_off


@pytest.mark.parametrize(
    ('won', 'lost', 'copies', 'look'),
    [
        (10, 0, 1, Look(10, 10, False)),
        (9, 1, 1, Look(10, 10 * WIDE_PAGE, True)),
        (10, 0, 3, Look(10, 10 * WIDE_PAGE, True)),  # in a cluster always
    ],
)
def test_where_others_want_the_same_more_is_read_than_claimed(won: int, lost: int, copies: int, look: Look) -> None:
    made = policy(seconds=0.2)
    made.claimed(won, lost)
    assert made.look(Load(), copies) == look


@pytest.mark.parametrize(('own', 'first'), [(False, ['doc0', 'doc1']), (True, ['doc5', 'doc7'])])
def test_which_ones(own: bool, first: list[str]) -> None:
    docs = [{'_id': f'doc{number}'} for number in range(8)]
    assert [doc['_id'] for doc in policy().choose(Look(2, 8, own), docs)] == first


def test_one_that_backs_off_looks_at_a_single_document() -> None:
    made = policy(seconds=0.0)
    made.claimed(1, 9)
    assert made.look(Load(), copies=1) == Look(1, WIDE_PAGE, True)


def test_an_exchange_without_claims_says_nothing_of_others() -> None:
    made = policy(seconds=0.2)
    made.claimed(0, 1)
    made.claimed(0, 0)
    assert made.look(Load(), copies=1).in_own_order


def test_with_fast_callbacks_one_listener_is_enough_and_others_back_off() -> None:
    made = policy(seconds=0.0)
    made.claimed(1, 9)
    assert made.backs_off and made.claim_due == 1000.0 + BACK_OFF
    assert made.page_limit == 1
    made.page_came()
    assert made.claim_due == 1000.0 + BACK_OFF  # whoever works has that long to take it
    made.claimed(1, 0)  # nobody did
    assert not made.backs_off and made.page_limit == 500


def test_one_that_ends_when_nothing_waits_leaves_nothing_to_others() -> None:
    made = policy(seconds=0.0, may_back_off=False)
    made.claimed(1, 9)
    assert not made.backs_off and made.claim_due == 1000.0 + LOST_PAUSE


@pytest.mark.parametrize(
    ('seconds', 'load', 'due'),
    [
        (0.05, Load(running=1), NOW),  # what takes time never holds up the feed
        (0.0, Load(running=100), 1000.0 + WRITE_DELAY),  # what does not is written first
        (0.0, Load(), NOW),
        (0.0, Load(resting=10), NOW),
    ],
)
def test_when_to_poll(seconds: float, load: Load, due: float) -> None:
    made = policy(seconds=seconds)
    made.claimed(10, 0)
    assert made.poll_due(load) == due


def test_polling_waits_for_the_pause_after_lost_claims() -> None:
    made = policy(seconds=0.2)
    made.claimed(0, 1)
    assert made.poll_due(Load()) == made.claim_due > 1000.0


def test_each_listener_has_an_order_of_its_own() -> None:
    docs = [{'_id': f'doc{number}'} for number in range(50)]
    one, same, other = (in_own_order(docs, name) for name in ('a:1:f', 'a:1:f', 'b:1:f'))
    assert one == same != other
    assert sorted(doc['_id'] for doc in one) == sorted(doc['_id'] for doc in docs)
