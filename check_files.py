#!/usr/bin/env python3
"""Compare the catalogue with the storage: the files that documents name, and the files that none names.

check_files.py            all documents: is each file there, with the right size? And strays in the folders of data
check_files.py --md5      the same, and every byte is read again
check_files.py RUN...     documents of some runs; no strays

A file that no document names is a stray when it is an hour old, and one that was never finished when it is a day old:
before that it is too new to tell. What is wrong with the files of a document is written into its field `checked`. Exit
code 1: something is wrong, or could not be looked at.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from tqdm import tqdm

from edw import cli, config
from edw.database import design, views
from edw.database.client import Database
from edw.keeping import checking
from edw.keeping.checking import Recorder, Report
from edw.keeping.looking import Looker
from edw.keeping.pages import pages
from edw.keeping.strays import ASIDE, PART, UNKNOWN, Stray, Strays
from edw.operating.display import age_of, entries, number, safe, screen_width, show_place, size

MAX_LINES = 100  # of each table; --json has all
STRAY = {PART: 'never finished', ASIDE: 'set aside', UNKNOWN: 'named by no document'}


@dataclass
class Found(Report):
    """All that was found, of documents and of folders."""

    strays: list[Stray] = field(default_factory=list)
    young: int = 0  # files that may be strays, but are too new to tell
    unread: dict[str, str] = field(default_factory=dict)
    bytes_read: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong, and everything could be looked at."""
        return not (self.wrong or self.away or self.unwritten or self.strays or self.unread)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _parser().parse_args(argv)
    database = Database(config.load(arguments.config))
    if not arguments.json:
        show_place(database.place())
    if arguments.runs:
        design.check(database, views=(views.RUNS,))
    found = look(database, arguments.runs, arguments.md5)
    print(as_json(found)) if arguments.json else show(found)
    return 0 if found.is_well else 1


def look(database: Database, runs: Sequence[str], with_md5: bool) -> Found:
    """Look at everything, and write into the documents what was found."""
    settings, found, looker = database.settings, Found(), Looker()
    strays = Strays([] if runs else [settings.raw, settings.sps], looker)
    recorder = Recorder(database, time.time, socket.gethostname())
    total = None if runs else database.info().get('doc_count')
    with tqdm(total=total, desc='checking', unit=' documents', disable=None) as bar:

        def on_read(count: int) -> None:
            found.bytes_read += count
            bar.set_postfix_str(f'{found.bytes_read / 1e9:.1f} GB read', refresh=False)

        try:
            for page in pages(database, runs):
                looks = []
                for doc in page:
                    if not runs:
                        strays.seen(doc)
                    looked = checking.look(doc, looker, with_md5, found.away, on_read=on_read)
                    found.add(looked)
                    looks.append((doc, looked))
                    bar.update()
                found.unwritten |= recorder.record(looks)
            found.strays, found.unread, found.young = strays.left(time.time()), strays.unread, strays.young
        finally:
            looker.close()
    found.unwritten |= recorder.finish()
    return found


def show(found: Found) -> None:
    """Print what was found."""
    lines = [(one.doc_id, one.role, one.file, one.text) for one in found.wrong]
    _print_table(('document', 'left by', 'file', 'what'), lines, below=2)
    now = time.time()
    strays = [
        (STRAY[one.what], one.doc_id or '-', size(one.size), age_of(one.changed, now), one.file) for one in found.strays
    ]
    _print_table(('stray', 'document', 'size', 'age', 'file'), strays)
    for place, count in sorted(found.away.items()):
        print(f'error: {safe(place)} ({number(count, "file")} not looked at)', file=sys.stderr)
    for folder, reason in sorted(found.unread.items()):
        print(f'error: {safe(folder)}: {safe(reason)}; strays are not looked for there', file=sys.stderr)
    for doc_id, reason in sorted(found.unwritten.items())[:MAX_LINES]:
        print(f'error: {safe(doc_id)}: what was found is not written into it: {safe(reason)}', file=sys.stderr)
    read = f', {size(found.bytes_read)} read' if found.bytes_read else ''
    wrong = f'{number(len(found.wrong), "file")} wrong' if found.wrong else 'none wrong'
    away = f', {sum(found.away.values())} not looked at' if found.away else ''
    young = f', {number(found.young, "file")} too new to tell' if found.young else ''
    print(
        f'{number(found.documents, "document")}, {number(found.files, "file")}{read}: {wrong}{away}, '
        f'{number(len(found.strays), "stray")}{young}'
    )


def as_json(found: Found) -> str:
    """The same for scripts, complete, on one line."""
    return json.dumps(
        {
            'documents': found.documents,
            'files': found.files,
            'bytes_read': found.bytes_read,
            'is_well': found.is_well,
            'wrong': [{name: safe(value) for name, value in asdict(one).items()} for one in found.wrong],
            'away': {safe(place): count for place, count in found.away.items()},
            'strays': [{**asdict(one), 'file': safe(one.file), 'doc_id': safe(one.doc_id)} for one in found.strays],
            'young': found.young,
            'unread': {safe(folder): safe(reason) for folder, reason in found.unread.items()},
            'unwritten': {safe(doc_id): safe(reason) for doc_id, reason in found.unwritten.items()},
        }
    )


def _print_table(head: tuple[str, ...], lines: list[tuple[str, ...]], below: int = 1) -> None:
    if lines:
        for shown in entries([head, *lines[:MAX_LINES]], screen_width(), below=below):
            print(*shown, sep='\n')
        if len(lines) > MAX_LINES:
            print(f'and {len(lines) - MAX_LINES} more')
        print()


def _parser() -> ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument('runs', nargs='*', metavar='RUN', help='look at the documents of these runs only')
    parser.add_argument('--md5', action='store_true', help='read every byte again')
    parser.add_argument('--json', action='store_true', help='one line of JSON, complete')
    return parser


if __name__ == '__main__':
    sys.exit(cli.ending(main))
