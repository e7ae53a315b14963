#!/usr/bin/env python3
"""Show what waits, runs, is done and has failed, step by step.

show_status.py              once
show_status.py --watch      again with every change, until Ctrl-C
show_status.py --doc ID     what happened to one document
show_status.py --run RUN    the documents of a run, one a line, with what is wrong and since when
show_status.py --failed     the same of those that failed (--failed STEP: in that step), --waiting STEP of those that
                            wait for it; with --run of that run alone
show_status.py --conflicts  documents with several versions, side by side, with the commands that delete all but one
show_status.py --check      one line, and exit code 1 if anything failed or waits too long; for cron, which may
                            have a command run when that changes, with --notify
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.live import Live

from edw import cli, config, logs
from edw.config import Settings
from edw.database import changes as follow
from edw.database import design, views
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, NoDatabase, NotFound
from edw.inbox import Inbox
from edw.model import timeline
from edw.model.documents import Document
from edw.operating import checks, conflicts, listing, status, tables
from edw.operating.listing import Listing
from edw.operating.notifying import tell_of_change
from edw.operating.status import Status
from edw.redact import redact

PATIENCE = 30.0  # seconds for a server that has answered, and then is too busy
AGES_INTERVAL = 10.0  # seconds after which ages and heartbeats are looked at again though nothing changed

Show = Callable[[Status], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _arguments(argv)
    settings = config.load(arguments.config)
    if arguments.watch:
        return _watch(settings, arguments.json)
    return _once(Database(settings), arguments)


def _once(database: Database, arguments: argparse.Namespace) -> int:
    if arguments.doc is not None:
        _show_document(_document(database, arguments.doc), arguments.json)
        return 0
    if arguments.failed is not None or arguments.waiting is not None or arguments.run is not None:
        _show_listing(_listing(database, arguments))
        return 0
    if arguments.conflicts:
        _show_conflicts(database, arguments.json)
        return 0
    if arguments.check:
        return _check(database, arguments.max_wait, arguments.notify)
    found = _read(database)
    with _screen(database, arguments.json, is_live=False) as show:
        show(found)
    return 0


def _read(database: Database) -> Status:
    design.check(database, views=status.VIEWS)
    return status.read(Database(database.settings, Retry(threading.Event().wait, Outage(), PATIENCE)))


def _check(database: Database, max_wait: float | None, command: str | None) -> int:
    """Say what is wrong, and tell by the command, if there is one, where that is a change."""

    def notify(problems: Iterable[str], line: str) -> None:
        if command is None:
            return
        try:
            tell_of_change(command, (database.url, str(max_wait)), problems, line)
        except EdwError as error:  # the exit code is that of the check
            print(redact(f'error: {error}'), file=sys.stderr)

    try:
        found = _read(database)
    except EdwError as error:
        notify([type(error).__name__], redact(str(error)).replace('\n', ' '))
        raise
    line, problems = checks.judged(found, database.settings.lease, max_wait)
    print(line, flush=True)
    notify(problems, line)
    return 1 if problems else 0


def _watch(settings: Settings, as_json: bool) -> int:
    outage = Outage()
    ended = threading.Event()
    database = Database(settings, Retry(ended.wait, outage))
    inbox: Inbox[follow.Sequence | EdwError] = Inbox()
    # Ctrl-C is the way to end it.
    with contextlib.suppress(KeyboardInterrupt), _screen(database, as_json, is_live=True) as show:
        logs.set_up(logging.WARNING)  # now that stderr is written above what is shown
        try:
            design.check(database, views=status.VIEWS)
            since = database.info()['update_seq']
            follow.in_thread(settings, since, outage, on_change=inbox.put, on_end=inbox.put, ended=ended)
            while True:
                show(status.read(database))
                if cli.output_error() is not None:
                    break  # nobody reads it, or can
                # Until a change, or until ages are old; what came meanwhile is the same change.
                for news in inbox.take(AGES_INTERVAL):
                    if isinstance(news, EdwError):
                        raise news
        finally:
            ended.set()
    return 0


@contextlib.contextmanager
def _screen(database: Database, as_json: bool, is_live: bool) -> Iterator[Show]:
    """A function that shows the status: as a line of JSON, as plain text, or on a terminal in colours, in place."""
    console = tables.console()

    def overview(found: Status) -> Group:
        return tables.overview(found, database.place(), database.settings.lease, console.width, may_break=is_live)

    if as_json:
        yield lambda found: print(json.dumps(status.as_json(found)), flush=True)
    elif not console.is_terminal:
        yield lambda found: print(tables.plain(console, overview(found)) + '\n' * is_live, flush=True)
    elif not is_live:
        yield lambda found: console.print(overview(found), crop=False)
    else:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda found: live.update(overview(found), refresh=True)


def _document(database: Database, doc_id: str) -> Document:
    missing = EdwError(f'{database.url}: there is no document {doc_id!r}')
    # Other ids that begin with an underscore are no documents, but what else the server answers.
    if not doc_id or (doc_id.startswith('_') and not doc_id.startswith('_design/')):
        raise missing
    try:
        return database.get(doc_id)
    except NoDatabase:
        raise
    except NotFound:
        database.info()  # a missing database may not say so itself
        raise missing from None


def _show_document(doc: Document, as_json: bool) -> None:
    events = timeline.timeline(doc)
    if as_json:
        found = doc.get('status')
        shown = {'_id': doc['_id'], 'status': redact(found) if isinstance(found, str) else found}
        print(json.dumps({**shown, 'events': [asdict(event) for event in events]}), flush=True)
        return
    console = tables.console()
    _print(console, tables.history(doc, events, console.width))


def _listing(database: Database, arguments: argparse.Namespace) -> Listing:
    design.check(database, views=status.VIEWS)
    if arguments.failed is not None:
        return listing.failed(database, arguments.failed or None, arguments.run)
    if arguments.waiting is not None:
        return listing.waiting(database, arguments.waiting, arguments.run)
    return listing.of_run(database, arguments.run)


def _show_listing(found: Listing) -> None:
    if not found.documents:
        print('no document is like that', file=sys.stderr)
        return
    console = tables.console()
    _print(console, tables.listing(found, time.time(), console.width))


def _print(console: Console, shown: RenderableType) -> None:
    """On a terminal in colours, elsewhere as plain text."""
    if console.is_terminal:
        console.print(shown, crop=False)
    else:
        print(tables.plain(console, shown), flush=True)


def _show_conflicts(database: Database, as_json: bool) -> None:
    design.check(database, views=(views.CONFLICTS,))
    found = conflicts.conflicts(database)
    if as_json:
        print(json.dumps([asdict(conflict) for conflict in found]), flush=True)
        return
    console = tables.console()
    for conflict in found:
        table = tables.conflict(conflict, console.width)
        if console.is_terminal:
            console.print(table, '', crop=False)
        else:
            print(f'{tables.plain(console, table)}\n', flush=True)
    if not found:
        print('no document is in conflict', flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--watch', action='store_true', help='show it again with every change, until Ctrl-C')
    kind.add_argument('--doc', metavar='ID', help='show the history of one document')
    kind.add_argument(
        '--failed', nargs='?', const='', metavar='STEP', help='list the documents that failed for good (in STEP)'
    )
    kind.add_argument('--waiting', metavar='STEP', help='list the documents that wait for STEP')
    kind.add_argument('--conflicts', action='store_true', help='show the versions of documents that have several')
    kind.add_argument(
        '--check', action='store_true', help='exit with 1 if anything has failed, and say on one line what'
    )
    parser.add_argument(
        '--max-wait', type=cli.seconds, metavar='S', help='with --check: also if a document waits for longer than S s'
    )
    parser.add_argument(
        '--notify',
        metavar='COMMAND',
        help='with --check: run a command of the shell, with the line on its standard input, when something else is '
        'wrong than at the last one, or nothing any more',
    )
    parser.add_argument('--run', metavar='RUN', help='list the documents of a run; such ones of it')
    parser.add_argument('--json', action='store_true', help='one line of JSON, with --watch one for each look')
    arguments = parser.parse_args(argv)
    if arguments.max_wait is not None and not arguments.check:
        parser.error('--max-wait goes with --check')
    if arguments.notify is not None and not arguments.check:
        parser.error('--notify goes with --check')
    if arguments.notify is not None and not arguments.notify.strip():
        parser.error('--notify needs a command')
    is_list = arguments.failed is not None or arguments.waiting is not None or arguments.run is not None
    if arguments.run is not None and any((arguments.watch, arguments.doc, arguments.conflicts, arguments.check)):
        parser.error('--run goes alone, or with --failed or --waiting')
    if arguments.json and is_list:
        parser.error('--json does not go with lists of documents; list_files.py --json has them')
    if arguments.json and arguments.check:
        parser.error('--json does not go with --check')
    return arguments


if __name__ == '__main__':
    sys.exit(cli.ending(main))
