"""The status of the database, and one document's history, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edw.claiming.farms import FarmStatus
from edw.database import views
from edw.keeping.forecast import Disk
from edw.model.documents import Document
from edw.model.timeline import DONE, FAILED, Event, raised_at
from edw.operating.annotations import notes
from edw.operating.at_work import ListenerStatus
from edw.operating.checks import is_left_alone, is_silent, remarks
from edw.operating.conflicts import Conflict
from edw.operating.display import DAY, MINUTE, age, age_of, moment, number, safe, shortened, size, step_name
from edw.operating.status import FailureKind, Status

WIDE = 10_000  # columns where nobody looks: nothing is wrapped in a file or a pipe
ROOMY = 100  # columns from which on the steps' table has room for the listeners' names, which stand below as well

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
    if status.listeners:
        parts += [Text(), _listeners(status.listeners, status.time, lease)]
    if status.farms:
        parts += [Text(), _farms(status.farms, status.time)]
    if status.failures:
        parts += [Text(), _failures(status.failures, status.time)]
    if status.disks:
        parts += [Text(), _disks(status.disks)]
    return Group(*parts)


def history(doc: Document, events: list[Event]) -> Group:
    """One document's timeline."""
    status = doc.get('status')
    table = _table([('time', False), ('what', False), ('step', False), ('host', False), ('took', True), ('', False)])
    for event in events:
        style = {DONE: 'green', FAILED: 'red'}.get(event.what, '')
        text = '  '.join(filter(None, (event.file, event.text, raised_at(event.traceback), event.software)))
        short = event.duration is not None and event.duration < MINUTE
        took = f'{event.duration:.3f} s' if short else age(event.duration)
        _add(table, (moment(event.time), event.what, event.step, event.hostname, took, text), style)
    said = [Text(line) for line in _said(doc)]
    return Group(Text(f'{safe(doc["_id"])}  {safe(views.text(status))}'), *said, Text(), table)


def _said(doc: Document) -> list[str]:
    """The kind of its run, and what people said of a document, a line each."""
    found = notes([doc])
    kind = [f'condition: {shortened(views.text(doc["condition"]))}'] if doc.get('condition') is not None else []
    lines = [*kind, *(f'held: {shortened(reason)}' for reason in found.holds)]
    lines += [f'quality: {safe(quality)}' for quality in found.qualities]
    if found.tags:
        lines.append(f'tags: {", ".join(map(safe, found.tags))}')
    return lines + [f'{moment(time)} {safe(who)}: {safe(text)}' for time, who, text in found.comments]


def conflict(found: Conflict) -> Group:
    """A document in conflict: its versions side by side, and the commands that keep one of them."""
    seen, *hidden = found.revisions
    table = _table(
        [('', False), (f'{seen} (the one that is seen)', False), *((revision, False) for revision in hidden)]
    )
    for name, texts in found.rows:
        _add(table, (name, *texts))
    parts: list[RenderableType] = [Text(safe(found.doc_id), 'bold'), Text(), table]
    for kept in found.revisions:
        parts += [Text(), Text(f'to keep {kept}:')]
        others = zip(found.revisions, found.deletions, strict=True)
        parts += [Text(safe(command)) for revision, command in others if revision != kept]
    return Group(*parts)


def _sums(status: Status) -> str:
    parts = {
        'finished': status.finished,
        'waiting': status.waiting,
        'running': status.running,
        'failed': status.failed,
        **{safe(other): count for other, count in status.others.items()},
    }
    return f'{number(status.documents, "document")}: ' + ', '.join(f'{count} {what}' for what, count in parts.items())


def _steps(status: Status, with_listeners: bool) -> Table:
    columns = [('step', False), ('waiting', True), ('oldest', True), ('running', True), ('for', True)]
    by_column = [('by', False)] if with_listeners else []
    table = _table([*columns, *by_column, ('last hour', True), ('done', True), ('failed', True)])
    for step in status.steps:
        names = [listener.name for listener in status.listeners if listener.step == step.name]
        by = '-' if not names else names[0] if len(names) == 1 else number(len(names), 'listener')
        cells = (
            step_name(step.name),
            step.waiting,
            age_of(step.waiting_since, status.time),
            step.running,
            age_of(step.running_since, status.time),
            *([by] if with_listeners else []),
            step.done_last_hour,
            step.done,
            step.failed,
        )
        _add(table, cells, 'yellow' if is_left_alone(step, status.time) else '')
    return table


def _listeners(listeners: list[ListenerStatus], now: float, lease: float) -> Table:
    columns = [('listener', False), ('step', False), ('documents', True), ('for', True), ('last heartbeat', True)]
    table = _table(columns)
    for listener in listeners:
        cells = (
            listener.name,
            listener.step,
            listener.claims,
            age_of(listener.since, now),
            age_of(listener.heartbeat, now),
        )
        _add(table, cells, 'red' if is_silent(listener, now, lease) else '')
    return table


def _farms(farms: list[FarmStatus], now: float) -> Table:
    columns = [('farm of', False), ('nodes', True), ('room', True), ('running', True), ('since', True)]
    table = _table([*columns, ('listener', False)])
    for farm in farms:
        cells = (farm.step, farm.nodes, farm.room, farm.running, age_of(farm.since, now), farm.listener)
        _add(table, cells, 'red' if farm.away else '')
    return table


def _failures(failures: list[FailureKind], now: float) -> Table:
    columns = [('failed', True), ('step', False), ('kind', False), ('newest', True), ('document', False)]
    table = _table([*columns, ('error', False)])
    for failure in failures:
        step = '-' if failure.step is None else failure.step
        newest = age_of(failure.newest, now)
        cells = (failure.count, step, shortened(failure.kind), newest, failure.doc_id, shortened(failure.error))
        _add(table, cells)
    return table


def _disks(disks: list[Disk]) -> Table:
    table = _table([('disk', False), ('free', True), ('of', True), ('share', True), ('a day', True), ('full in', True)])
    for disk in disks:
        share = f'{100 * disk.free / max(1, disk.total):.0f} %'
        a_day = '-' if disk.per_day is None else size(disk.per_day)
        full_in = '-' if disk.full_in is None else age(DAY * disk.full_in)
        cells = (', '.join(disk.folders), size(disk.free), size(disk.total), share, a_day, full_in)
        _add(table, cells, 'red' if disk.is_filling else '')
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
