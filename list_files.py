#!/usr/bin/env python3
"""List files of the catalogue, with what is known of them.

list_files.py RUN                                      what the last step has left of a run's documents
list_files.py ma22a000..ma22b013 --step move_to_sps    what one step has left, of a range of runs
list_files.py 'ma22*' --where 'conditions.temperature < 0.0155' --paths
list_files.py RUN --paths --md5 | md5sum -c

Good documents that belong to a run; --status any for all. Conditions compare a field of the document with a number or a
text; a field of a field has a dot between, a number is a place in a list.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from edw import cli, config
from edw.database import design, views
from edw.database.client import Database, batches
from edw.errors import EdwError
from edw.model import documents
from edw.operating.display import entries, moment, number, screen_width
from edw.selecting import conditions, wanted
from edw.selecting.conditions import Condition
from edw.selecting.finding import find
from edw.selecting.rows import Row, row_of
from edw.selecting.wanted import ANY, Wanted

PAGE = 1000  # lines of the table that are printed, and aligned, together

Show = Callable[[Iterable[Row]], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.null and not arguments.paths:
        parser.error('-0 goes with --paths')
    asked = _wanted(arguments)
    database = Database(config.load(arguments.config))
    design.check(database, views=(views.RUNS,))
    rows = (row_of(doc, asked.step) for doc in find(database, asked))
    first = next(rows, None)
    if first is None:
        _explain(database, asked)
    _show(arguments)(rows if first is None else chain([first], rows))
    return 0


def _explain(database: Database, asked: Wanted) -> None:
    """Raise EdwError where nothing can be found, because a name or the kind of a value is wrong."""
    if asked.step is not None:
        design.check_step(database, asked.step)
    for runs in asked.runs:
        # Only those between its ends: to group all runs of a large database takes seconds.
        ends = {'startkey': [runs.first], 'endkey': [runs.last, views.LAST]}
        known = views.rows(database, views.RUNS, group_level=1, **ends)
        if not any(runs.has(row['key'][0]) for row in known):
            raise EdwError(f'{database.url} has no run {runs}')
    for condition in asked.where:
        _check_field(database, condition)
    print('no file is like that', file=sys.stderr)


def _check_field(database: Database, condition: Condition) -> None:
    """Raise EdwError where no document at all has a field that can be compared so."""
    of_kind = condition.selector_of_kind
    if of_kind is None or database.find(of_kind, fields=['_id'], limit=1):
        return
    if database.find({condition.field: {'$exists': True}}, fields=['_id'], limit=1):
        raise EdwError(
            f'{condition.field} is {condition.kind} in no document: it cannot be compared with {condition.value!r}'
        )
    raise EdwError(f'no document has a field {condition.field}')


def _table(rows: Iterable[Row], with_md5: bool) -> None:
    count = 0
    for page in batches(rows, PAGE):
        lines = [_cells(row, with_md5) for row in page]
        heading = ('document', 'status', 'time', *['md5'] * with_md5, 'condition', 'quality', 'tags', 'file')
        head = [] if count else [heading]
        for shown in entries([*head, *lines], screen_width()):
            print(*shown, sep='\n')
        count += len(page)
    if count:
        print(f'{number(count, "file")}', file=sys.stderr)


def _cells(row: Row, with_md5: bool) -> tuple[str, ...]:
    md5 = [row.md5sum or '-'] * with_md5
    return (
        row.id,
        views.text(row.status),
        moment(row.time),
        *md5,
        '-' if row.condition is None else views.text(row.condition),
        row.quality,
        ','.join(row.tags) or '-',
        row.path or '-',
    )


def _paths(rows: Iterable[Row], with_md5: bool, end: str) -> None:
    without = 0
    for row in rows:
        if row.path is None:
            without += 1
            continue
        # As it is, and not made safe: other programs read it.
        sys.stdout.write((f'{row.md5sum or "-":32}  ' if with_md5 else '') + row.path + end)
    if without:
        print(f'{number(without, "document")} without a file', file=sys.stderr)


def _csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(Row.__dataclass_fields__)
    for row in rows:
        values = vars(row) | {'tags': ' '.join(row.tags)}
        writer.writerow([json.dumps(value) if isinstance(value, (dict, list)) else value for value in values.values()])


def _json(rows: Iterable[Row]) -> None:
    """A list, one file a line, which is never in memory as a whole."""
    start = '[\n'
    for row in rows:
        sys.stdout.write(start + json.dumps(vars(row)))
        start = ',\n'
    print('[]' if start == '[\n' else '\n]')


def _show(arguments: argparse.Namespace) -> Show:
    if arguments.paths:
        return lambda rows: _paths(rows, arguments.md5, '\0' if arguments.null else '\n')
    if arguments.csv:
        return _csv
    return _json if arguments.json else lambda rows: _table(rows, arguments.md5)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(
        runs=wanted.union(arguments.runs),
        step=arguments.step,
        step_version=arguments.step_version,
        status=arguments.status,
        tags=tuple(arguments.tag),
        quality=arguments.quality,
        condition=arguments.condition,
        since=arguments.since,
        until=arguments.until,
        where=tuple(map(conditions.parse, arguments.where)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument('runs', nargs='*', metavar='RUN', help='a run, a range FIRST..LAST or a pattern (default: all)')
    parser.add_argument('--step', metavar='STEP', help='the file that this step left (default: the last step)')
    parser.add_argument('--step-version', metavar='VERSION', help='the version of the step that left it')
    parser.add_argument(
        '--status', default=documents.GOOD, metavar='STATUS', help=f'of the document (default: good; {ANY}: all)'
    )
    parser.add_argument('--tag', action='append', default=[], metavar='NAME', help='several: all of them')
    parser.add_argument('--quality', metavar='WORD', help='good, bad or unknown')
    parser.add_argument('--condition', metavar='KIND', help='the kind of run: calibration, background, ...')
    parser.add_argument('--since', type=cli.moment, metavar='TIME', help='originals from this time on')
    parser.add_argument('--until', type=cli.moment, metavar='TIME', help='originals from before this time')
    parser.add_argument('--where', action='append', default=[], metavar='CONDITION', help='several: all must hold')
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument('--paths', action='store_true', help='paths alone, one a line, for xargs and TChain')
    shape.add_argument('--csv', action='store_true', help='all that is known, as CSV')
    shape.add_argument('--json', action='store_true', help='all that is known, as a JSON list')
    parser.add_argument('-0', dest='null', action='store_true', help='with --paths: end each with NUL, for xargs -0')
    parser.add_argument('--md5', action='store_true', help='with the md5; with --paths as md5sum writes it')
    return parser


if __name__ == '__main__':
    sys.exit(cli.ending(main))
