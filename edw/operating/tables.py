"""The status of the database, and one document's history, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from edw.database import views
from edw.keeping.forecast import Disk
from edw.model.documents import Document
from edw.model.timeline import DONE, FAILED, Event, raised_at
from edw.operating.annotations import notes
from edw.operating.at_work import ListenerStatus
from edw.operating.checks import is_left_alone, is_silent, nobody_listens, remarks
from edw.operating.conflicts import Conflict
from edw.operating.display import (
    DAY,
    MINUTE,
    WIDE,
    age,
    age_of,
    entries,
    moment,
    number,
    safe,
    shortened,
    size,
    step_name,
    wrapped,
)
from edw.operating.listing import Listing
from edw.operating.status import FailureKind, RunStatus, Status
from edw.telling.farms import FarmStatus

RUNS_SHOWN = 5  # of those of the status
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


def overview(status: Status, where: str, lease: float, width: int, may_break: bool = False) -> Group:
    """All of the status; `lease` in seconds, `width` in columns. Every text of a document in it is escaped.

    `may_break`: paths that are longer than a line are broken, where the number of lines must be known.
    """
    parts: list[RenderableType] = [Text(f'{safe(where)}  {moment(status.time)}'), Text(_sums(status))]
    if status.steps:
        parts += [Text(), _steps(status, width >= ROOMY)]
    found = [
        _line(line, 'bold red', may_break) for remark in remarks(status, lease) for line in wrapped(remark, width, '')
    ]
    if found:
        parts += [Text(), *found]
    if status.runs:
        parts += [Text(), _runs(status.runs[:RUNS_SHOWN])]
    if status.listeners:
        parts += [Text(), _listeners(status.listeners, status.time, lease)]
    if status.farms:
        parts += [Text(), _farms(status.farms, status.time)]
    if status.failures:
        parts += [Text(), _failures(status.failures, status.time, width, may_break)]
    if status.disks:
        parts += [Text(), _disks(status.disks)]
    return Group(*parts)


def history(doc: Document, events: list[Event], width: int = WIDE) -> Group:
    """One document's timeline, on a screen of `width` columns."""
    columns = [('time', False), ('what', False), ('step', False), ('host', False), ('took', True), ('', False)]
    rows = []
    for event in events:
        text = '  '.join(
            filter(None, (event.file, event.text, event.returned, raised_at(event.traceback), event.software))
        )
        short = event.duration is not None and event.duration < MINUTE
        took = f'{event.duration:.3f} s' if short else age(event.duration)
        style = {DONE: 'green', FAILED: 'red'}.get(event.what, '')
        rows.append(((moment(event.time), event.what, event.step, event.hostname, took, text), style))
    said = [Text(line) for line in _said(doc)]
    table = _listed(columns, rows, width)
    return Group(Text(f'{safe(doc["_id"])}  {safe(views.text(doc.get("status")))}'), *said, Text(), table)


def listing(found: Listing, now: float, width: int) -> Group:
    """Documents with what is wrong with them, one a line; and how many more there are."""
    columns = [('document', False), ('since', False), ('age', True), ('state', False), ('what', False)]
    rows = [
        ((one.doc_id, moment(one.time), age_of(one.time, now), one.state, one.what), 'red' if one.is_failed else '')
        for one in found.documents
    ]
    parts: list[RenderableType] = [_listed(columns, rows, width)] if rows else []
    if found.more:
        parts.append(Text(f'and {found.more} more'))
    return Group(*parts)


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
    by_column = [('listeners', False)] if with_listeners else []
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
        _add(table, cells, 'yellow' if nobody_listens(step) or is_left_alone(step, status.time) else '')
    return table


def _runs(runs: list[RunStatus]) -> Table:
    table = _table([('run', False), ('state', False), ('files', True), ('failed', True), ('how far', False)])
    for run in runs:
        far = ', '.join(f'{count} {shortened(state)}' for state, count in sorted(run.by_state.items()))
        _add(table, (run.run, shortened(run.state), run.documents, run.failed, far), 'red' if run.is_bad else '')
    return table


def _listeners(listeners: list[ListenerStatus], now: float, lease: float) -> Table:
    columns = [('listener', False), ('step', False), ('callbacks', False), ('version', False), ('there for', True)]
    table = _table([*columns, ('documents', True), ('for', True), ('last heartbeat', True)])
    for listener in listeners:
        cells = (
            listener.name,
            listener.step,
            listener.callbacks or '-',
            _version(listener) or '-',
            age_of(listener.started, now),
            listener.claims,
            age_of(listener.since, now),
            age_of(listener.heartbeat, now),
        )
        _add(table, cells, 'red' if is_silent(listener, now, lease) else '')
    return table


def _version(listener: ListenerStatus) -> str:
    """The step's own, and the suite's."""
    return f'{listener.version} (edw {listener.software})' if listener.software else listener.version


def _farms(farms: list[FarmStatus], now: float) -> Table:
    columns = [('farm of', False), ('nodes', True), ('room', True), ('running', True), ('since', True)]
    table = _table([*columns, ('listener', False)])
    for farm in farms:
        cells = (farm.step, farm.nodes, farm.room, farm.running, age_of(farm.since, now), farm.listener)
        _add(table, cells, 'red' if farm.away else '')
    return table


def _failures(failures: list[FailureKind], now: float, width: int, may_break: bool) -> Group:
    columns = [('failed', True), ('step', False), ('kind', False), ('newest', True), ('document', False)]
    rows = []
    for failure in failures:
        step = '-' if failure.step is None else failure.step
        newest = age_of(failure.newest, now)
        cells = (failure.count, step, shortened(failure.kind), newest, failure.doc_id, shortened(failure.error))
        rows.append((cells, ''))
    return _listed([*columns, ('error', False)], rows, width, may_break)


def _disks(disks: list[Disk]) -> Table:
    table = _table([('disk', False), ('free', True), ('of', True), ('share', True), ('a day', True), ('full in', True)])
    for disk in disks:
        share = f'{100 * disk.free / max(1, disk.total):.0f} %'
        a_day = '-' if disk.per_day is None else size(disk.per_day)
        full_in = '-' if disk.full_in is None else age(DAY * disk.full_in)
        cells = (', '.join(disk.folders), size(disk.free), size(disk.total), share, a_day, full_in)
        _add(table, cells, 'red' if disk.is_filling else '')
    return table


def _listed(
    columns: list[Column], rows: list[tuple[tuple[Any, ...], str]], width: int, may_break: bool = False
) -> Group:
    """Rows with their styles, of which the last cell may be long: it stands below the others where there is no room."""
    right = {index for index, (_, is_number) in enumerate(columns) if is_number}
    lines = [[heading for heading, _ in columns], *([str(cell) for cell in cells] for cells, _ in rows)]
    styles = ['bold', *(style for _, style in rows)]
    return Group(
        *(
            _line(line, style, may_break)
            for shown, style in zip(entries(lines, width, right=right), styles, strict=True)
            for line in shown
        )
    )


def _line(text: str, style: str, may_break: bool) -> Text:
    # One that is longer than the screen is wide is left to the terminal, from which it is copied in one piece.
    return Text(safe(text), style, no_wrap=not may_break, overflow='fold' if may_break else 'ignore')


def _table(columns: list[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style='bold')
    for heading, is_number in columns:
        # Folded where the terminal is narrow, so that no part of a name is lost.
        table.add_column(heading, justify='right' if is_number else 'left', overflow='fold')
    return table


def _add(table: Table, cells: Iterable[Any], style: str = '') -> None:
    # As Text, in which no brackets are markup.
    table.add_row(*(Text(safe(str(cell)), style) for cell in cells))
