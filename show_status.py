#!/usr/bin/env python3
"""Show what waits, runs, is done and has failed, step by step.

show_status.py              once
show_status.py --watch      again with every change, until Ctrl-C
show_status.py --doc ID     what happened to one document
show_status.py --conflicts  documents with several versions, side by side, and how to keep one
show_status.py --check      one line, and exit code 1 if anything failed or waits too long; for cron
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from rich.console import Group
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
from edw.operating import checks, conflicts, status, tables
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
    if arguments.conflicts:
        _show_conflicts(database, arguments.json)
        return 0
    design.check(database, views=status.VIEWS)
    found = status.read(Database(database.settings, Retry(threading.Event().wait, Outage(), PATIENCE)))
    if arguments.check:
        line, is_well = checks.judged(found, database.settings.lease, arguments.max_wait)
        print(line, flush=True)
        return 0 if is_well else 1
    with _screen(database, arguments.json, is_live=False) as show:
        show(found)
    return 0


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
        return tables.overview(found, database.place(), database.settings.lease, console.width)

    if as_json:
        yield lambda found: print(json.dumps(status.as_json(found)), flush=True)
    elif not console.is_terminal:
        yield lambda found: print(tables.plain(console, overview(found)) + '\n' * is_live, flush=True)
    elif not is_live:
        yield lambda found: console.print(overview(found))
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
    table = tables.history(doc, events)
    if console.is_terminal:
        console.print(table)
    else:
        print(tables.plain(console, table), flush=True)


def _show_conflicts(database: Database, as_json: bool) -> None:
    design.check(database, views=(views.CONFLICTS,))
    found = conflicts.conflicts(database)
    if as_json:
        print(json.dumps([asdict(conflict) for conflict in found]), flush=True)
        return
    console = tables.console()
    for conflict in found:
        table = tables.conflict(conflict)
        if console.is_terminal:
            console.print(table, '')
        else:
            print(f'{tables.plain(console, table)}\n', flush=True)
    if not found:
        print('no document is in conflict', flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--watch', action='store_true', help='show it again with every change, until Ctrl-C')
    kind.add_argument('--doc', metavar='ID', help='show the history of one document')
    kind.add_argument('--conflicts', action='store_true', help='show the versions of documents that have several')
    kind.add_argument(
        '--check', action='store_true', help='exit with 1 if anything has failed, and say on one line what'
    )
    parser.add_argument(
        '--max-wait', type=cli.seconds, metavar='S', help='with --check: also if a document waits for longer than S s'
    )
    parser.add_argument('--json', action='store_true', help='one line of JSON, with --watch one for each look')
    arguments = parser.parse_args(argv)
    if arguments.max_wait is not None and not arguments.check:
        parser.error('--max-wait goes with --check')
    if arguments.json and arguments.check:
        parser.error('--json does not go with --check')
    return arguments


if __name__ == '__main__':
    sys.exit(cli.ending(main))
