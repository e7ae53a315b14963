"""What is known to wait, from a view and a feed that say what the test says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from edw.database import nesting
from edw.database.client import Database
from edw.listening.feed import Feed, Page
from edw.listening.intake import Intake
from edw.model.documents import Document
from tests.unit.memory import SETTINGS, new


class View:
    """A database that has one view."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.docs: list[Document] = []
        self.limits: list[int] = []

    def view(self, viewname: str, **query: Any) -> dict[str, Any]:
        assert (viewname, query['startkey'][0], query['endkey']) == (SETTINGS.viewname, 0, [0, {}])
        self.limits.append(query['limit'])
        rows = [{'id': doc['_id'], 'key': [0, doc['_id']], 'doc': doc} for doc in self.docs]
        rows = [row for row in rows if row['key'] >= query['startkey']]
        return {'rows': rows[: query['limit']], 'update_seq': f'{len(self.docs)}-view'}


class Polls:
    """A feed that takes note of its polls."""

    def __init__(self) -> None:
        self.is_polling = False
        self.polled: list[tuple[str | int, int]] = []

    def poll(self, since: str | int, limit: int) -> None:
        self.is_polling = True
        self.polled.append((since, limit))


class Bench:
    """An intake, its view and its feed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.view, self.feed = View(), Polls()
        self.intake = Intake(cast(Database, self.view), 0, cast(Feed, self.feed), clock)

    def look(self, room: int, in_flight: set[str] | None = None) -> None:
        self.intake.look(room, in_flight or set(), lambda docs: docs[:room])

    def page(self, *docs: Document | None, sequence: str | None = '9-page', **fields: Any) -> None:
        self.feed.is_polling = False
        self.intake.catch(
            Page([{'id': 'x' if doc is None else doc['_id'], 'doc': doc, **fields} for doc in docs], sequence)
        )

    def take(self, number: int = 99, in_flight: set[str] | None = None) -> list[str]:
        return [doc['_id'] for doc in self.intake.pick(number, in_flight or set())]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def docs(*ids: str) -> list[Document]:
    return [{**new(doc_id), '_rev': '1-x'} for doc_id in ids]


def test_at_the_start_only_the_view_can_tell(bench: Bench) -> None:
    assert bench.intake.needs_look and not bench.intake.may_poll and not bench.intake.is_empty
    bench.look(5)
    assert bench.intake.is_empty and bench.intake.may_poll and not bench.intake.needs_look
    bench.intake.poll(7)
    assert bench.feed.polled == [('0-view', 7)] and not bench.intake.may_poll


def test_a_page_of_the_view_that_is_full_is_followed_by_another(bench: Bench) -> None:
    bench.view.docs = docs('a', 'b', 'c')
    bench.look(2)
    assert bench.intake.has_waiting and not bench.intake.needs_look and not bench.intake.may_poll
    assert bench.take() == ['a', 'b']
    assert bench.intake.needs_look
    bench.view.docs = docs('c')
    bench.look(2)
    assert bench.take() == ['c'] and bench.intake.may_poll


def test_what_is_not_chosen_waits_for_the_next_look(bench: Bench) -> None:
    bench.view.docs = docs('a', 'b', 'c')
    bench.intake.look(99, set(), lambda docs: docs[1:2])
    assert bench.take() == ['b'] and bench.intake.needs_look


def test_rows_that_are_older_than_their_documents_are_dropped(bench: Bench) -> None:
    claim = {'process': 'first', 'worker': 'another', 'since': 1.0}
    bench.view.docs = [*docs('a'), {**new('b'), 'claim': claim}, {**new('c'), 'status': 'bad'}]
    bench.look(9)
    assert bench.take() == ['a']


def test_a_row_whose_document_was_deleted_in_this_moment_is_dropped(bench: Bench) -> None:
    found = {'gone': None, 'gone too': None, 'a': docs('a')[0]}
    rows = [{'id': doc_id, 'key': [0, doc_id], 'doc': doc} for doc_id, doc in found.items()]
    bench.view.view = lambda viewname, **query: {'rows': rows, 'update_seq': '1-x'}  # type: ignore[method-assign]
    bench.look(9)
    assert bench.take() == ['a']


def test_what_is_in_flight_or_left_alone_is_passed_over_but_counted(bench: Bench) -> None:
    bench.view.docs = docs('a', 'b', 'c', 'd')
    bench.intake.leave_alone({'a': 'no'})
    bench.look(2, {'b'})
    assert bench.view.limits == [4]  # two to claim, beside the two that cannot be
    assert bench.take() == ['c', 'd']
    bench.intake.try_all_again()
    bench.look(9, {'b'})
    assert bench.take() == ['a', 'c', 'd']


def test_a_document_that_is_nested_too_deep_is_passed_over(bench: Bench) -> None:
    rows = [
        {'id': 'deep', 'key': [0, 'deep'], 'doc': None, 'error': nesting.TOO_DEEP},
        {'id': 'e', 'key': [0, 'e'], 'doc': docs('e')[0]},
    ]

    def view(viewname: str, **query: Any) -> dict[str, Any]:
        found = [row for row in rows if row['key'] >= query['startkey']]
        return {'rows': found[: query['limit']], 'update_seq': '1-x'}

    bench.view.view = view  # type: ignore[method-assign]
    bench.look(1)
    assert bench.take() == ['e']


@pytest.mark.parametrize('rows', [1, 2, 7])
def test_a_look_goes_on_until_it_has_something_or_all_was_seen(bench: Bench, rows: int) -> None:
    """However many are passed over: a look that brings nothing and says so would be made again at once."""
    bad = [{**doc, 'status': 'bad'} for doc in docs(*(f'a{number:03d}' for number in range(300)))]
    bench.view.docs = [*bad, *docs('b', 'c')]
    bench.look(rows)
    assert bench.take()[:1] == ['b'] and len(bench.view.limits) < 12
    bench.view.docs = bad
    bench.look(rows)
    assert bench.intake.is_empty and bench.intake.may_poll


def test_the_last_row_of_a_page_may_be_gone_when_the_next_is_read(bench: Bench) -> None:
    bad = [{**doc, 'status': 'bad'} for doc in docs('a', 'b')]
    bench.view.docs = [*bad, *docs('c')]
    view = bench.view.view

    def forgetful(viewname: str, **query: Any) -> dict[str, Any]:
        page = view(viewname, **query)
        bench.view.docs = [doc for doc in bench.view.docs if doc['_id'] != page['rows'][-1]['id']]
        return page

    bench.view.view = forgetful  # type: ignore[method-assign]
    bench.look(1)
    assert bench.take() == ['c']


def test_rows_of_a_name_that_only_looks_the_same_are_passed_over_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """CouchDB has them in one place, in the order of the ids (ICU collation)."""
    composed, decomposed = 'd\xe9p\xf4t', 'de\u0301po\u0302t'
    bench = Bench()
    bench.intake = Intake(cast(Database, bench.view), composed, cast(Feed, bench.feed))
    named = [('a', decomposed), ('b', decomposed), ('c', decomposed), ('d', composed), ('e', decomposed)]

    def view(viewname: str, **query: Any) -> dict[str, Any]:
        begin = query['startkey'][1] if len(query['startkey']) > 1 else ''
        rows = [
            {'id': doc_id, 'key': [name, doc_id], 'doc': {**docs(doc_id)[0], 'process': [{'name': name}]}}
            for doc_id, name in named
            if doc_id >= begin
        ]
        return {'rows': rows[: query['limit']], 'update_seq': '1-x'}

    bench.view.view = view  # type: ignore[method-assign]
    bench.look(1)
    assert bench.take() == ['d']
    bench.look(9)
    assert bench.intake.is_empty  # the revision of d was taken
    assert caplog.text.count("a: its last step is 'de\\u0301po\\u0302t', which is not 'd\\xe9p\\xf4t'") == 1


def test_what_the_feed_brings_is_taken_in_its_order(bench: Bench) -> None:
    bench.look(9)
    bench.page(*docs('b', 'a'), {**new('bad'), 'status': 'bad'}, sequence='5-page')
    assert bench.take(1) == ['b'] and not bench.intake.may_poll
    assert bench.take() == ['a'] and bench.intake.may_poll
    bench.intake.poll(3)
    assert bench.feed.polled == [('5-page', 3)]


def test_a_document_that_is_found_twice_is_claimed_once(bench: Bench) -> None:
    """A poll that is older than a look brings what the look has found, perhaps in another revision."""
    bench.view.docs = docs('a', 'b')
    bench.look(9)
    newer = {**new('a'), '_rev': '2-y'}
    bench.page(newer, *docs('b', 'c'))
    taken = bench.intake.pick(99, set())
    assert [doc['_id'] for doc in taken] == ['a', 'b', 'c'] and taken[0] == newer


def test_a_revision_is_claimed_once_though_the_feed_brings_it_again(bench: Bench) -> None:
    bench.look(9)
    bench.page(*docs('a'))
    assert bench.take() == ['a']
    bench.page(*docs('a', 'b'))
    assert bench.take() == ['b']
    bench.page({**new('a'), '_rev': '3-z'})  # it was released meanwhile
    assert bench.take() == ['a']
    bench.page({**new('a'), '_rev': '3-z'})
    bench.intake.try_all_again()
    assert bench.take() == ['a']  # a claim that the server refused is tried again at the sweep


@pytest.mark.parametrize(('doc', 'sequence'), [(None, '9-page'), (new('a'), None)])
def test_a_feed_that_tells_less_leaves_it_to_the_view(bench: Bench, doc: Document | None, sequence: str | None) -> None:
    bench.look(9)
    bench.page(doc, sequence=sequence)
    assert bench.intake.needs_look and bench.take() == []


def test_a_change_that_was_left_alone_needs_no_look(bench: Bench) -> None:
    bench.look(9)
    bench.page(None, error=nesting.TOO_DEEP)
    assert bench.intake.may_poll and bench.take() == []


def test_one_that_backs_off_goes_on_with_the_feed(bench: Bench) -> None:
    bench.view.docs = docs('a', 'b', 'c')
    bench.look(1)
    bench.intake.leave_the_rest()
    assert bench.take() == ['a'] and bench.intake.needs_look  # no sequence is known yet
    bench.look(9)
    assert bench.take() == ['b', 'c']
    bench.view.docs = docs('d', 'e')
    bench.intake.doubt()
    bench.look(1)
    bench.intake.leave_the_rest()
    assert bench.take() == ['d'] and bench.intake.may_poll


def test_what_is_no_longer_free_of_a_page_is_told(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.look(1)
    with caplog.at_level('INFO', 'edw'):
        bench.page(new('a', _rev='1-x'), {**new('b'), 'claim': {'process': 'x', 'worker': 'y'}})
    assert 'no longer free: 1 of them' in caplog.text
    assert [doc['_id'] for doc in bench.intake.pick(9, set())] == ['a']
