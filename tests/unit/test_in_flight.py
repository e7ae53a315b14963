"""Claimed documents on their way to the written result, with an engine that does what the test says."""

from __future__ import annotations

import time
from typing import Any

import pytest

from edw.claiming.results import Refused
from edw.engines.callbacks import Outcome
from edw.engines.engine import NotRun, Running
from edw.inbox import Inbox
from edw.listening.in_flight import PATIENCE, InFlight
from edw.listening.metrics import UNHEARD
from edw.listening.policy import NEVER, NOW, Load, Policy
from edw.listening.steps import Step
from edw.model import documents
from edw.model.documents import Document
from tests.loops import names
from tests.unit.memory import SETTINGS, new

NAME = 'here:1:abc'


class Engine:
    """Has callbacks end when it is told to."""

    def __init__(self) -> None:
        self.given: dict[str, Running] = {}
        self.ended = False

    def submit(self, doc: Document) -> Running:
        self.given[doc['_id']] = Running()
        return self.given[doc['_id']]

    def begin(self, doc_id: str) -> None:
        assert self.given[doc_id].set_running_or_notify_cancel()

    def finish(self, doc_id: str, **outcome: Any) -> None:
        if not self.given[doc_id].running():
            self.begin(doc_id)
        self.given[doc_id].set_result(Outcome(1.0, 2.0, 1.0, **outcome))

    def end(self) -> None:
        self.ended = True


class Bench:
    """An InFlight, and the loop around it."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.inbox: Inbox[Any] = Inbox()
        self.policy = Policy(NAME, 500, clock=time.monotonic, uniform=lambda low, high: high)
        self.policy.workers_are(1)
        step = Step('first', 0, 'first failed')
        self.in_flight = InFlight(self.engine, step, SETTINGS, self.policy, UNHEARD, self.inbox)

    def claim(self, *ids: str, **fields: Any) -> list[Document]:
        docs = [documents.claimed({**new(doc_id, **fields), '_rev': '2-x'}, 'first', NAME, 1.0) for doc_id in ids]
        self.in_flight.submit(docs)
        return docs

    def happen(self) -> None:
        for running in self.inbox.take(0.0):
            self.in_flight.finish(running)

    def versions(self) -> list[Document]:
        return [update.change(update.doc) for update in self.in_flight.unwritten]

    def write(self) -> list[Document]:
        written = self.versions()
        self.in_flight.settle([*written], NAME)
        return written


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_result_is_an_entry_without_the_claim(bench: Bench) -> None:
    bench.claim('a')
    assert bench.in_flight.load == Load(running=1) and bench.in_flight.write_due == NEVER
    bench.engine.finish('a', entry={'file': 'f'})
    bench.happen()
    assert bench.in_flight.load == Load(unwritten=1) and bench.in_flight.write_due == NOW
    (version,) = bench.write()
    assert version['process'][0]['name'] == 'first' and version['process'][0]['file'] == 'f'
    assert 'claim' not in version and len(bench.in_flight) == 0


def test_the_pace_is_told_to_the_policy(bench: Bench) -> None:
    bench.claim('a')
    bench.engine.given['a'].set_running_or_notify_cancel()
    bench.engine.given['a'].set_result(Outcome(1.0, 1.0, 0.0, entry={}))
    bench.happen()
    assert bench.policy.target > 1


def test_what_is_skipped_is_written_and_tells_nothing_of_pace_and_places(bench: Bench) -> None:
    step = Step('first', 0, 'first failed', when=lambda doc: 'not for it')
    bench.in_flight = InFlight(bench.engine, step, SETTINGS, bench.policy, UNHEARD, bench.inbox)
    bench.policy.wait.place_away('the disk is full')
    bench.claim('a')
    assert bench.in_flight.load == Load(running=1) and bench.engine.given == {}
    bench.happen()
    (version,) = bench.write()
    assert version['process'][0]['skipped'] == 'not for it' and 'claim' not in version
    assert bench.policy.target == 1 and bench.policy.wait.waits


def test_what_the_engine_could_not_run_goes_back_and_no_attempt_is_counted(bench: Bench) -> None:
    bench.claim('a')
    bench.engine.begin('a')
    bench.engine.given['a'].set_exception(NotRun('the node is gone'))
    bench.happen()
    (version,) = bench.write()
    assert 'claim' not in version and 'failures' not in version and len(bench.in_flight) == 0


def test_a_failure_rests_and_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    bench.claim('a')
    bench.engine.finish('a', error='ValueError: no')
    bench.happen()
    (version,) = bench.write()
    assert version['failures'][0]['attempt'] == 1 and version['claim']['worker'] == NAME and version['status'] == 'good'
    assert bench.in_flight.load == Load(resting=1)
    assert bench.in_flight.rest_due == now + SETTINGS.retry_pause
    bench.in_flight.resume()
    assert bench.in_flight.load == Load(resting=1)
    now += SETTINGS.retry_pause
    bench.in_flight.resume()
    assert bench.in_flight.load == Load(running=1) and bench.in_flight.rest_due == NEVER


@pytest.mark.parametrize(('before', 'final'), [([1, 2], False), ([], True)])
def test_the_last_attempt_sets_the_status(bench: Bench, before: list[int], final: bool) -> None:
    bench.claim('a', failures=[{'process': 'first', 'attempt': attempt} for attempt in before])
    bench.engine.finish('a', error='ValueError: no', final=final)
    bench.happen()
    (version,) = bench.write()
    assert version['status'] == 'first failed' and 'claim' not in version
    assert len(version['failures']) == len(before) + 1
    assert bench.in_flight.failed == 1 and len(bench.in_flight) == 0


def test_an_engine_that_cannot_run_the_step_is_a_failed_attempt(bench: Bench) -> None:
    bench.claim('a')
    bench.engine.begin('a')
    bench.engine.given['a'].set_exception(MemoryError())
    bench.happen()
    assert bench.write()[0]['failures'][0]['error'] == 'MemoryError: the step could not be run'


def test_of_lost_claims_what_has_not_begun_is_dropped(bench: Bench) -> None:
    bench.claim('begun', 'lost', 'held', 'rests', 'rests_lost')
    for doc_id in ('rests', 'rests_lost'):
        bench.engine.finish(doc_id, error='ValueError: no')
    bench.engine.begin('begun')
    bench.happen()
    bench.write()
    due = bench.in_flight.rest_due
    assert bench.in_flight.keep({'held', 'rests'}) == 2
    bench.happen()
    assert bench.in_flight.ids == {'begun', 'held', 'rests'}  # the result of what runs will be refused
    assert bench.in_flight.load == Load(running=2, resting=1) and bench.in_flight.rest_due == due


def test_closing_lets_what_runs_finish_and_releases_the_rest(bench: Bench) -> None:
    bench.claim('a', 'b')
    bench.engine.begin('a')
    bench.in_flight.close()
    assert [(doc['_id'], 'claim' in doc) for doc in bench.write()] == [('b', False)]
    bench.engine.finish('a', error='ValueError: no')
    bench.happen()
    assert bench.write()[0]['failures'][0]['attempt'] == 1
    assert ['claim' in doc for doc in bench.write()] == [False]  # it is not tried again now
    bench.claim('c')  # an answer that came late
    assert [doc['_id'] for doc in bench.write()] == ['c']
    assert len(bench.in_flight) == 0 and not bench.engine.ended


def test_breaking_off_releases_what_runs(bench: Bench) -> None:
    bench.claim('a')
    bench.engine.begin('a')
    bench.in_flight.break_off()
    assert bench.engine.ended and ['claim' in doc for doc in bench.versions()] == [False]
    bench.engine.finish('a', entry={})  # too late
    bench.happen()
    assert len(bench.in_flight) == 1


def test_a_result_that_came_while_others_were_written_is_kept(bench: Bench) -> None:
    bench.claim('a', 'b')
    bench.engine.finish('a', entry={})
    bench.happen()
    written = bench.versions()
    bench.engine.finish('b', entry={})
    bench.happen()
    bench.in_flight.settle([*written], NAME)
    assert [doc['_id'] for doc in bench.versions()] == ['b']


TOO_LARGE, PASSING, FORBIDDEN = (Refused(word, f'{word}: no') for word in ('too_large', 'timeout', 'forbidden'))


def finished(bench: Bench, *ids: str) -> None:
    bench.claim(*ids)
    for doc_id in ids:
        bench.engine.finish(doc_id, entry={})
    bench.happen()


def test_a_result_that_is_refused_for_good_becomes_a_failure_and_then_the_status_alone(bench: Bench) -> None:
    finished(bench, 'a')
    bench.in_flight.settle([TOO_LARGE], NAME)
    (failure,) = bench.versions()
    assert failure['status'] == 'first failed'
    assert failure['failures'][0]['error'] == 'the database refused the result: too_large: no'
    bench.in_flight.settle([TOO_LARGE], NAME)
    (bare,) = bench.versions()
    assert bare['status'] == 'first failed' and 'failures' not in bare and 'claim' not in bare
    bench.in_flight.settle([bare], NAME)
    assert len(bench.in_flight) == 0 and bench.in_flight.failed == 1 and not bench.in_flight.holds_claims


def test_what_is_refused_for_now_is_offered_again_ever_more_slowly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    finished(bench, 'a', 'b')
    pauses = []
    for _ in range(8):
        bench.in_flight.settle([PASSING] * len(bench.versions()), NAME)
        assert bench.versions() == [] and bench.in_flight.ids == {'a', 'b'} and len(bench.in_flight) == 2
        assert bench.in_flight.load == Load(resting=2)
        pauses.append(bench.in_flight.rest_due - now)
        now = bench.in_flight.rest_due
        bench.in_flight.resume()
        assert [doc['_id'] for doc in bench.versions()] == ['a', 'b']
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    bench.write()
    assert len(bench.in_flight) == 0 and bench.in_flight.failed == 0


@pytest.mark.parametrize('others_pass', [False, True])
def test_what_is_forbidden_for_minutes_is_about_the_result_where_others_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, others_pass: bool
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    finished(bench, 'a')
    bench.in_flight.settle([FORBIDDEN], NAME)
    now += PATIENCE - 1
    bench.in_flight.resume()
    if others_pass:
        bench.claim('b')
    bench.in_flight.settle([FORBIDDEN], NAME)
    assert bench.in_flight.failed == 0
    now += 60
    bench.in_flight.resume()
    bench.in_flight.settle([FORBIDDEN], NAME)
    assert bench.in_flight.failed == others_pass


def test_at_the_end_a_refused_result_is_offered_once_more_and_then_the_claim_is_released(bench: Bench) -> None:
    finished(bench, 'a', 'b')
    bench.in_flight.settle([PASSING, PASSING], NAME)
    bench.in_flight.close()
    assert [names(doc) for doc in bench.versions()] == [['first'], ['first']]
    bench.in_flight.settle([bench.versions()[0], PASSING], NAME)
    (released,) = bench.versions()
    assert released['_id'] == 'b' and names(released) == [] and 'claim' not in released
    bench.in_flight.settle([PASSING], NAME)
    assert len(bench.in_flight) == 0 and bench.in_flight.holds_claims  # for the heartbeat process to release


def test_a_failure_whose_claim_was_lost_is_not_tried_again(bench: Bench) -> None:
    bench.claim('a')
    bench.engine.finish('a', error='ValueError: no')
    bench.happen()
    bench.in_flight.settle([None], NAME)
    assert len(bench.in_flight) == 0
