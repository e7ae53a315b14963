#!/usr/bin/env python3
"""Requeue documents, so that steps are done again: those that failed, or those that some step is to do anew.

reprocess.py --failed [STEP]        documents that failed for good (in STEP): that step is done again
reprocess.py --failed --kind 'md5 differs'    those with this kind of failure, as show_status.py names it
reprocess.py --from STEP ...        cut `process` back to before STEP, so that it and all behind it are done again;
                                    a document that failed is requeued by it too
reprocess.py --from STEP --version-below 3    what an older version of STEP has made: versions are compared by their
                                    parts between dots, as numbers where they are numbers (1.9 is older than 1.10), else
                                    as text, and an entry without one is older than all; --commit HASH and --before TIME
                                    ask for what made it, and for when
reprocess.py ID ... --failed        which ones: documents by their ids, --run, --range and --where-status;
reprocess.py --run RUN --from STEP  of several conditions all must be met

Shows what would be changed, and asks. Failures and cut entries stay in the document. A document that a listener is at
is left alone. Exit code 1: some were not requeued, or the answer was no.
"""

from __future__ import annotations

import socket
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial

from tqdm import tqdm

from edw import cli, config
from edw.database import design
from edw.database.client import Database
from edw.errors import SettingsError
from edw.model.provenance import Made
from edw.operating import reprocessing
from edw.operating.display import first, number, safe, show_groups, show_place
from edw.operating.reprocessing import Change, Outcome
from edw.selecting import planning
from edw.selecting.planning import Plan
from edw.selecting.selection import Selection, check_names, known

MAX_NAMED = 5  # documents named in one line
MAX_MADE = 20  # versions named in one line

# Quiet where stderr is not a terminal.
progress_bar = partial(tqdm, unit=' documents', disable=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    selection, change = _selection(parser, arguments), _change(parser, arguments)
    database = Database(config.load(arguments.config))
    show_place(database.place())
    selection = known(database, selection)
    with progress_bar(desc='looking', leave=False) as bar:
        plan = planning.plan(database, selection, change, arguments.force, bar.update)
    if arguments.step is not None:
        design.check_step(database, arguments.step, plan.superseded)
    if not plan.revisions:
        check_names(database, selection)
    _show(plan)
    cli.check_asking(arguments, 'requeue')
    if arguments.dry_run:
        return 0
    if not plan.revisions:
        return 0 if plan.left.is_complete and not plan.missing else 1
    if not cli.is_confirmed(arguments, f'Requeue {number(len(plan.revisions), "document")}', 'changed'):
        return 1
    with progress_bar(total=len(plan.revisions), desc='requeuing') as bar:
        done = planning.write(database, plan, change, arguments.force, bar.update)
    _tell(done)
    return 0 if done.is_complete and plan.left.is_complete and not plan.missing else 1


def _show(plan: Plan) -> None:
    """Print what would be changed, and what would not."""
    if plan.revisions:
        show_groups(plan.groups)
        if plan.made:
            print('made by', '; '.join(f'{safe(words)}: {count}' for words, count in plan.made.most_common(MAX_MADE)))
        print(f'{number(len(plan.revisions), "document")} would be requeued:')
        print(*(f'  {example}' for example in plan.examples), sep='\n')
        if len(plan.revisions) > len(plan.examples):
            print(f'  and {len(plan.revisions) - len(plan.examples)} more')
    else:
        print('there is nothing to requeue')
    if plan.left.unchanged:
        them = first(plan.left.unchanged, MAX_NAMED)
        print(f'{number(len(plan.left.unchanged), "document")} as wanted already: {them}')
    if plan.missed:
        print(f'{number(len(plan.missed), "document")} outside the conditions: {first(plan.missed, MAX_NAMED, "; ")}')
    if plan.left.claimed:
        alone, them = number(len(plan.left.claimed), 'document'), 'it' if len(plan.left.claimed) == 1 else 'them'
        print(f'{alone} left alone, a listener is at {them} (see --force): {first(plan.left.claimed, MAX_NAMED)}')
    for text in [*plan.left.refused, *(f'{doc_id}: there is no such document' for doc_id in plan.missing)]:
        print(f'error: {text}', file=sys.stderr)


def _tell(done: Outcome) -> None:
    """Print what was done, and what was not."""
    for doc_id in done.conflicts:
        print(f'error: {doc_id}: somebody else changed or deleted it meanwhile; it is left alone', file=sys.stderr)
    for doc_id in done.claimed:
        print(f'error: {doc_id}: a listener claimed it meanwhile; it is left alone', file=sys.stderr)
    for text in done.refused:
        print(f'error: {text}', file=sys.stderr)
    print(f'requeued {number(len(done.done), "document")}')


def _parser() -> ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument('ids', nargs='*', metavar='ID', help='document to requeue')
    parser.add_argument(
        '--failed', nargs='?', const='', metavar='STEP', help='documents that failed for good (in STEP, or this ID)'
    )
    parser.add_argument(
        '--kind', metavar='KIND', help='with --failed: with this kind of failure, as show_status.py has it'
    )
    parser.add_argument('--from', dest='step', metavar='STEP', help='cut process back to before STEP')
    parser.add_argument('--run', metavar='RUN', help='documents of a run')
    parser.add_argument(
        '--range', nargs=2, metavar=('FIRST', 'LAST'), help='documents by their ids, both ends included'
    )
    parser.add_argument('--where-status', dest='status', metavar='TEXT', help='documents with this status')
    parser.add_argument('--version-below', metavar='VERSION', help='documents that an older version did STEP on')
    parser.add_argument('--commit', metavar='HASH', help='documents that this commit of the suite did STEP on')
    parser.add_argument('--before', type=cli.moment, metavar='TIME', help='documents that STEP was done on before TIME')
    parser.add_argument('--force', action='store_true', help='also what a listener is at: its result will be refused')
    cli.add_asking(parser, 'changed')
    return parser


def _selection(parser: ArgumentParser, arguments: Namespace) -> Selection:
    if arguments.failed is None and arguments.step is None:
        parser.error('add what to do: --failed requeues documents that failed, --from STEP has steps done again')
    if arguments.range and arguments.range[0] > arguments.range[1]:
        parser.error(f'--range: {arguments.range[0]} comes after {arguments.range[1]}')
    asked = arguments.version_below, arguments.commit, arguments.before
    if not arguments.step and any(one is not None for one in asked):
        parser.error('--version-below, --commit and --before go with --from STEP: they ask for what made its entry')
    try:
        made = None if all(one is None for one in asked) else Made(arguments.step, *asked)
        return Selection(
            ids=tuple(arguments.ids),
            id_range=tuple(arguments.range) if arguments.range else None,
            run=arguments.run,
            status=arguments.status,
            failed=arguments.failed is not None,
            step=arguments.failed or None,
            kind=arguments.kind,
            made=made,
        )
    except SettingsError as error:
        parser.error(str(error))


def _change(parser: ArgumentParser, arguments: Namespace) -> Change:
    if arguments.step is None:
        return reprocessing.requeued
    if not arguments.step:
        parser.error('--from needs the name of a step')
    return partial(reprocessing.cut_before, step=arguments.step, now=time.time(), hostname=socket.gethostname())


if __name__ == '__main__':
    sys.exit(cli.ending(main))
