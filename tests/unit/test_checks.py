"""What operators are told where a clock is wrong, so that ages are."""

from __future__ import annotations

import pytest

from edw.operating.at_work import ListenerStatus
from edw.operating.checks import is_left_alone, judged, remarks
from edw.operating.display import age_of
from edw.operating.status import Status, StepStatus
from web.render import since

NOW, HOUR, LEASE = 1_700_000_000.0, 3600.0, 30.0


def status(waiting_since: float | None = None, heartbeat: float | None = None, claimed: float | None = None) -> Status:
    """One document waits, or one is held by a listener."""
    is_held = heartbeat is not None or claimed is not None
    listeners = [ListenerStatus('host:7:ab', 'move', 1, claimed, heartbeat)] * is_held
    step = StepStatus('move', 0, not is_held, waiting_since, len(listeners), claimed, 0, 5, 0, listeners=1)
    return Status(NOW, 1, 0, [step], listeners, [], {}, [], [])


def test_documents_from_the_future_are_said_to_be() -> None:
    ahead = status(waiting_since=NOW + HOUR)
    assert age_of(NOW + HOUR, NOW) == 'in the future' and '>in the future<' in since(NOW + HOUR, NOW, ' ago')
    assert is_left_alone(ahead.steps[0], NOW)  # nobody knows for how long, but nobody works on it
    says = 'a clock is wrong: documents wait for move from 1.0 h in the future'
    assert says in remarks(ahead, LEASE)
    assert judged(ahead, LEASE, 60.0) == (says, ['clock'])
    assert judged(ahead, LEASE, None)[1] == []


@pytest.mark.parametrize(
    ('claimed', 'heartbeat', 'what'),
    [
        (NOW + HOUR, NOW + HOUR, 'host:7:ab has its heartbeat'),
        (NOW - HOUR, NOW + HOUR, 'host:7:ab has its heartbeat'),
        (NOW + HOUR, None, 'host:7:ab has its claims'),
    ],
)
def test_listeners_from_the_future_are_said_to_be(claimed: float, heartbeat: float | None, what: str) -> None:
    ahead = status(claimed=claimed, heartbeat=heartbeat)
    assert remarks(ahead, LEASE) == [f'a clock is wrong: {what} from 1.0 h in the future']
    assert judged(ahead, LEASE, 60.0)[1] == ['clock']


def test_a_listener_whose_clock_is_late_is_not_said_to_be_silent_for_certain() -> None:
    (line,) = remarks(status(claimed=NOW - HOUR, heartbeat=NOW - HOUR), LEASE)
    assert line.endswith('without a heartbeat for 1.0 h, if its clock is right')


@pytest.mark.parametrize('ahead', [0.0, 1.0, 59.0])
def test_clocks_may_differ_a_little(ahead: float) -> None:
    for found in (status(waiting_since=NOW + ahead), status(claimed=NOW + ahead, heartbeat=NOW + ahead)):
        assert remarks(found, LEASE) == [] and not judged(found, LEASE, 60.0)[1]
    assert age_of(NOW + ahead, NOW) == '0 s' and '>0 s ago<' in since(NOW + ahead, NOW, ' ago')
