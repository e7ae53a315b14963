"""The status of the database, and one document's history, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from edw.database import views
from edw.keeping.forecast import Disk
from edw.model.documents import Document
from edw.model.timeline import DONE, FAILED, Event, raised_at
from edw.operating import display
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
    place_lines,
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
# Columns of the steps that a narrow terminal does not show: the first one first.
LEFT_OUT = 'for', 'last hour', 'oldest'

Column = tuple[str, bool]  # heading, whether it holds numbers
Row = tuple[tuple[Any, ...], str]  # cells, and the style of the line


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
    heading = place_lines(where, width, after=f'  {moment(status.time)}')
    parts: list[RenderableType] = [*(_line(line, '', may_break) for line in heading), Text(_sums(status))]
    if status.steps:
        parts += [Text(), _steps(status, width, may_break)]
    found = [
        _line(line, 'bold red', may_break) for remark in remarks(status, lease) for line in wrapped(remark, width, '')
    ]
    if found:
        parts += [Text(), *found]
    if status.runs:
        parts += [Text(), _runs(status.runs[:RUNS_SHOWN], width, may_break)]
    if status.listeners:
        parts += [Text(), _listeners(status, lease, width, may_break)]
    if status.farms:
        parts += [Text(), _farms(status.farms, status.time, width, may_break)]
    if status.failures:
        parts += [Text(), _failures(status.failures, status.time, width, may_break)]
    if status.disks:
        parts += [Text(), _disks(status.disks, width, may_break)]
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


def conflict(found: Conflict, width: int) -> Group:
    """A document in conflict: its versions, side by side where there is room, and the commands that keep one."""
    seen, *hidden = found.revisions
    versions = [f'{seen} (the one that is seen)', *hidden]
    columns = [('', False), *((version, False) for version in versions)]
    rows: list[Row] = [((name, *texts), '') for name, texts in found.rows]
    parts: list[RenderableType] = [Text(safe(found.doc_id), 'bold')]
    if _fits(columns, rows, width):
        parts += [Text(), _lined(columns, rows, may_break=False)]
    else:
        for index, version in enumerate(versions):
            said = [line for name, texts in found.rows for line in wrapped(safe(f'{name}: {texts[index]}'), width)]
            parts += [Text(), *(_line(line, '', may_break=False) for line in (version, *said))]
    for kept in found.revisions:
        parts += [Text(), Text(f'to keep {kept}:')]
        others = zip(found.revisions, found.deletions, strict=True)
        parts += [_line(command, '', may_break=False) for revision, command in others if revision != kept]
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


def _steps(status: Status, width: int, may_break: bool) -> Group:
    """With the listeners' names, or else how many they are, or else without the columns LEFT_OUT, which is said."""
    forms = [(True, 0), *((False, count) for count in range(len(LEFT_OUT) + 1))]
    for with_names, count in forms:
        left_out = LEFT_OUT[:count]
        columns, rows = _step_rows(status, with_names, left_out)
        if _fits(columns, rows, width):
            break
    said = [Text(f'(no room for: {", ".join(left_out)})')] if left_out else []
    return Group(_lined(columns, rows, may_break), *said)


def _step_rows(status: Status, with_names: bool, left_out: Collection[str]) -> tuple[list[Column], list[Row]]:
    columns = [('step', False), ('waiting', True), ('oldest', True), ('running', True), ('for', True)]
    columns += [('listeners', not with_names), ('last hour', True), ('done', True), ('failed', True)]
    shown = [index for index, (heading, _) in enumerate(columns) if heading not in left_out]
    rows = []
    for step in status.steps:
        names = [listener.name for listener in status.listeners if listener.step == step.name]
        how_many = number(len(names), 'listener') if with_names else len(names)
        cells = (
            step_name(step.name),
            step.waiting,
            age_of(step.waiting_since, status.time),
            step.running,
            age_of(step.running_since, status.time),
            '-' if not names else names[0] if with_names and len(names) == 1 else how_many,
            step.done_last_hour,
            step.done,
            step.failed,
        )
        is_odd = nobody_listens(step) or is_left_alone(step, status.time)
        rows.append((tuple(cells[index] for index in shown), 'yellow' if is_odd else ''))
    return [columns[index] for index in shown], rows


def _runs(runs: list[RunStatus], width: int, may_break: bool) -> Group:
    columns = [('run', False), ('state', False), ('files', True), ('failed', True), ('how far', False)]
    rows = []
    for run in runs:
        far = ', '.join(f'{count} {shortened(state)}' for state, count in sorted(run.by_state.items()))
        cells = (run.run, shortened(run.state), run.documents, run.failed, far)
        rows.append((cells, 'red' if run.is_bad else ''))
    return _listed(columns, rows, width, may_break)


def _listeners(status: Status, lease: float, width: int, may_break: bool) -> Group:
    """A line each, or where there is no room two, of which the second says what stays the same of a listener."""
    name, at_work = [('listener', False)], [('documents', True), ('for', True), ('last heartbeat', True)]
    lasting = [('step', False), ('callbacks', False), ('version', False), ('there for', True)]
    rows, narrow = [], []
    for listener in status.listeners:
        what = (
            listener.step,
            listener.callbacks or '-',
            _version(listener) or '-',
            age_of(listener.started, status.time),
        )
        ages = (age_of(listener.since, status.time), age_of(listener.heartbeat, status.time))
        style = 'red' if is_silent(listener, status.time, lease) else ''
        rows.append(((listener.name, *what, listener.claims, *ages), style))
        narrow.append(((listener.name, listener.claims, *ages, ', '.join(what)), style))
    columns = [*name, *lasting, *at_work]
    if _fits(columns, rows, width):
        return _lined(columns, rows, may_break)
    below = ', '.join(heading for heading, _ in lasting)
    return _listed([*name, *at_work, (below, False)], narrow, width, may_break)


def _version(listener: ListenerStatus) -> str:
    """The step's own, and the suite's."""
    return f'{listener.version} (edw {listener.software})' if listener.software else listener.version


def _farms(farms: list[FarmStatus], now: float, width: int, may_break: bool) -> Group:
    columns = [('farm of', False), ('nodes', True), ('room', True), ('running', True), ('since', True)]
    rows: list[Row] = []
    for farm in farms:
        cells = (farm.step, farm.nodes, farm.room, farm.running, age_of(farm.since, now), farm.listener)
        rows.append((cells, 'red' if farm.away else ''))
    return _listed([*columns, ('listener', False)], rows, width, may_break)


def _failures(failures: list[FailureKind], now: float, width: int, may_break: bool) -> Group:
    columns = [('failed', True), ('step', False), ('kind', False), ('newest', True), ('document', False)]
    rows = []
    for failure in failures:
        step = '-' if failure.step is None else failure.step
        newest = age_of(failure.newest, now)
        cells = (failure.count, step, shortened(failure.kind), newest, failure.doc_id, shortened(failure.error))
        rows.append((cells, ''))
    return _listed([*columns, ('error', False)], rows, width, may_break)


def _disks(disks: list[Disk], width: int, may_break: bool) -> Group:
    folders, room = ('disk', False), [('free', True), ('of', True), ('share', True), ('a day', True), ('full in', True)]
    rows, narrow = [], []
    for disk in disks:
        share = f'{100 * disk.free / max(1, disk.total):.0f} %'
        a_day = '-' if disk.per_day is None else size(disk.per_day)
        full_in = '-' if disk.full_in is None else age(DAY * disk.full_in)
        cells = (size(disk.free), size(disk.total), share, a_day, full_in)
        style = 'red' if disk.is_filling else ''
        rows.append(((', '.join(disk.folders), *cells), style))
        narrow.append(((*cells, ', '.join(disk.folders)), style))
    if _fits([folders, *room], rows, width):
        return _lined([folders, *room], rows, may_break)
    return _listed([*room, folders], narrow, width, may_break)


def _listed(columns: list[Column], rows: Sequence[Row], width: int, may_break: bool = False) -> Group:
    """A table of which the last column may be wide: it stands below the others where there is no room."""
    shown = entries(_cells(columns, rows), width, right=_right(columns))
    return _styled(shown, rows, may_break)


def _lined(columns: list[Column], rows: Sequence[Row], may_break: bool) -> Group:
    """A table of a line each, however wide."""
    return _styled([[line] for line in display.columns(_cells(columns, rows), _right(columns))], rows, may_break)


def _fits(columns: list[Column], rows: Sequence[Row], width: int) -> bool:
    return max(map(len, display.columns(_cells(columns, rows), _right(columns)))) <= width


def _cells(columns: list[Column], rows: Sequence[Row]) -> list[list[str]]:
    return [[heading for heading, _ in columns], *([str(cell) for cell in cells] for cells, _ in rows)]


def _right(columns: list[Column]) -> set[int]:
    return {index for index, (_, is_number) in enumerate(columns) if is_number}


def _styled(shown: list[list[str]], rows: Sequence[Row], may_break: bool) -> Group:
    styles = ['bold', *(style for _, style in rows)]
    return Group(*(_line(line, style, may_break) for lines, style in zip(shown, styles, strict=True) for line in lines))


def _line(text: str, style: str, may_break: bool) -> Text:
    # One that is longer than the screen is wide is left to the terminal, from which it is copied in one piece.
    return Text(safe(text), style, no_wrap=not may_break, overflow='fold' if may_break else 'ignore')
