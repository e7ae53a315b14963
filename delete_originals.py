#!/usr/bin/env python3
"""Make room: delete original files whose copies are verified again, every byte, at this moment.

delete_originals.py --after signal_processing --days 30         those of documents that are so far, and so old
delete_originals.py --after ... --days ... --keep-free 20%      only as many, oldest first, as it takes
delete_originals.py --after ... --days ... --yes --watch        again and again, until Ctrl-C
delete_originals.py --superseded --days 30                      files in [data] sps, or FOLDER, that were made anew so
                                                                long ago, where the newer one is verified at this moment

Run it on the machine that has the originals. It deletes in [data] raw, or in FOLDER, only what a document names as its
original, and parts of copies that broke off, a day ago or earlier, of documents that have the copy by now. `[data]
copies` says how many verified copies there must be. Shows what would be deleted, and asks. Exit code 1: some were kept
that should go, or the answer was no.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from edw import cli, config
from edw.config import Settings
from edw.database import design
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, NoSuchStep, SettingsError, TryLater, Unavailable
from edw.keeping import deleting, superseded
from edw.keeping.deleting import OriginalsDone, Plan, Terms
from edw.keeping.guarding import Done
from edw.keeping.pages import pages
from edw.model.documents import Document
from edw.operating.display import DAY, age_of, first, number, safe, show_first, show_place, size
from edw.transfer import is_url

PERIOD = 600.0  # seconds between two rounds of --watch
LONGEST_DAYS = 36500.0
ORIGINAL = 'original'
SUPERSEDED = 'superseded file'
PARTS = 'unfinished part'  # of a copy that broke off
MAX_NAMED = 5  # documents named in one line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _arguments(argv)
    settings = config.load(arguments.config)
    folder = arguments.folder or (settings.sps if arguments.superseded else settings.raw)
    if is_url(folder):
        raise SettingsError('Files are deleted on the machine that has them: give their FOLDER there.')
    if arguments.watch is not None:
        return _watch(settings, folder, arguments)
    cli.check_asking(arguments, 'delete')
    database = Database(settings)
    show_place(database.place())
    return (_once_superseded if arguments.superseded else _once)(database, folder, arguments)


def _once(database: Database, folder: str, arguments: argparse.Namespace) -> int:
    design.check_step(database, arguments.after)
    plan = deleting.plan(_documents(database, 'looking'), folder, _terms(database.settings, arguments))
    _show(plan)
    if arguments.dry_run or not (plan.chosen or plan.parts):
        return 0
    until = '' if plan.lacking is None else f', or others where copies are bad, until {_free(plan)} are free'
    parts = f', and {number(len(plan.parts), PARTS)}' if plan.parts else ''
    if not cli.is_confirmed(arguments, f'Delete {number(len(plan.chosen), ORIGINAL)}{until}{parts}', 'deleted'):
        return 1
    done = OriginalsDone()
    try:
        _delete(database, folder, plan, done, threading.Event())
    except EdwError as error:
        raise EdwError(f'{error}\nRun the same again for the others.') from None
    return 1 if done.kept else 0


def _once_superseded(database: Database, folder: str, arguments: argparse.Namespace) -> int:
    before = time.time() - arguments.days * DAY
    plan = superseded.plan(_documents(database, 'looking'), folder, before)
    if plan.candidates:
        plan.leave_named(_documents(database, 'who names them'))
    count = sum(len(one.files) for one in plan.candidates)
    if count:
        _show_runs(('run', 'files', 'size', 'superseded'), plan.candidates, lambda one: len(one.files))
        total = size(sum(one.size for one in plan.candidates))
        print(f'{number(count, SUPERSEDED)} would be deleted, {total}, if the newer ones are whole')
    else:
        print('there is nothing to delete')
    _show_kept(plan.kept)
    if arguments.dry_run or not count:
        return 0
    if not cli.is_confirmed(arguments, f'Delete {number(count, SUPERSEDED)}', 'deleted'):
        return 1
    done = Done()
    try:
        candidates = tqdm(plan.candidates, desc='deleting', unit=' documents', disable=None)
        superseded.delete(database, folder, before, candidates, done)
    finally:
        _tell(done, SUPERSEDED)
    return 1 if done.kept else 0


def _watch(settings: Settings, folder: str, arguments: argparse.Namespace) -> int:
    ended = threading.Event()
    cli.on_stop(ended.set)
    database = Database(settings, Retry(ended.wait, Outage()))
    with contextlib.suppress(Unavailable):  # it was told to end while the server was away
        show_place(database.place())
    aside: set[tuple[str, str]] = set()  # documents that are not looked at again before they change
    said = ''
    while not ended.is_set():
        try:
            design.check_step(database, arguments.after)
            plan = deleting.plan(_documents(database, 'looking'), folder, _terms(settings, arguments), aside)
            if plan.chosen or plan.parts:
                done = OriginalsDone()
                try:
                    _delete(database, folder, plan, done, ended)
                finally:
                    aside |= done.for_good
            said = ''
        except (TryLater, NoSuchStep) as error:
            if str(error) != said:
                print(f'error: {error}; waiting', file=sys.stderr)
            said = str(error)
        except Unavailable:
            break  # it was told to end while the server was away
        sys.stdout.flush()
        ended.wait(arguments.watch)
    return 0


def _terms(settings: Settings, arguments: argparse.Namespace) -> Terms:
    return Terms(arguments.after, time.time() - arguments.days * DAY, settings.copies, arguments.keep_free)


def _documents(database: Database, what: str) -> Iterator[Document]:
    """All documents, counted at the terminal, where stderr is one."""
    with tqdm(desc=what, unit=' documents', disable=None, leave=False) as bar:
        for page in pages(database):
            for doc in page:
                bar.update()
                yield doc


def _show(plan: Plan) -> None:
    """Print what would be deleted, by run, and what is kept."""
    chosen, free = plan.chosen, _free(plan)
    freed = sum(one.size for one in chosen)
    if chosen:
        _show_runs(('run', 'originals', 'size', 'oldest'), chosen, lambda one: 1)
        of_all = f', of {len(plan.candidates)} that may be' if len(chosen) < len(plan.candidates) else ''
        print(f'{number(len(chosen), ORIGINAL)} would be deleted{of_all}, {size(freed)}, if their copies are whole')
    elif plan.lacking is not None and plan.lacking <= 0:
        print(f'more than {free} are free: there is nothing to delete')
    else:
        print('there is nothing to delete')
    if plan.lacking is not None and freed < plan.lacking:
        print(f'that is not enough: for {free} to be free, {size(plan.lacking)} are lacking')
    if plan.parts:
        total = size(sum(one.size for one in plan.parts))
        print(f'{number(len(plan.parts), PARTS)} would be removed, {total}: their documents have the copy')
    _show_kept(plan.kept)


def _show_runs(
    heads: tuple[str, ...],
    candidates: Sequence[deleting.Candidate | superseded.Candidate],
    files_in: Callable[[Any], int],
) -> None:
    """Print how many files of each run there are, their bytes, and the age of the oldest."""
    runs: defaultdict[str, list[deleting.Candidate | superseded.Candidate]] = defaultdict(list)
    for candidate in candidates:
        runs[candidate.run].append(candidate)
    now, lines = time.time(), [heads]
    for run, them in runs.items():
        total, oldest = size(sum(one.size for one in them)), min(one.created for one in them)
        lines.append((run, str(sum(map(files_in, them))), total, age_of(oldest, now)))
    show_first(lines, 'more run')


def _show_kept(kept: Counter[str]) -> None:
    for reason, count in kept.most_common():
        print(f'kept: {count}, {safe(reason)}')


def _free(plan: Plan) -> str:
    return f'{100 * (plan.terms.keep_free or 0.0):g} %'


def _delete(database: Database, folder: str, plan: Plan, done: OriginalsDone, ended: threading.Event) -> None:
    """Delete what was shown, and say what was deleted, whatever comes between."""
    try:
        with tqdm(total=len(plan.chosen), desc='deleting', unit=' originals', disable=None) as bar:
            deleting.delete(database, folder, plan, done, bar.update, ended.is_set)
    finally:
        _tell(done, ORIGINAL)
        if done.parts:
            print(f'removed {number(done.parts, PARTS)}')


def _tell(done: Done, noun: str) -> None:
    for reason, them in done.kept.items():
        print(f'error: {first(them, MAX_NAMED)}: kept: {safe(reason)}', file=sys.stderr)
    print(f'deleted {number(done.files, noun)}, {size(done.bytes)}')


def _share(text: str) -> float:
    try:
        percent = float(text.removesuffix('%')) if text.endswith('%') else -1.0
    except ValueError:
        percent = -1.0
    if not 0 < percent < 100:
        raise argparse.ArgumentTypeError(f'{text!r} is not a share of the disk like 20%')
    return percent / 100


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument('folder', nargs='?', metavar='FOLDER', help='where the files are (default: [data] raw, or sps)')
    parser.add_argument('--superseded', action='store_true', help='not originals, but files that were made anew since')
    parser.add_argument('--after', metavar='STEP', help='only of documents that STEP was done on')
    parser.add_argument(
        '--days',
        type=cli.number_of('days', LONGEST_DAYS),
        metavar='N',
        required=True,
        help='only of documents older than N days (with --superseded: of what was made anew so long ago)',
    )
    parser.add_argument(
        '--keep-free', type=_share, metavar='SHARE', help='only until so much of the disk is free, oldest first'
    )
    parser.add_argument(
        '--watch',
        type=cli.seconds,
        nargs='?',
        const=PERIOD,
        metavar='S',
        help=f'with --yes: again every S seconds (default {PERIOD:g}), until Ctrl-C',
    )
    cli.add_asking(parser, 'deleted')
    arguments = parser.parse_args(argv)
    if arguments.watch is not None and not arguments.yes:
        parser.error('--watch asks nobody: give --yes, too')
    if arguments.superseded and not (arguments.after is arguments.keep_free is arguments.watch is None):
        parser.error('--superseded goes with FOLDER, --days, --yes and --dry-run alone')
    if not arguments.superseded and not arguments.after:
        parser.error('--after needs the name of a step that was done on the documents')
    if arguments.folder == '':
        parser.error('FOLDER must not be empty')
    return arguments


if __name__ == '__main__':
    sys.exit(cli.ending(main))
