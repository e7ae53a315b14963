#!/usr/bin/env python3
"""Seed documents with their data files, or register data files that are already there.

make_metadata.py [N]          a simulated acquisition writes N data files (default 1) of the next run into
                              [data] raw of edw.ini, and each gets a document
make_metadata.py --from DIR   each data file in DIR that has no document gets one, if it does not change meanwhile
make_metadata.py --watch DIR  the same, and from then on each data file as soon as it is finished, until Ctrl-C
make_metadata.py --close RUN  no more files of this run are to come: its document is made
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edw import cli, config, logs
from edw.database import design, views
from edw.database.client import Database
from edw.errors import SettingsError
from edw.operating.display import number, show_place
from edw.registering import acquiring, catalogue, folders, names, registration, runs
from edw.registering.folders import Selection
from edw.registering.names import ROOT_ENDING
from edw.registering.registration import Registrar
from edw.registering.watching import Watcher
from edw.transfer import is_url, make_new_folder

EVENTS = 200  # of one file
SETTLE = 60.0  # seconds without a change after which acquisition has finished a file

# Quiet where stderr is not a terminal.
progress_bar = partial(tqdm, unit=' files', disable=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _arguments(argv)
    database = Database(config.load(arguments.config))
    if arguments.watch is None:
        show_place(database.place())
    if arguments.close is not None:
        return close(database, arguments.close)
    if arguments.folder is None and arguments.watch is None:
        return seed(database, arguments)
    folder = arguments.folder or arguments.watch
    settle = SETTLE if arguments.settle is None else arguments.settle
    selection = Selection(
        tuple(arguments.patterns or Selection.patterns),
        arguments.recursive,
        arguments.done_mark,
        arguments.run,
        arguments.run_pattern,
        folders.copies_beside(folder, database.settings.sps),
    )
    read_header = partial(_header, arguments.conditions or {})
    registrar = Registrar(database, read_header, arguments.update, arguments.condition, redo=not arguments.watch)
    if arguments.folder:
        return register(database, registrar, folder, selection, settle)
    return watch(Watcher(database, registrar, folder, selection, settle))


def seed(database: Database, arguments: argparse.Namespace) -> int:
    """Make documents of the next run, with their data files."""
    count = arguments.number or 1
    raw = acquiring.folder(database.settings.raw)
    _make_sps(database.settings.sps)
    # Files that another database knows under the name of a run are not overwritten.
    reserved = acquiring.reserve_run(database, is_taken=lambda run: any(raw.glob(f'{run}_*')))
    run = reserved['run']
    print('run', run)
    numbers = progress_bar(range(count), desc='writing data files')
    docs = acquiring.take(database, reserved, raw, numbers, partial(_simulate, arguments), arguments.condition)
    print('uploading', number(count, 'document'), 'to', database.url)
    with progress_bar(total=count, desc='uploading', unit=' documents') as bar:
        refused = acquiring.upload(database, docs, raw, bar.update)
    _complain(refused.values())
    catalogue.close_run(database, run, time.time(), arguments.condition)
    print('uploaded', number(count - len(refused), 'document'), 'of run', run)
    _print_sequence(database)
    return 1 if refused else 0


def _make_sps(sps: str) -> None:
    """Make the folder that move_to_sps copies to, for a first try; it makes none itself, see docs/data-files.md."""
    if is_url(sps):
        return
    try:
        make_new_folder(Path(sps))
    except OSError as error:
        print(f'warning: {sps}, [data] sps, cannot be made: {error.strerror}', file=sys.stderr)


def _simulate(arguments: argparse.Namespace, path: Path, index: int) -> dict[str, Any]:
    """Take one file's data: simulated, but written, measured and described as real ones. Returns its conditions."""
    from detector import acquisition  # half a second of imports, for simulated and ROOT files alone

    seed = None if arguments.seed is None else [arguments.seed, index]
    return acquisition.take_file(path, arguments.events or EVENTS, seed, arguments.condition)


def register(database: Database, registrar: Registrar, folder: Path, selection: Selection, settle: float) -> int:
    """Make documents for the data files of a folder that have none."""
    done = registration.register(
        registrar,
        folder,
        selection,
        settle,
        progress=partial(progress_bar, desc='registering'),
        on_wait=lambda count: print(f'looking again at {number(count, "file")} in {settle:g} s (--settle)', flush=True),
    )
    _complain(done.complaints)
    print(f'registered {number(len(done.new), "file")}, {len(done.known)} had a document already')
    if done.anew:
        print(f'registered {len(done.anew)} anew, which had changed')
    if done.redone:
        print('all steps are done again on', *done.redone)
    if done.to_requeue:
        print('failed before, so requeue: python reprocess.py', *done.to_requeue, '--failed')
    if done.unsettled:
        print(f'left {len(done.unsettled)} for the next call, which change')
    if done.unmarked:
        print(f'left {len(done.unmarked)} for the next call, which have no mark ({selection.done_mark})')
    for count, what in (
        (len(done.changed), 'changed since they were registered'),
        (len(done.refused), 'refused'),
        (len(done.failed), 'could not be registered'),
    ):
        if count:
            print(f'{count} {what}')
    if done.passed:
        print(f'passed over {folders.listed(done.passed)}')
    if not (done.new or done.anew or done.known or done.unsettled or done.unmarked or done.complaints):
        print(f'there are no data files ({", ".join(selection.patterns)}) in {folder}')
    _print_sequence(database)
    return 1 if done.complaints else 0


def _header(given: dict[str, Any], file: Path) -> tuple[dict[str, Any], str | None]:
    """The run conditions of a file, its own, and over them those that are given for all; and the kind of its run."""
    if not file.name.endswith(ROOT_ENDING):
        return given, None
    from detector import acquisition

    conditions, condition = acquisition.read_header(file)
    if conditions is None and not given:
        print(f'warning: {file} holds no run conditions that can be read', file=sys.stderr)
    if condition is not None and (problem := names.condition_problem(condition)):
        print(f'warning: {file}: in its header, {problem}', file=sys.stderr)
        condition = None
    return {**(conditions or {}), **given}, condition


def watch(watcher: Watcher) -> int:
    """Make documents for the data files of a folder, and for those that come, until a signal."""
    logs.set_up(logging.INFO)
    cli.on_stop(watcher.stop)
    watcher.run()
    return 0


def close(database: Database, run: str) -> int:
    """Close a run."""
    design.check(database, views=(views.RUNS,))
    views.ids_of_known_run(database, run)
    is_new = catalogue.close_run(database, run, time.time(), runs.condition_of(database, run))
    print(f'run {run} is closed' if is_new else f'run {run} was closed already')
    return 0


def _complain(refused: Iterable[str]) -> None:
    for reason in refused:
        print(f'error: {reason}', file=sys.stderr)


def _print_sequence(database: Database) -> None:
    print('current database sequence number:')
    print(database.info()['update_seq'])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    # Its type is checked afterwards: else what follows a misspelt option is said to be no number.
    parser.add_argument('number', nargs='?', metavar='N', help='documents to make (default 1)')
    parser.add_argument('--events', type=cli.count, metavar='N', help=f'simulated events of a file (default {EVENTS})')
    parser.add_argument('--seed', type=_seed, metavar='N', help='the same seed gives the same events')
    there = parser.add_mutually_exclusive_group()
    there.add_argument('--from', dest='folder', type=Path, metavar='DIR', help='register the data files in DIR')
    there.add_argument('--close', metavar='RUN', help='no more files of this run are to come')
    there.add_argument('--watch', type=Path, metavar='DIR', help='register them, and those that come')
    parser.add_argument(
        '--settle',
        type=cli.number_of('seconds', config.LONGEST),
        metavar='S',
        help=f'a file is finished when it is the same at two looks S seconds apart (default {SETTLE:g}), '
        'or when the system tells --watch that it was closed',
    )
    parser.add_argument(
        '--pattern',
        action='append',
        dest='patterns',
        type=cli.text_without(names.pattern_problem),
        metavar='PATTERN',
        help='names of data files, as the shell has them (default *.root); may be given several times',
    )
    parser.add_argument('--recursive', action='store_true', help='those in the folders below DIR, too')
    parser.add_argument(
        '--done-mark',
        type=cli.text_without(names.mark_problem),
        metavar='PATTERN',
        help='a file is finished when there is a file of this name beside it, with {file}, {id} or {run} for its own',
    )
    parser.add_argument(
        '--update',
        action='store_true',
        help='register files anew that have changed; with --from all steps are done again, with --watch it is only if '
        'no step has begun on them',
    )
    parser.add_argument(
        '--condition',
        type=cli.text_without(names.condition_problem),
        metavar='NAME',
        help='the kind of run: calibration, background, neutron, ...; a file whose header says another one is refused',
    )
    naming = parser.add_mutually_exclusive_group()
    naming.add_argument(
        '--run', type=cli.text_without(names.run_problem), metavar='NAME', help='the run of all these files'
    )
    naming.add_argument(
        '--run-pattern',
        type=cli.text_without(names.run_pattern_problem),
        metavar='PATTERN',
        help='what tells the run of a file: its name without .root, as the shell has it, with {run} for the run: '
        "'{run}_*', or '{run}/*' where the folder has its name",
    )
    parser.add_argument(
        '--conditions',
        type=_conditions,
        metavar='FILE',
        help='JSON object that goes into conditions of each document',
    )
    arguments = parser.parse_args(argv)
    try:
        arguments.number = None if arguments.number is None else _number(arguments.number)
    except argparse.ArgumentTypeError as error:
        parser.error(f'argument N: {error}')
    folder = arguments.folder or arguments.watch
    for option in ('settle', 'patterns', 'recursive', 'done_mark', 'update', 'run', 'run_pattern', 'conditions'):
        if folder is None and getattr(arguments, option) not in (None, False):
            name = 'pattern' if option == 'patterns' else option.replace('_', '-')
            parser.error(f'--{name} goes with --from DIR and --watch DIR')
    if arguments.settle is not None and arguments.done_mark is not None:
        parser.error('--settle and --done-mark are two ways to tell that a file is finished: give one')
    simulated = arguments.number, arguments.events, arguments.seed
    if (folder or arguments.close) and simulated != (None, None, None):
        parser.error('N, --events and --seed are for simulated files, not for --from DIR, --watch DIR or --close RUN')
    if arguments.close and arguments.condition is not None:
        parser.error('--condition goes not with --close RUN: the files of the run have it')
    return arguments


def _number(text: str) -> int:
    count = cli.count(text)
    if count > runs.MAX_FILES:
        raise argparse.ArgumentTypeError(f'a run numbers {runs.MAX_FILES} files at most, not {count}')
    return count


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number, 0 or more')
    return int(text)


def _conditions(text: str) -> dict[str, Any]:
    try:
        return catalogue.conditions_in(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == '__main__':
    sys.exit(cli.ending(main))
