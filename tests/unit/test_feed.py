"""The feed against everything that goes wrong around `_changes`, on real sockets."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import Any

import pytest

from edw import config
from edw.database import client as couch
from edw.database.client import Database
from edw.database.retry import Outage
from edw.errors import EdwError, Forbidden, LoginRefused, NoDatabase, NotFound
from edw.inbox import Inbox
from edw.listening.feed import Feed
from tests.scripts import wait_until
from tests.socket_server import RESET, answering, http

CHANGE = http('200 OK', b'{"results":[\n{"seq":"5-x","id":"a","changes":[]}\n],"last_seq":"5-x"}')
ENDED = http('200 OK', b'{"results":[],"last_seq":"4-x"}')
HEAD = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
LIMIT = 20.0  # seconds


def polled(url: str, limit: int = 1) -> tuple[Inbox[Any], Feed]:
    inbox: Inbox[Any] = Inbox()
    settings = dataclasses.replace(config.load(), server=url)
    feed = Feed(Database(settings), 0, Outage(), inbox)
    feed.open(by_selector=False)
    feed.poll('3-x', limit)
    return inbox, feed


def event(inbox: Inbox[Any], limit: float = LIMIT) -> Any:
    """The next event; None where there is none in time."""
    return next(iter(inbox.take(limit)), None)


@pytest.fixture(autouse=True)
def short_silence(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(couch, 'FEED_SILENCE', 0.3)
    monkeypatch.setattr(couch, 'READ_TIMEOUT', 0.3)
    monkeypatch.setattr('edw.listening.feed.ENDED_PAUSE', 0.05)
    caplog.set_level(logging.WARNING)


@pytest.mark.parametrize(
    'bad',
    [
        b'' + RESET,  # reset before a word
        HEAD + b'1e\r\n{"results":[\n{"seq":"4-x","i' + RESET,  # in the middle of a line
        HEAD + b'1\r\n\n\r\n1\r\n\n\r\n' + RESET,  # between two heartbeats
        HEAD + b'1\r\n\n\r\n',  # ended in the middle, without a reset
        http('200 OK', b'{"results":[\n{"seq":"4-x","id":', length=500),  # half a JSON body
        http('200 OK', b'{"results":[\n'),  # whole, and still half
        http('200 OK', b'<html>log in to the guest network</html>'),
        http('200 OK', b'{"ok":true}'),
        http('429 Too Many Requests', b'{"error":"too_many_requests"}', 'Retry-After: 0'),
        http('500 Internal Server Error', b'{"error":"unknown"}'),
        http('502 Bad Gateway', b'<html>'),
        http('503 Service Unavailable', b''),
        http('504 Gateway Timeout', b''),
    ],
    ids=lambda answer: answer[:60].decode().split('\r')[0] or 'reset',
)
def test_it_is_waited_out_and_said_once(caplog: pytest.LogCaptureFixture, bad: bytes) -> None:
    with answering(bad, bad, bad, CHANGE) as url:
        inbox, _ = polled(url)
        assert event(inbox).changes[0]['id'] == 'a'
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].endswith('trying again until it answers') and said[1].startswith('the server answers again, after ')


@pytest.mark.slow
def test_silence_longer_than_the_heartbeats_is_a_dead_connection(caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    # The silent connection is held open: only the clock can tell.
    with answering(None) as silent:
        inbox, _ = polled(silent)
        while 'timed out' not in caplog.text:
            assert time.monotonic() - started < LIMIT
            time.sleep(0.02)
        assert event(inbox, 0) is None


def test_one_that_is_cut_is_no_outage_and_goes_on_from_where_the_server_had_looked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []
    cut = HEAD + b'1\r\n\n\r\n' + RESET
    with answering(cut, ENDED, CHANGE, seen=seen) as url:
        inbox, _ = polled(url)
        assert event(inbox).changes[0]['id'] == 'a'
    assert ['feed=longpoll' in request for request in seen] == [True, False, True]
    assert ['since=3-x' in request for request in seen] == [True, True, False] and 'since=4-x' in seen[2]
    assert caplog.records == []


def test_one_that_was_ended_tells_of_no_outage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr('edw.database.changes.SHORT', 0.1)
    others, seen = set(threading.enumerate()), []
    with answering(None, seen=seen) as silent:
        _, feed = polled(silent)
        wait_until(lambda: seen)
        feed.end()
        for thread in set(threading.enumerate()) - others:
            if thread.name == 'feed':
                thread.join(LIMIT)
                assert not thread.is_alive()
    assert caplog.records == []


def test_slow_headers_are_silence_too(caplog: pytest.LogCaptureFixture) -> None:
    with answering(b'HTTP/1.1 200 OK\r\nX-Half-A-Hea', CHANGE) as url:
        inbox, _ = polled(url)
        assert event(inbox).changes[0]['id'] == 'a'


def test_a_feed_that_the_server_ends_goes_on_from_there(caplog: pytest.LogCaptureFixture) -> None:
    with answering(ENDED, ENDED, CHANGE) as url:
        inbox, _ = polled(url)
        assert event(inbox).changes[0]['id'] == 'a'
    assert caplog.records == []


@pytest.mark.parametrize(
    ('answer', 'error'),
    [
        (http('401 Unauthorized', b'{"reason":"no"}', 'Edw-Folder: /x'), LoginRefused),
        (http('403 Forbidden', b'{"reason":"no"}'), Forbidden),
        (http('404 Not Found', b'{"reason":"no_db_file"}'), NoDatabase),
        (http('404 Not Found', b'{"reason":"missing json key: with_process"}'), NotFound),
    ],
)
def test_what_no_waiting_mends_is_reported(answer: bytes, error: type[EdwError]) -> None:
    with answering(answer) as url:
        inbox, _ = polled(url)
        assert type(event(inbox).error) is error


def test_one_change_for_each_time_it_is_told() -> None:
    with answering(CHANGE, CHANGE) as url:
        inbox, feed = polled(url)
        feed.poll('3-x', 1)  # while it waits already
        assert event(inbox).changes[0]['id'] == 'a'
        assert event(inbox, 0.2) is None
        feed.poll('5-x', 1)
        assert event(inbox).changes[0]['id'] == 'a'


@pytest.mark.parametrize(('limit', 'sequence'), [(1, '5-x'), (2, '9-x')])
def test_a_full_page_ends_with_its_last_change_and_a_shorter_one_with_all_that_was_passed_over(
    limit: int, sequence: str
) -> None:
    with answering(CHANGE.replace(b'"last_seq":"5-x"', b'"last_seq":"9-x"')) as url:
        inbox, _ = polled(url, limit)
        assert event(inbox).sequence == sequence
