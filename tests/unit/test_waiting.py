"""Whether a step waits: what callbacks say in, what is done about it out."""

from __future__ import annotations

import pytest

from edw.listening.policy import Load, Policy
from edw.listening.waiting import ALIKE, LONGEST_PAUSE, StepWait
from tests.unit.test_policy import Clock, policy


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(clock: Clock) -> StepWait:
    return StepWait(clock)


def test_a_place_that_is_away_is_tried_ever_more_slowly(wait: StepWait, clock: Clock) -> None:
    pauses = []
    for number in range(11):
        wait.place_away(f'no space, {number}')
        pauses.append(wait.try_due - clock.now)
        clock.now = wait.try_due
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_PAUSE, LONGEST_PAUSE]
    assert wait.reason == 'no space, 10'
    wait.done()
    assert wait.reason is None and wait.try_due < clock.now
    wait.place_away('again')
    assert wait.try_due - clock.now == 1


def test_what_had_begun_before_the_wait_makes_it_no_longer(wait: StepWait, clock: Clock) -> None:
    for _ in range(20):
        wait.place_away('no space')  # each of many workers says so at once
    assert wait.try_due - clock.now == 1
    clock.now = wait.try_due
    wait.place_away('no space')
    assert wait.try_due - clock.now == 2


@pytest.mark.parametrize('number', [1, ALIKE - 1])
def test_a_few_failures_are_the_documents_own(wait: StepWait, number: int) -> None:
    for index in range(number):
        wait.failed(f'doc{index}', 'ValueError: no')
        wait.failed(f'doc{index}', 'ValueError: no')  # another attempt at the same one
    assert wait.reason is None


@pytest.mark.parametrize(
    'error',
    [
        'ModuleNotFoundError: No module named {doc!r}',
        'StepError: /data/{doc}.root cannot be moved to /sps: Permission denied',
        'ValueError: {doc} has {number} entries',
    ],
)
def test_many_different_documents_that_fail_alike_are_no_fault_of_theirs(wait: StepWait, error: str) -> None:
    for number in range(ALIKE):
        assert wait.reason is None
        wait.failed(f'doc{number}', error.format(doc=f'doc{number}', number=number))
    assert wait.reason is not None and 'failed alike' in wait.reason


def test_failures_of_different_kinds_or_with_successes_between_are_none_of_the_steps(wait: StepWait) -> None:
    for number in range(10 * ALIKE):
        wait.failed(f'doc{number}', ('ValueError: no', 'KeyError: x')[number % 2])
    assert wait.reason is None
    for number in range(10 * ALIKE):
        wait.failed(f'doc{number}', 'ValueError: no')
        if number % (ALIKE - 1) == 0:
            wait.done()
    assert wait.reason is None


def test_one_document_at_a_time_tries() -> None:
    made: Policy = policy(workers=4, seconds=0.001)
    clock: Clock = made._clock  # type: ignore[assignment]
    assert made.room(Load()) == 500
    made.wait.place_away('no space')
    assert made.claim_due == clock.now + 1
    assert made.room(Load()) == 1 and made.room(Load(running=1)) == 0 and made.room(Load(unwritten=1)) == 0
    made.wait.done()
    assert made.room(Load()) == 500 and made.claim_due < clock.now


def test_a_listener_that_ends_when_nothing_waits_any_more_does_not_wait() -> None:
    made: Policy = policy(may_back_off=False)
    made.wait.place_away('no space')
    assert made.wait.reason is None
