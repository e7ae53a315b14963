"""How many documents are written at once: what was found out, and how it is forgotten again."""

from __future__ import annotations

import math

import pytest

from edw.database import bulk
from edw.database.bulk import BulkSize


class Clock:
    """Says what the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def size(clock: Clock) -> BulkSize:
    return BulkSize(clock)


def test_one_failure_is_an_outage_and_the_second_is_asked_about(size: BulkSize) -> None:
    assert not size.failed() and size.failed()
    size.unanswered()
    assert size.failed()
    size.went_through()
    assert not size.failed() and size.limit == math.inf


def test_it_is_halved_down_to_one(size: BulkSize) -> None:
    sizes = []
    number = 500
    while number > 1:
        size.too_large(number)
        number = int(size.limit)
        sizes.append(number)
    assert sizes == [250, 125, 62, 31, 15, 7, 3, 1]
    assert size.failed()  # asked at once from now on


def test_it_grows_again_ever_more_slowly(size: BulkSize, clock: Clock) -> None:
    size.too_large(20)
    pauses = []
    for _ in range(12):
        began = clock.now
        while size.limit == 10:
            clock.now += 1
            size.went_through()
        pauses.append(clock.now - began)
        size.too_large(20)
    assert pauses[:3] == [5, 10, 20] and pauses[-1] == bulk.LONGEST_GROWTH_PAUSE


def test_in_the_end_there_is_no_limit(size: BulkSize, clock: Clock) -> None:
    size.too_large(2)
    while size.limit < math.inf:
        clock.now += 10
        assert clock.now < 1000
        size.went_through()
    assert not size.failed()
