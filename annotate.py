#!/usr/bin/env python3
"""Write what people know into documents: hold them, tag them, say what they are worth.

annotate.py RUN --hold 'fridge at 30 mK'     none of its documents is processed, whatever its place
annotate.py RUN --release                    they are processed again, from where they were
annotate.py ID... --quality bad --comment 'mains humming on detector a'
annotate.py RUN --tag golden --untag blind

Who and when go into the document with it. A step that is at work on a document ends; the next one waits.
"""

from __future__ import annotations

import argparse
import getpass
import math
import sys
import time
from collections.abc import Sequence

from edw import cli, config
from edw.database import design, views
from edw.database.client import Database
from edw.operating import annotations
from edw.operating.annotations import QUALITIES, Said
from edw.operating.display import number, safe, show_place

MOST_PRIORITY = 1e9


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _parser().parse_args(argv)
    change = annotations.changes(
        Said(arguments.by or getpass.getuser(), time.time()),
        reason=arguments.hold,
        is_released=arguments.release,
        text=arguments.comment,
        tags=arguments.tag,
        without=arguments.untag,
        quality=arguments.quality,
        priority=arguments.priority,
    )
    database = Database(config.load(arguments.config))
    show_place(database.place())
    design.check(database, views=(views.RUNS,))
    outcome = annotations.annotate(database, annotations.ids_of(database, arguments.names), change)
    already = f', {len(outcome.unchanged)} as wanted already' if outcome.unchanged else ''
    are = 'is' if len(outcome.done) == 1 else 'are'
    print(f'{number(len(outcome.done), "document")} {are} now {_words(arguments)}{already}')
    for doc_id in outcome.conflicts:
        print(f'error: {safe(doc_id)}: others change it again and again; it is left alone', file=sys.stderr)
    for text in outcome.refused:
        print(f'error: {safe(text)}', file=sys.stderr)
    return 0 if outcome.is_complete else 1


def _words(arguments: argparse.Namespace) -> str:
    """What documents are that were changed so."""
    words = ['held'] * (arguments.hold is not None) + ['released'] * arguments.release
    words += [f'tagged {safe(tag)}' for tag in arguments.tag]
    words += [f'without the tag {safe(tag)}' for tag in arguments.untag]
    if arguments.quality is not None:
        words.append(f'of quality {arguments.quality}')
    if arguments.priority is not None:
        words.append(f'of priority {arguments.priority:g}')
    return ', '.join(words + ['commented'] * (arguments.comment is not None))


def _number(text: str) -> float:
    """Type of an option that is a number, also one below 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MOST_PRIORITY:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from -{MOST_PRIORITY:g} to {MOST_PRIORITY:g}')
    return value


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument('names', nargs='+', metavar='RUN|ID', help='all documents of a run, or single ones')
    holding = parser.add_mutually_exclusive_group()
    holding.add_argument('--hold', metavar='REASON', help='have no step begin on it until it is released')
    holding.add_argument('--release', action='store_true', help='have it go on where it was')
    parser.add_argument('--comment', metavar='TEXT', help='one more')
    parser.add_argument('--tag', action='append', default=[], metavar='NAME', help='several: all of them')
    parser.add_argument('--untag', action='append', default=[], metavar='NAME', help='take a tag away')
    parser.add_argument('--quality', choices=QUALITIES, help='what it is worth')
    parser.add_argument(
        '--priority', type=_number, metavar='N', help='for listeners with --order priority: the highest first (else 0)'
    )
    parser.add_argument('--by', metavar='NAME', help='who says so (default: the user of this machine)')
    return parser


if __name__ == '__main__':
    sys.exit(cli.ending(main))
