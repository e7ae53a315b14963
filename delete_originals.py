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
import signal
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from edw import cli, config
from edw.config import Settings
from edw.database import design
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError, NoSuchStep, SettingsError, StepError, TryLater, Unavailable
from edw.keeping import leftovers, planning, superseded
from edw.keeping.copies import is_deleted
from edw.keeping.deleting import NO_FILE, Deleter, GuardedFolder
from edw.keeping.leftovers import LeftOvers, Part
from edw.keeping.looking import Looker
from edw.keeping.pages import pages
from edw.keeping.planning import DAY, Candidate, Terms
from edw.model.documents import Document
from edw.operating.display import age_of, columns, number, safe, show_place, size
from edw.storage import space
from edw.transfer import is_url

PERIOD = 600.0  # seconds between two rounds of --watch
LONGEST_DAYS = 36500.0
MAX_RUNS = 20  # lines of the table
SUPERSEDED = 'superseded file'
PARTS = 'unfinished part'  # of a copy that broke off
MAX_NAMED = 5  # documents named in one line
NEVER = threading.Event()


@dataclass
class Plan:
    """The originals that may be deleted, oldest first, of which `lacking` bytes are needed (None: all of them)."""

    candidates: list[Candidate] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)  # by the reason
    lacking: float | None = None
    parts: list[Part] = field(default_factory=list)  # of copies that broke off

    @property
    def chosen(self) -> list[Candidate]:
        """Those that are deleted, if all of them can be."""
        return self.candidates if self.lacking is None else planning.needed(self.candidates, self.lacking)


@dataclass
class Done:
    """What was deleted, and by the reason what was not."""

    files: int = 0
    bytes: int = 0
    parts: int = 0
    kept: defaultdict[str, list[Candidate | Part]] = field(default_factory=lambda: defaultdict(list))
    for_good: set[tuple[str, str]] = field(default_factory=set)  # of these: ids and revisions that no waiting mends


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _arguments(argv)
    settings = config.load(arguments.config)
    if is_url(arguments.folder or (settings.sps if arguments.superseded else settings.raw)):
        raise SettingsError('Files are deleted on the machine that has them: give their FOLDER there.')
    if arguments.watch is not None:
        return _watch(settings, arguments)
    cli.check_asking(arguments, 'delete')
    database = Database(settings)
    show_place(database.place())
    return (_once_superseded if arguments.superseded else _once)(database, arguments)


def _once(database: Database, arguments: argparse.Namespace) -> int:
    design.check_step(database, arguments.after)
    terms = _terms(database.settings, arguments)
    plan = look(database, arguments.folder, terms, arguments.keep_free)
    show(plan, arguments.keep_free)
    if arguments.dry_run or not (plan.chosen or plan.parts):
        return 0
    if not (arguments.yes or _confirmed(plan, arguments.keep_free)):
        print('nothing was deleted')
        return 1
    done = Done()
    try:
        delete(database, arguments.folder, terms, plan, arguments.keep_free, done)
    except EdwError as error:
        tell(done)
        raise EdwError(f'{error}\nRun the same again for the others.') from None
    tell(done)
    return 1 if done.kept else 0


def _once_superseded(database: Database, arguments: argparse.Namespace) -> int:
    before = time.time() - arguments.days * DAY
    plan = look_for_superseded(database, arguments.folder, before)
    files, total = sum(len(one.files) for one in plan.candidates), sum(one.size for one in plan.candidates)
    if plan.candidates:
        runs: defaultdict[str, list[superseded.Candidate]] = defaultdict(list)
        for candidate in plan.candidates:
            runs[candidate.run].append(candidate)
        now = time.time()
        lines = []
        for run, them in runs.items():
            count, freed = sum(len(one.files) for one in them), sum(one.size for one in them)
            lines.append((run, str(count), size(freed), age_of(min(one.created for one in them), now)))
        print(*columns([('run', 'files', 'size', 'superseded'), *lines[:MAX_RUNS]]), sep='\n')
        if len(lines) > MAX_RUNS:
            print(f'and {number(len(lines) - MAX_RUNS, "more run")}')
        print(f'{number(files, SUPERSEDED)} would be deleted, {size(total)}, if the newer ones are whole')
    else:
        print('there is nothing to delete')
    for reason, count in plan.kept.most_common():
        print(f'kept: {count}, {safe(reason)}')
    if arguments.dry_run or not files:
        return 0
    if not (arguments.yes or cli.is_confirmed(f'Delete {number(files, SUPERSEDED)}')):
        print('nothing was deleted')
        return 1
    return delete_superseded(database, arguments.folder, before, plan)


def look_for_superseded(database: Database, folder: str | None, before: float) -> superseded.Plan:
    """Find out what may be deleted of what was superseded before a time, in seconds since the epoch.

    All documents are read once more where there is anything: any of them may name a file of another one.
    """
    plan, copies = superseded.Plan(), GuardedFolder(folder or database.settings.sps)
    try:
        for doc in _documents(database, 'looking'):
            old, created = superseded.old_files(doc, before, plan.kept)
            found = []
            for one in old:
                if copies.parts(one.file) is None:
                    continue
                try:
                    found.append(superseded.measured(one, copies))
                except StepError as error:
                    plan.kept[str(error)] += 1
            if found:
                run = str(doc.get('run', '-'))
                plan.candidates.append(superseded.Candidate(doc['_id'], doc['_rev'], run, tuple(found), created))
    finally:
        copies.close()
    if plan.candidates:
        names = superseded.Names(one.file for candidate in plan.candidates for one in candidate.files)
        for doc in _documents(database, 'who names them'):
            names.seen(doc)
        plan.leave(names.named)
    return plan


def delete_superseded(database: Database, folder: str | None, before: float, plan: superseded.Plan) -> int:
    """Delete what the plan has; returns the exit code."""
    looker, copies = Looker(), GuardedFolder(folder or database.settings.sps)
    deleter = superseded.Deleter(database, copies, looker, socket.gethostname(), time.time)
    kept: defaultdict[str, list[superseded.Candidate]] = defaultdict(list)
    files = freed = 0
    try:
        for candidate in tqdm(plan.candidates, desc='deleting', unit=' documents', disable=None):
            try:
                done = deleter.delete(candidate, before, lambda reason, one=candidate: kept[reason].append(one))
                files, freed = files + done[0], freed + done[1]
            except StepError as error:
                kept[str(error)].append(candidate)
    finally:
        copies.close()
        looker.close()
        _tell_kept(kept)
        print(f'deleted {number(files, SUPERSEDED)}, {size(freed)}')
    return 1 if kept else 0


def _documents(database: Database, what: str) -> Iterator[Document]:
    # Quiet where stderr is not a terminal.
    with tqdm(desc=what, unit=' documents', disable=None, leave=False) as bar:
        for page in pages(database):
            for doc in page:
                bar.update()
                yield doc


def _watch(settings: Settings, arguments: argparse.Namespace) -> int:
    ended = threading.Event()

    def stop(number: int, frame: object) -> None:
        ended.set()
        signal.signal(number, signal.default_int_handler)  # the second time, without waiting for anything

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)
    database = Database(settings, Retry(ended.wait, Outage()))
    with contextlib.suppress(Unavailable):  # it was told to end while the server was away
        show_place(database.place())
    aside: set[tuple[str, str]] = set()  # documents that are not looked at again before they change
    said = ''
    while not ended.is_set():
        try:
            design.check_step(database, arguments.after)
            terms = _terms(settings, arguments)
            plan = look(database, arguments.folder, terms, arguments.keep_free, aside)
            if plan.chosen or plan.parts:
                done = Done()
                try:
                    delete(database, arguments.folder, terms, plan, arguments.keep_free, done, ended.is_set)
                finally:
                    aside |= done.for_good
                    tell(done)
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


def look(
    database: Database,
    folder: str | None,
    terms: Terms,
    keep_free: float | None,
    aside: set[tuple[str, str]] = frozenset(),
) -> Plan:
    """Find out what may be deleted; where there is room enough no document is read."""
    plan = Plan()
    originals = GuardedFolder(folder or database.settings.raw)
    try:
        if keep_free is not None:
            plan.lacking = _lacking(originals, keep_free)
            if plan.lacking <= 0:
                return plan
        left_overs = LeftOvers(time.time())
        # Quiet where stderr is not a terminal.
        with tqdm(desc='looking', unit=' documents', disable=None, leave=False) as bar:
            for page in pages(database):
                for doc in page:
                    bar.update()
                    plan.parts += left_overs.of(doc)
                    file = doc.get('original_file')
                    if not isinstance(file, str) or originals.parts(file) is None:
                        continue
                    reason = planning.why_kept(doc, terms)
                    if reason is None:
                        try:
                            with originals.opened(file) as original:
                                found = original.state.size
                        except StepError as error:
                            reason = 'deleted already' if is_deleted(doc) and str(error) == NO_FILE else str(error)
                    if reason is not None:
                        plan.kept[reason] += 1
                    elif (doc['_id'], doc['_rev']) not in aside:
                        run = str(doc.get('run', '-'))
                        plan.candidates.append(
                            Candidate(doc['_id'], doc['_rev'], run, file, found, float(doc['datecreated']))
                        )
    finally:
        originals.close()
    plan.candidates = planning.oldest_first(plan.candidates)
    return plan


def show(plan: Plan, keep_free: float | None) -> None:
    """Print what would be deleted, by run, and what is kept."""
    chosen = plan.chosen
    if chosen:
        runs: defaultdict[str, list[Candidate]] = defaultdict(list)
        for candidate in chosen:
            runs[candidate.run].append(candidate)
        now = time.time()
        lines = [
            (run, str(len(them)), size(sum(one.size for one in them)), age_of(them[0].created, now))
            for run, them in runs.items()
        ]
        print(*columns([('run', 'originals', 'size', 'oldest'), *lines[:MAX_RUNS]]), sep='\n')
        if len(lines) > MAX_RUNS:
            print(f'and {number(len(lines) - MAX_RUNS, "more run")}')
        total = size(sum(one.size for one in chosen))
        of_all = f', of {len(plan.candidates)} that may be' if len(chosen) < len(plan.candidates) else ''
        print(f'{number(len(chosen), "original")} would be deleted{of_all}, {total}, if their copies are whole')
    elif keep_free is not None and plan.lacking is not None and plan.lacking <= 0:
        print(f'more than {100 * keep_free:g} % are free: there is nothing to delete')
    else:
        print('there is nothing to delete')
    if keep_free is not None and plan.lacking is not None and sum(one.size for one in chosen) < plan.lacking:
        print(f'that is not enough: for {100 * keep_free:g} % to be free, {size(plan.lacking)} are lacking')
    if plan.parts:
        total = size(sum(one.size for one in plan.parts))
        print(f'{number(len(plan.parts), PARTS)} would be removed, {total}: their documents have the copy')
    for reason, count in plan.kept.most_common():
        print(f'kept: {count}, {safe(reason)}')


def delete(
    database: Database,
    folder: str | None,
    terms: Terms,
    plan: Plan,
    keep_free: float | None,
    done: Done,
    is_ended: Callable[[], bool] = NEVER.is_set,
) -> None:
    """Delete, oldest first, until there is room enough; where a copy is bad, the next oldest takes its place."""
    looker, originals = Looker(), GuardedFolder(folder or database.settings.raw)
    _remove_parts(database, plan.parts, done)
    deleter = Deleter(database, originals, terms, looker, socket.gethostname(), time.time)
    try:
        with tqdm(total=len(plan.chosen), desc='deleting', unit=' originals', disable=None) as bar:
            for candidate in plan.candidates:
                is_enough = plan.lacking is not None and (
                    done.bytes >= plan.lacking or _lacking(originals, keep_free or 0.0) <= 0
                )
                if is_ended() or is_enough:
                    break
                try:
                    done.bytes += deleter.delete(candidate)
                    done.files += 1
                    bar.update()
                except StepError as error:
                    done.kept[str(error)].append(candidate)
                    if not isinstance(error, TryLater):
                        done.for_good.add((candidate.doc_id, candidate.revision))
    finally:
        originals.close()
        looker.close()


def _remove_parts(database: Database, parts: list[Part], done: Done) -> None:
    for part in parts:
        try:
            leftovers.remove(part, database, time.time())
            done.parts += 1
        except StepError as error:
            done.kept[str(error)].append(part)


def tell(done: Done) -> None:
    """Print what was done."""
    _tell_kept(done.kept)
    print(f'deleted {number(done.files, "original")}, {size(done.bytes)}')
    if done.parts:
        print(f'removed {number(done.parts, PARTS)}')


def _tell_kept(kept: Mapping[str, Sequence[Candidate | Part | superseded.Candidate]]) -> None:
    for reason, them in kept.items():
        more = f' and {len(them) - MAX_NAMED} more' if len(them) > MAX_NAMED else ''
        named = ', '.join(safe(one.doc_id) for one in them[:MAX_NAMED])
        print(f'error: {named}{more}: kept: {safe(reason)}', file=sys.stderr)


def _lacking(originals: GuardedFolder, keep_free: float) -> float:
    found = space.usage(originals.path)
    if found is None:
        raise TryLater(f'{originals.path}: its disk does not say how full it is')
    return keep_free * found.total - found.free


def _terms(settings: Settings, arguments: argparse.Namespace) -> Terms:
    return Terms(arguments.after, time.time() - arguments.days * DAY, settings.copies)


def _confirmed(plan: Plan, keep_free: float | None) -> bool:
    until = '' if keep_free is None else f', or others where copies are bad, until {100 * keep_free:g} % are free'
    parts = f', and {number(len(plan.parts), PARTS)}' if plan.parts else ''
    return cli.is_confirmed(f'Delete {number(len(plan.chosen), "original")}{until}{parts}')


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of days, 0 to {LONGEST_DAYS:g}')
    return days


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
        type=_days,
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
    asking = parser.add_mutually_exclusive_group()
    asking.add_argument('--yes', action='store_true', help='do not ask; for scripts')
    asking.add_argument('--dry-run', action='store_true', help='only show what would be deleted')
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
