"""What a proxy between listener and database says is no word of the database."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from edw.config import Settings
from edw.database import retry
from edw.database.client import Database
from edw.errors import Forbidden, NoDatabase
from tests.faults.gateway import Answer, Gateway, Request
from tests.loops import Running, names, once, seed
from tests.scripts import wait_until


def one_of_each(gateway: Gateway, answer: Answer, *only: str) -> None:
    """Have the gateway answer the next request of each kind itself; of these kinds alone, where some are named."""
    answered: set[str] = set()

    def answers(request: Request) -> Answer | None:
        kind = request.path.partition('?')[0].rpartition('/')[2]
        if kind in answered or (only and kind not in only):
            return None
        answered.add(kind)
        return answer

    gateway.answers = answers


@pytest.mark.parametrize('status', [400, 403, 404, 405, 408, 409, 410, 418])
def test_a_page_that_is_not_of_the_database_ends_no_listener(
    database: Database, gateway: Gateway, through: Settings, status: int
) -> None:
    (doc_id,) = seed(database)
    with Running(lambda doc: {}, through):
        wait_until(lambda: names(database.get(doc_id)) == ['first'])
        one_of_each(gateway, Answer(status))
        gateway.patience = 0.1  # so that the feed is asked again, too
        database.put({'_id': 'later', 'status': 'good', 'process': []})
        wait_until(lambda: names(database.get('later')) == ['first'])


@pytest.mark.parametrize(
    'answer',
    [
        Answer(404, b'{"error":"not_found","reason":"Database does not exist."}'),
        Answer(404, b'{"error":"not_found","reason":"missing"}'),
        Answer(403, b'{"error":"forbidden","reason":"not now"}'),
        Answer(401, b'{"error":"unauthorized","reason":"not now"}'),
    ],
    ids=lambda answer: str(answer.status),
)
def test_the_databases_own_no_is_asked_about_once_more(
    database: Database, gateway: Gateway, through: Settings, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(retry, 'DOUBT_PAUSE', 0.05)
    (doc_id,) = seed(database)
    with Running(lambda doc: {}, through):
        wait_until(lambda: names(database.get(doc_id)) == ['first'])
        one_of_each(gateway, answer, '_changes', '_bulk_docs')
        gateway.patience = 0.1
        database.put({'_id': 'later', 'status': 'good', 'process': []})
        wait_until(lambda: names(database.get('later')) == ['first'])


def test_a_no_that_stays_ends_the_listener(
    database: Database, gateway: Gateway, through: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, 'DOUBT_PAUSE', 0.05)
    seed(database, 2)
    said = []

    def answers(request: Request) -> Answer | None:
        if request.docs and any(doc['process'] for doc in request.docs):
            said.append(request)
            return Answer(403, b'{"error":"forbidden","reason":"never"}')
        return None

    gateway.answers = answers
    with pytest.raises(Forbidden):
        once(lambda doc: {}, through)
    assert len(said) == 3  # asked about twice, and once more at the end, to release what can be


def test_at_the_start_a_no_is_believed_at_once(database: Database, gateway: Gateway, through: Settings) -> None:
    gateway.answers = lambda request: Answer(404, b'{"error":"not_found","reason":"Database does not exist."}')
    with pytest.raises(NoDatabase):
        once(lambda doc: {}, through)


def test_a_pause_that_was_asked_for_has_a_limit(gateway: Gateway, through: Settings) -> None:
    gateway.answers = lambda request: Answer(503, headers=(('Retry-After', '9' * 400),))
    with pytest.raises(Exception, match='503') as raised:
        Database(through).info()
    assert raised.value.retry_after == 60


def test_a_feed_that_is_cut_all_the_time_gets_on(
    database: Database, gateway: Gateway, through: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (doc_id,) = seed(database)
    gateway.patience = 0.2
    with Running(lambda doc: {}, through):
        wait_until(lambda: names(database.get(doc_id)) == ['first'])

        def since() -> list[str]:
            feeds = [request.path for request in gateway.requests if 'feed=longpoll' in request.path]
            return [parse_qs(urlsplit(path).query)['since'][0] for path in feeds]

        for number in range(3):
            before = len(since())
            database.put({'_id': f'other{number}', 'status': 'bad', 'process': []})
            wait_until(lambda before=before: len(since()) > before + 1)
        assert len(set(since())) >= 4  # each goes on from where the one before had looked
        database.put({'_id': 'later', 'status': 'good', 'process': []})
        wait_until(lambda: names(database.get('later')) == ['first'], limit=30)
    assert 'trying again' not in caplog.text
