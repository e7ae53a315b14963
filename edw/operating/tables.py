"""The status of the database, and one document's history, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edw.database import views
from edw.model.documents import Document
from edw.model.timeline import DONE, FAILED, Event
from edw.operating.at_work import WorkerStatus, is_silent
from edw.operating.display import MINUTE, age, moment, number, safe, shortened
from edw.operating.status import NAMED, FailureKind, Status, StepStatus, is_left_alone

FIRST_STEP = '(first step)'
WIDE = 10_000  # columns where nobody looks: nothing is wrapped in a file or a pipe
ROOMY = 100  # columns from which on the steps' table has room for the workers' names, which stand below as well

Column = tuple[str, bool]  # heading, whether it holds numbers


def console() -> Console:
    """The console for stdout: with colours on a terminal, else wide and plain."""
    made = Console(markup=False, highlight=False, emoji=False)
    return made if made.is_terminal else Console(markup=False, highlight=False, emoji=False, no_color=True, width=WIDE)


def plain(made: Console, tables: RenderableType) -> str:
    """The tables as text without blanks at the ends of lines."""
    with made.capture() as captured:
        made.print(tables)
    return '\n'.join(line.rstrip() for line in captured.get().splitlines())


def overview(status: Status, where: str, lease: float, width: int) -> Group:
    """All of the status; `lease` in seconds, `width` in columns. Every text of a document in it is escaped."""
    parts: list[RenderableType] = [Text(f'{safe(where)}  {moment(status.time)}'), Text(_sums(status))]
    if status.steps:
        parts += [Text(), _steps(status, width >= ROOMY)]
    found = [Text(line, 'bold red') for line in remarks(status, lease)]
    if found:
        parts += [Text(), *found]
    if status.workers:
        parts += [Text(), _workers(status.workers, status.time, lease)]
    if status.failures:
        parts += [Text(), _failures(status.failures, status.time)]
    return Group(*parts)


def remarks(status: Status, lease: float) -> list[str]:
    """What needs somebody, a line each: steps that nobody works on, silent workers, odd documents."""
    lines = []
    for step in status.steps:
        if is_left_alone(step, status.time):
            waiting = number(step.waiting, 'document')
            oldest = '' if step.waiting_since is None else f', the oldest for {age(status.time - step.waiting_since)}'
            lines.append(f'{_name(step)}: nobody works on it. Waiting: {waiting}{oldest}')
    for worker in status.workers:
        if is_silent(worker, status.time, lease):
            last = worker.heartbeat if worker.heartbeat is not None else worker.since
            lines.append(
                f'{safe(worker.worker)} holds {number(worker.claims, "document")} of {safe(worker.step)}, '
                f'without a sign of life for {age(status.time - last)}'
            )
    for what, named in (
        ('documents in conflict', status.conflicts),
        ('good documents that no step will ever see', status.unplaced),
    ):
        if named:
            more = f' (the first {NAMED})' if len(named) == NAMED else ''
            lines.append(f'{what}{more}: {", ".join(map(safe, named))}')
    return lines


def history(doc: Document, events: list[Event]) -> Group:
    """One document's timeline."""
    status = doc.get('status')
    table = _table([('time', False), ('what', False), ('step', False), ('host', False), ('took', True), ('', False)])
    for event in events:
        style = {DONE: 'green', FAILED: 'red'}.get(event.what, '')
        text = '  '.join(filter(None, (event.file, event.text)))
        short = event.duration is not None and event.duration < MINUTE
        took = f'{event.duration:.3f} s' if short else age(event.duration)
        _add(table, (moment(event.time), event.what, event.step, event.hostname, took, text), style)
    return Group(Text(f'{safe(doc["_id"])}  {safe(views.text(status))}'), Text(), table)


def _sums(status: Status) -> str:
    parts = {
        'finished': status.finished,
        'waiting': sum(step.waiting for step in status.steps),
        'running': sum(worker.claims for worker in status.workers),
        'failed': status.failed,
        **{safe(other): count for other, count in status.others.items()},
    }
    return f'{number(status.documents, "document")}: ' + ', '.join(f'{count} {what}' for what, count in parts.items())


def _steps(status: Status, with_workers: bool) -> Table:
    columns = [('step', False), ('waiting', True), ('oldest', True), ('running', True), ('for', True)]
    by_column = [('by', False)] if with_workers else []
    table = _table([*columns, *by_column, ('last hour', True), ('done', True), ('failed', True)])
    for step in status.steps:
        workers = [worker.worker for worker in status.workers if worker.step == step.name]
        by = '-' if not workers else workers[0] if len(workers) == 1 else number(len(workers), 'worker')
        cells = (
            _name(step),
            step.waiting,
            _since(status.time, step.waiting_since),
            step.running,
            _since(status.time, step.running_since),
            *([by] if with_workers else []),
            step.done_last_hour,
            step.done,
            step.failed,
        )
        _add(table, cells, 'yellow' if is_left_alone(step, status.time) else '')
    return table


def _workers(workers: list[WorkerStatus], now: float, lease: float) -> Table:
    columns = [('worker', False), ('step', False), ('documents', True), ('for', True), ('last heartbeat', True)]
    table = _table(columns)
    for worker in workers:
        cells = (worker.worker, worker.step, worker.claims, _since(now, worker.since), _since(now, worker.heartbeat))
        _add(table, cells, 'red' if is_silent(worker, now, lease) else '')
    return table


def _failures(failures: list[FailureKind], now: float) -> Table:
    columns = [('failed', True), ('step', False), ('kind', False), ('newest', True), ('document', False)]
    table = _table([*columns, ('error', False)])
    for failure in failures:
        step = '-' if failure.step is None else failure.step
        newest = _since(now, failure.newest)
        cells = (failure.count, step, shortened(failure.kind), newest, failure.doc_id, shortened(failure.error))
        _add(table, cells)
    return table


def _table(columns: list[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style='bold')
    for heading, is_number in columns:
        # Folded where the terminal is narrow, so that no part of a name is lost.
        table.add_column(heading, justify='right' if is_number else 'left', overflow='fold')
    return table


def _add(table: Table, cells: Iterable[Any], style: str = '') -> None:
    # As Text, in which no brackets are markup.
    table.add_row(*(Text(safe(str(cell)), style) for cell in cells))


def _since(now: float, since: float | None) -> str:
    return age(None if since is None else now - since)


def _name(step: StepStatus) -> str:
    return safe(step.name) or FIRST_STEP
