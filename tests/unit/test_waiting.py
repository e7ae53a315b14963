"""Whether a step waits: what callbacks say in, what is done about it out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edw.listening.policy import Load, Policy
from edw.listening.waiting import ALIKE, FIRST_PAUSE, LONGEST_PAUSE, StepWait
from edw.model.documents import Document
from tests.unit.memory import new
from tests.unit.test_intake import Bench
from tests.unit.test_policy import Clock, policy


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(clock: Clock) -> StepWait:
    return StepWait(clock)


def test_a_place_that_is_away_is_tried_ever_more_slowly(wait: StepWait, clock: Clock) -> None:
    began, pauses = clock.now, []
    for number in range(40):
        wait.place_away(f'no space, {number}')
        pauses.append(wait.try_due - clock.now)
        clock.now = wait.try_due
        if pauses[-1] < LONGEST_PAUSE:
            assert pauses[-1] == pytest.approx(FIRST_PAUSE + (clock.now - began - pauses[-1]) / 4)
    assert pauses == sorted(pauses) and pauses[0] == FIRST_PAUSE and pauses[-1] == LONGEST_PAUSE
    assert wait.reason == 'no space, 39'
    wait.done()
    assert wait.reason is None and wait.try_due < clock.now
    wait.place_away('again')
    assert wait.try_due - clock.now == FIRST_PAUSE


def test_documents_that_fail_alike_are_tried_twice_as_slowly_each_time(wait: StepWait, clock: Clock) -> None:
    for number in range(ALIKE - 1):
        wait.failed(f'doc{number}', 'ValueError: no')
    pauses = []
    for number in range(11):
        wait.failed(f'other{number}', 'ValueError: no')
        pauses.append(wait.try_due - clock.now)
        clock.now = wait.try_due
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_had_begun_before_the_wait_makes_it_no_longer(wait: StepWait, clock: Clock) -> None:
    for _ in range(20):
        wait.place_away('no space')  # each of many workers says so at once
    assert wait.try_due - clock.now == FIRST_PAUSE
    clock.now = wait.try_due
    wait.place_away('no space')
    assert FIRST_PAUSE < wait.try_due - clock.now < 2 * FIRST_PAUSE


class Night:
    """A step with one worker, in a simulated time that begins at 0: its wait, and its intake."""

    def __init__(self, docs: list[Document]) -> None:
        self.clock = Clock(0.0)
        self.wait = StepWait(self.clock)
        self.bench = Bench(self.clock)
        self.bench.view.docs = docs
        self.done: dict[str, float] = {}  # ids, with the time

    def work(self, away: Callable[[str, float], bool], until: float) -> None:
        """Work until a time. `away(file, time)` says whether a file is out of reach then. Each try takes 0.1 s."""
        intake, sweep = self.bench.intake, 60.0
        while self.clock.now < until:
            if self.clock.now >= sweep:
                intake.try_all_again(self.wait.waits)
                sweep += 60.0
            if intake.wake_due <= self.clock.now:
                intake.wake()
            if self.clock.now >= self.wait.try_due:
                if intake.needs_look:
                    intake.look(1, set(), lambda docs: docs[:1], self.wait.waits)
                taken = intake.pick(1, set(), self.wait.waits)
                for doc in taken:
                    self._try(doc, away(doc['original_file'], self.clock.now))
                if taken:
                    continue
            dues = (due for due in (self.wait.try_due, intake.wake_due, sweep) if due > self.clock.now)
            self.clock.now = min(dues)

    def _try(self, doc: Document, is_away: bool) -> None:
        self.clock.now += 0.1
        view = self.bench.view
        view.docs = [other for other in view.docs if other['_id'] != doc['_id']]
        if is_away:
            number = int(doc['_rev'].partition('-')[0])
            released = {**doc, '_rev': f'{number + 2}-x'}
            view.docs = sorted([*view.docs, released], key=lambda doc: doc['_id'])
            self.wait.place_away('no route to host')
            self.bench.intake.rest(doc, self.wait.waits)
            if self.bench.feed.is_polling or self.bench.intake.may_poll:
                self.bench.page(released)
        else:
            self.done[doc['_id']] = self.clock.now
            self.wait.done()
            self.bench.intake.done(doc)


def files(folder: str, number: int) -> list[Document]:
    name = folder.strip('/').replace('/', '_')
    return [
        {**new(f'{name}_{index:03d}'), '_rev': '1-x', 'original_file': f'{folder}/{index:03d}.root'}
        for index in range(number)
    ]


@pytest.mark.parametrize('number', [1, 2, 5, 50])
@pytest.mark.parametrize('minutes', [0.1, 1, 2.2, 10, 60, 600])
def test_a_wait_costs_a_quarter_of_the_time_that_the_place_was_away(number: int, minutes: float) -> None:
    night = Night(files('/mnt/daq1/raw', number))
    back = minutes * 60
    end = back + min(back / 4 + FIRST_PAUSE, LONGEST_PAUSE) + 0.1 * number + 1
    night.work(lambda file, time: time < back, end)
    assert len(night.done) == number


def test_a_place_that_stays_away_keeps_no_other_waiting() -> None:
    """As when one of many acquisition machines is off for the night, with more files than there are tries."""
    night = Night([*files('sftp://daq1/raw', 100), *files('sftp://daq2/raw', 20), *files('sftp://daq3/raw', 20)])
    night.work(lambda file, time: 'daq1' in file, 600)
    assert len(night.done) == 40
    # All are away for an hour, and one of them for good.
    night = Night([*files('sftp://daq1/raw', 100), *files('sftp://daq2/raw', 20)])
    night.work(lambda file, time: 'daq1' in file or time < 3600, 3600 + 3 * LONGEST_PAUSE)
    assert len(night.done) == 20


def test_a_document_that_stays_out_of_reach_keeps_no_other_waiting() -> None:
    night = Night(files('/mnt/daq1/raw', 10))
    night.work(lambda file, time: file.endswith('000.root') or time < 3600, 3600 + 3 * LONGEST_PAUSE)
    assert len(night.done) == 9


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
