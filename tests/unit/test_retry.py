from __future__ import annotations

import itertools
import logging

import pytest

from edw.database.retry import DOUBT_PAUSE, JITTER, Outage, Retry, pauses
from edw.errors import Forbidden, LoginRefused, NotFound, Unavailable


def test_pauses_grow_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JITTER, 'uniform', lambda low, high: high)
    seconds = list(itertools.islice(pauses(), 12))
    assert seconds[:4] == [0.1, 0.2, 0.4, 0.8]
    assert seconds[-1] == 30


def test_jitter_is_full() -> None:
    firsts = [next(pauses()) for _ in range(200)]
    assert min(firsts) < 0.02 and max(firsts) > 0.08 and max(firsts) <= 0.1


def answers(*results: object):
    iterator = iter(results)

    def request() -> object:
        result = next(iterator)
        if isinstance(result, Exception):
            raise result
        return result

    return request


def test_waits_at_least_as_long_as_the_server_asks_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    waited = []
    request = answers(Unavailable('gone', retry_after=7), Unavailable('gone'), 'answer')
    with caplog.at_level(logging.WARNING):
        assert Retry(lambda seconds: bool(waited.append(seconds)), Outage())(request) == 'answer'
    assert waited[0] == 7 and waited[1] < 1
    assert [record.getMessage().split(',')[0] for record in caplog.records] == [
        'gone; trying again until it answers',
        'the server answers again',
    ]


def test_gives_up_when_told_and_does_not_try_a_refusal_again() -> None:
    with pytest.raises(Unavailable):
        Retry(lambda seconds: True, Outage())(answers(Unavailable('gone')))
    with pytest.raises(LoginRefused):
        Retry(lambda seconds: pytest.fail('waited'), Outage())(answers(LoginRefused('no')))


def test_a_permanent_error_is_asked_about_once_more_by_one_that_does_not_believe_at_once() -> None:
    waited: list[float] = []
    retry = Retry(lambda seconds: bool(waited.append(seconds)), believes_at_once=False)
    with pytest.raises(LoginRefused):
        retry(answers(LoginRefused('no'), 'never asked'))  # nothing has been answered yet: most likely a wrong setting
    assert retry(answers('first')) == 'first' and waited == []
    assert retry(answers(Forbidden('no'), 'answer')) == 'answer' and waited == [DOUBT_PAUSE]
    with pytest.raises(Forbidden):
        retry(answers(Forbidden('no'), Forbidden('no'), 'never asked'))
    # In between the server may be away, and another no is another matter.
    assert retry(answers(Forbidden('no'), Unavailable('gone'), NotFound('no'), 'answer')) == 'answer'
