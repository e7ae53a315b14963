"""What waits, runs, is done and has failed, from grouped views: as fast with a million documents as with ten.

The views are read one after the other while listeners work on: a document that moves meanwhile may be counted twice
or not at all. The next look has it right.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edw.database import design, views
from edw.database.client import Database
from edw.keeping import forecast
from edw.keeping.forecast import Disk
from edw.model import documents
from edw.model.chain import Place, chain_of, lookalike
from edw.model.run_state import OPEN, state_of
from edw.operating import at_work
from edw.operating.at_work import ListenerStatus
from edw.redact import redact
from edw.telling import farms, waits
from edw.telling.farms import FarmStatus

HOUR = 3600.0  # seconds
# What is read of each at most, so that a database full of odd documents cannot make a look slow.
GROUPS = 1000  # steps, kinds of failure, statuses
DETAILED = 50  # steps of which is asked what was done in the last hour
KINDS = 20  # kinds of failure that are listed, the most frequent ones
RUNS = 12  # the last ones
NEWEST_HOURS = (
    200  # hours of runs that are read at first, to find the last runs; if they are too few, four times as many
)
NAMED = 10  # documents in conflict, and unplaced ones, that are named
VIEWS = (
    views.CLAIMS,
    views.CONFLICTS,
    views.DONE,
    views.ENTRIES,
    views.FAILED,
    views.NEWEST,
    views.QUEUE,
    views.RUNS,
    views.STATUS,
    views.UNPLACED,
)


@dataclass(frozen=True)
class StepStatus:
    """A step, in the order of the chain; times are seconds since the epoch.

    `after` is the step before it, 0 for the first, None where it is not known. `name` is '' where new documents wait
    and no step was ever done. `waiting_since` is that of the oldest waiting document with a time, `running_since` that
    of the oldest claim, `done_newest` the minute in which the step was last done, if in the last hour; None where there
    is none. `done` counts entries of `process`, those of the original scripts, which hold no time, only in all.
    `waits_for` is the place that is away, or what else a listener of the step waits for, since `waits_since`; None
    where none waits. `listeners` are those of the step that anybody knows of;
    where there is none and documents wait, `script` is the one to start, '' if it is not known here.
    """

    name: str
    after: str | int | None
    waiting: int
    waiting_since: float | None
    running: int
    running_since: float | None
    done_last_hour: int
    done: int
    failed: int
    done_newest: float | None = None
    waits_for: str | None = None
    waits_since: float | None = None
    listeners: int = 0
    script: str = ''


@dataclass(frozen=True)
class FailureKind:
    """Documents that failed with errors of one kind, and the newest of these. `step` is None where nobody knows."""

    step: str | None
    kind: str
    count: int
    newest: float | None
    doc_id: str
    error: str


@dataclass(frozen=True)
class Status:
    """All of it, at `time` (seconds since the epoch).

    `documents` counts those that have a status, `finished` the free ones behind the last step of the chain, `failed`
    those that failed for good, also of kinds that are too many to be in `failures`. `others` counts the statuses that
    are neither good nor a failure. `conflicts` and `unplaced` name the first NAMED documents. `disks` are those of the
    machine that asks, `runs` the last RUNS, the highest first.
    """

    time: float
    documents: int
    finished: int
    steps: list[StepStatus]
    listeners: list[ListenerStatus]
    failures: list[FailureKind]
    others: dict[str, int]
    conflicts: list[str]
    unplaced: list[str]
    failed: int = 0
    disks: list[Disk] = field(default_factory=list)
    farms: list[FarmStatus] = field(default_factory=list)
    runs: list[RunStatus] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Documents that wait for any step."""
        return sum(step.waiting for step in self.steps)

    @property
    def running(self) -> int:
        """Documents that any listener holds."""
        return sum(listener.claims for listener in self.listeners)


@dataclass(frozen=True)
class RunStatus:
    """A run: its documents by state, which is the last step, 'new', or the status where that is not good.

    `state` is that of the run itself: open, closed, complete, summarised, held, another step that is done on it, or the
    status of a failure, which `is_bad` then. `newest` is when the newest of its documents was made, in seconds since
    the epoch; None where none says it.
    """

    run: str
    documents: int
    by_state: dict[str, int]
    failed: int
    state: str = OPEN
    is_bad: bool = False
    newest: float | None = None


def read(database: Database) -> Status:
    """The status of the database. Raises DatabaseError; NotFound where the design document is older than this."""
    now = time.time()
    listeners = at_work.listeners(database)
    waiting_listeners = waits.read(database)
    failed = views.counts(database, views.FAILED, limit=GROUPS)
    waiting = views.waiting(database, limit=GROUPS)
    edges = dict(views.edges(database, GROUPS))
    done: defaultdict[str, int] = defaultdict(int)
    for (_, step), count in edges.items():
        done[step] += count
    told: list[tuple[str, Place | None]] = [(wait.step, wait.after) for wait in waiting_listeners]
    told += [(listener.step, listener.after) for listener in listeners]
    running = {step for step, _ in told}
    lately = {
        step: _done_since(database, step, now - HOUR) for step in sorted(done, key=lambda step: done[step])[-DETAILED:]
    }
    active = running | {step for step, minutes in lately.items() if minutes}
    never_done = dict.fromkeys(step for step in [*sorted(running), *failed] if step is not None and step not in done)
    places = {step: _place_before(database, step) for step in list(never_done)[:DETAILED]}
    places |= {step: after for step, after in told if after is not None and step not in done}
    edges.update(((place, step), 0) for step, place in places.items() if place is not None)
    chain = chain_of(edges, active)

    def row(step: str | None) -> StepStatus:
        """Of None where new documents wait for a step that nobody knows."""
        before = [0] if step is None else [place for place, following in chain.next.items() if following == step]
        waits_here = [waiting[place] for place in before if place in waiting]
        minutes = [] if step is None else lately.get(step, [])
        holders = [listener for listener in listeners if listener.step == step]
        waiters = [wait for wait in waiting_listeners if wait.step == step]
        wait = next(iter(waiters), None)
        known = {each.name for each in holders} | {each.listener for each in waiters}
        waits_now = sum(found.documents for found in waits_here)
        return StepStatus(
            name=step or '',
            after=0 if step is None else chain.before.get(step),
            waiting=waits_now,
            waiting_since=_oldest(found.since for found in waits_here),
            running=sum(listener.claims for listener in holders),
            running_since=_oldest(listener.since for listener in holders),
            done_last_hour=sum(count for _, count in minutes),
            done=0 if step is None else done.get(step, 0),
            failed=failed.get(step, 0) if step is not None else 0,
            done_newest=max((minute for minute, _ in minutes), default=None),
            waits_for=None if wait is None else wait.reason,
            waits_since=None if wait is None else wait.since,
            listeners=len(known),
            script=at_work.script_of(step) if step and waits_now and not known else '',
        )

    steps: list[str | None] = [*chain.steps, *(step for step in never_done if step not in chain.steps)]
    if 0 in waiting and 0 not in chain.next:
        steps.insert(0, None)
    statuses = views.rows(database, views.STATUS, group=True, limit=GROUPS)
    ended = {place for place in waiting if place != 0 and place not in chain.next}
    alike = {place: like for place in ended if (like := lookalike(place, chain.next)) is not None}
    lookalikes = [
        f'{waiting[place].documents} behind {place!a} (which only looks like {like!a})' for place, like in alike.items()
    ]
    ended -= alike.keys() | _places_of_runs(edges)
    return Status(
        time=now,
        documents=views.total(database, views.STATUS),
        finished=sum(found.documents for place, found in waiting.items() if place in ended),
        steps=[row(step) for step in steps],
        listeners=listeners,
        failures=_failures(database),
        others={views.text(row['key']): row['value'] for row in statuses if _is_other(row['key'])},
        conflicts=[row['id'] for row in views.rows(database, views.CONFLICTS, reduce=False, limit=NAMED)],
        unplaced=[*design.unplaced(database, NAMED), *lookalikes][:NAMED],
        failed=sum(failed.values()),
        disks=forecast.disks(database, [step for place, step in edges if place == 0]),
        farms=farms.read(database),
        runs=runs(database, RUNS),
    )


def as_json(status: Status) -> dict[str, Any]:
    """The same as JSON has it, without secrets in any text."""
    redacted: dict[str, Any] = _redacted(dataclasses.asdict(status))
    return redacted


def throughput(database: Database, hours: float) -> dict[str, list[tuple[float, int]]]:
    """How many documents each step was done on, by minute, in the last `hours`: step -> (minute, count).

    Minutes are seconds since the epoch, in ascending order; those in which nothing was done are left out.
    """
    since = time.time() - hours * HOUR
    steps = [row['key'][0] for row in views.rows(database, views.DONE, group_level=1, limit=DETAILED)]
    return {step: _done_since(database, step, since) for step in steps}


def runs(database: Database, limit: int, skip: int = 0) -> list[RunStatus]:
    """The last `limit` runs behind the `skip` last ones: those with the newest files first."""
    last = last_runs(database, skip + limit)[skip:]
    own = database.existing(run for run, _ in last if run and not run.startswith('_'))
    found = [_run_status(database, run, newest, own.get(run)) for run, newest in last]
    return [run for run in found if run.documents]  # the others were deleted between the requests


def last_runs(database: Database, limit: int) -> list[tuple[str, float | None]]:
    """The last `limit` runs, with the time of their newest document (seconds since the epoch): the newest first.

    Those whose documents hold no time come last, by name. As fast with many runs as with few: what is read are the last
    hours, whole ones, in which so many runs have documents.
    """
    size = NEWEST_HOURS
    while True:
        rows = views.rows(database, views.NEWEST, group=True, descending=True, limit=size)
        newest: dict[str, float] = {}
        hour, in_whole_hours = None, 0
        for row in rows:
            if row['key'][0] != hour:  # all of the hour before was read
                hour, in_whole_hours = row['key'][0], len(newest)
            newest[row['key'][1]] = max(row['value']['max'], newest.get(row['key'][1], 0.0))
        if len(rows) < size or in_whole_hours >= limit:
            ordered = sorted(newest.items(), key=lambda one: (one[1], one[0]), reverse=True)
            return [(run, time or None) for run, time in ordered[:limit]]
        size *= 4


def count_runs(database: Database) -> int:
    """How many runs there are. It reads each of them: a quarter of a second for 10,000."""
    return len({row['key'][0] for row in views.rows(database, views.RUNS, group_level=1)})


def rows_of_run(database: Database, run: str) -> list[dict[str, Any]]:
    """`id`, `status` and `last_step` (0: none yet) of a run's documents, in the order of their ids."""
    rows = views.rows(database, views.RUNS, reduce=False, startkey=[run], endkey=[run, views.LAST])
    return sorted(
        ({'id': row['id'], 'status': row['key'][1], 'last_step': row['key'][2]} for row in rows),
        key=lambda row: row['id'],
    )


def _run_status(database: Database, run: str, newest: float | None, own: documents.Document | None) -> RunStatus:
    by_state: defaultdict[str, int] = defaultdict(int)
    failed = 0
    for row in views.rows(database, views.RUNS, group=True, startkey=[run], endkey=[run, views.LAST]):
        name, status, step = row['key']
        if name != run:
            continue  # it only looks the same
        state = (step or 'new') if status == documents.GOOD else views.text(status)
        by_state[state] += row['value']
        failed += row['value'] * documents.is_failed_status(status)
    state = state_of(own)
    # An open run has no document that could be held.
    words = documents.HELD if state.doc_id is None and set(by_state) == {documents.HELD} else state.words
    return RunStatus(run, sum(by_state.values()), dict(by_state), failed, words, state.is_bad, newest)


def _failures(database: Database) -> list[FailureKind]:
    groups = views.rows(database, views.FAILED, group_level=2, limit=GROUPS)
    kinds = []
    for group in sorted(groups, key=lambda group: -group['value'])[:KINDS]:
        step, kind = group['key']
        ends = {'startkey': [step, kind, views.LAST], 'endkey': [step, kind]}
        for row in views.rows(database, views.FAILED, reduce=False, descending=True, limit=1, **ends):
            error = row['value'] if isinstance(row['value'], str) else ''
            newest = documents.number(row['key'][2])
            kinds.append(FailureKind(step, redact(kind), group['value'], newest, row['id'], redact(error)))
    return kinds


def _places_of_runs(edges: Iterable[tuple[Place, str]]) -> set[Place]:
    """The places of documents of runs: behind the entry that begins them, and behind the steps that follow it."""
    found: set[Place] = set()
    new: set[Place] = {documents.RUN_COMPLETE}
    while new:
        found |= new
        new = {step for place, step in edges if place in new and step not in found}
    return found


def _place_before(database: Database, step: str) -> Place | None:
    """The last step of a document that this step is working on or has failed on: it was never done yet."""
    for view, key in ((views.CLAIMS, [step]), (views.FAILED, [step])):
        query = {'startkey': key, 'endkey': [*key, views.LAST], 'reduce': False, 'include_docs': True, 'limit': 1}
        for row in views.rows(database, view, **query):
            if row.get('doc'):
                return documents.last_step(row['doc'])
    return None


def _done_since(database: Database, step: str, since: float) -> list[tuple[float, int]]:
    """How many documents a step was done on in each minute (seconds since the epoch) that it was done in at all."""
    ends = {'startkey': [step, since], 'endkey': [step, time.time() + HOUR]}  # not what a clock gone wrong says
    minutes = views.rows(database, views.DONE, group=True, **ends)
    return [(minute, row['value']) for row in minutes if (minute := documents.number(row['key'][1])) is not None]


def _oldest(times: Iterable[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {redact(key): _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _is_other(status: Any) -> bool:
    return status != documents.GOOD and not documents.is_failed_status(status)
