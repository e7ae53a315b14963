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
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edw import cli, config, files, logs
from edw.database import design, storable, views
from edw.database.client import Database
from edw.errors import EdwError, NoSuchRun, SettingsError
from edw.model.documents import Document
from edw.operating.display import number, show_place
from edw.registering import catalogue, folders, names, registration, runs
from edw.registering.folders import Selection
from edw.registering.names import ROOT_ENDING
from edw.registering.registration import Registrar
from edw.registering.watching import Watcher
from edw.transfer import is_url, make_new_folder

EVENTS = 200  # of one file
SETTLE = 60.0  # seconds without a change after which acquisition has finished a file
VOLTS = {'detector_a': [8, -8, 2, -2], 'detector_b': [4, -4, 1.5, -1.5]}  # on the electrodes
TEMPERATURE = 0.015, 0.016  # K, lowest and highest

# Quiet where stderr is not a terminal.
progress_bar = partial(tqdm, unit=' files', disable=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
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
        type=_seconds,
        metavar='S',
        help=f'a file is finished when it is the same at two looks S seconds apart (default {SETTLE:g}), '
        'or when the system tells --watch that it was closed',
    )
    parser.add_argument(
        '--pattern',
        action='append',
        dest='patterns',
        type=_pattern,
        metavar='PATTERN',
        help='names of data files, as the shell has them (default *.root); may be given several times',
    )
    parser.add_argument('--recursive', action='store_true', help='those in the folders below DIR, too')
    parser.add_argument(
        '--done-mark',
        type=_text_without(names.mark_problem),
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
        type=_text_without(names.condition_problem),
        metavar='NAME',
        help='the kind of run: calibration, background, neutron, ...; a file whose header says another one is refused',
    )
    naming = parser.add_mutually_exclusive_group()
    naming.add_argument('--run', type=_run, metavar='NAME', help='the run of all these files')
    naming.add_argument(
        '--run-pattern',
        type=_text_without(names.run_pattern_problem),
        metavar='PATTERN',
        help='what tells the run of a file: its name without .root, as the shell has it, with {run} for the run: '
        "'{run}_*', or '{run}/*' where the folder has its name",
    )
    parser.add_argument(
        '--conditions',
        type=_conditions_file,
        metavar='FILE',
        help='JSON object that goes into conditions of each document',
    )
    arguments = parser.parse_args(argv)
    try:
        number = None if arguments.number is None else _number(arguments.number)
    except argparse.ArgumentTypeError as error:
        parser.error(f'argument N: {error}')
    folder = arguments.folder or arguments.watch
    for option in ('settle', 'patterns', 'recursive', 'done_mark', 'update', 'run', 'run_pattern', 'conditions'):
        if folder is None and getattr(arguments, option) not in (None, False):
            name = 'pattern' if option == 'patterns' else option.replace('_', '-')
            parser.error(f'--{name} goes with --from DIR and --watch DIR')
    if arguments.settle is not None and arguments.done_mark is not None:
        parser.error('--settle and --done-mark are two ways to tell that a file is finished: give one')
    if (folder or arguments.close) and (number, arguments.events, arguments.seed) != (None, None, None):
        parser.error('N, --events and --seed are for simulated files, not for --from DIR, --watch DIR or --close RUN')
    if arguments.close and arguments.condition is not None:
        parser.error('--condition goes not with --close RUN: the files of the run have it')
    database = Database(config.load(arguments.config))
    if arguments.watch is None:
        show_place(database.place())
    if arguments.close is not None:
        return close(database, arguments.close)
    if folder is not None:
        settle = SETTLE if arguments.settle is None else arguments.settle
        patterns = tuple(arguments.patterns or Selection.patterns)
        copies = _copies(database.settings.sps, folder)
        naming = arguments.run, arguments.run_pattern
        selection = Selection(patterns, arguments.recursive, arguments.done_mark, *naming, copies)
        read_header = partial(_header, arguments.conditions or {})
        registrar = Registrar(database, read_header, arguments.update, arguments.condition, redo=not arguments.watch)
        if arguments.folder:
            return register(database, registrar, folder, selection, settle)
        return watch(Watcher(database, registrar, folder, selection, settle))
    events = arguments.events or EVENTS
    return seed(database, number or 1, events, arguments.seed, arguments.condition)


def seed(
    database: Database, count: int, events: int, random_seed: int | None = None, condition: str | None = None
) -> int:
    """Make `count` documents of the next run, with their data files."""
    if is_url(database.settings.raw):
        raise SettingsError('[data] raw: the simulated acquisition writes to a local folder, not to a URL.')
    raw = Path(database.settings.raw)
    try:
        raw.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdwError(f'{raw} cannot be made: {error.strerror}. Set [data] raw to a folder that can.') from None
    _make_sps(database.settings.sps)
    # Files that another database knows under the name of a run are not overwritten.
    reserved = catalogue.reserve_run(database, is_taken=lambda run: any(raw.glob(f'{run}_*')))
    run = reserved['run']
    print('run', run)
    docs: list[Document] = []
    try:
        for index in progress_bar(range(count), desc='writing data files'):
            docs.append(_acquire(raw, run, index, events, random_seed, condition))
    except BaseException as error:
        # Nothing half done: neither files without documents, nor a run without files.
        for doc in docs:
            Path(doc['original_file']).unlink(missing_ok=True)
        database.delete(reserved)
        if isinstance(error, OSError):
            raise EdwError(f'{raw} cannot be written to: {error.strerror}. No document was made.') from None
        raise
    docs[0]['_rev'] = reserved['_rev']
    print('uploading', number(count, 'document'), 'to', database.url)
    uploaded = 0

    def on_batch(size: int) -> None:
        nonlocal uploaded
        uploaded += size  # the bar counts only where it is shown
        bar.update(size)

    with progress_bar(total=count, desc='uploading', unit=' documents') as bar:
        try:
            refused = catalogue.insert(database, docs, on_batch)
        except EdwError as error:
            way_out = f'Register what is missing with: python make_metadata.py --from {raw} --settle 0'
            of_all = f'{uploaded} of {number(count, "document")}'
            raise EdwError(f'{error}\nUploaded were at least {of_all}. {way_out}') from None
    _complain(refused.values())
    catalogue.close_run(database, run, time.time(), condition)
    print('uploaded', number(count - len(refused), 'document'), 'of run', run)
    _print_sequence(database)
    return 1 if refused else 0


def close(database: Database, run: str) -> int:
    """Close a run."""
    design.check(database, views=(views.RUNS,))
    if not views.total(database, views.RUNS, startkey=[run], endkey=[run, views.LAST]):
        raise NoSuchRun(database.url, run)
    is_new = catalogue.close_run(database, run, time.time(), runs.condition_of(database, run))
    print(f'run {run} is closed' if is_new else f'run {run} was closed already')
    return 0


def _make_sps(sps: str) -> None:
    """Make the folder that move_to_sps copies to, for a first try; it makes none itself, see docs/data-files.md."""
    if is_url(sps):
        return
    try:
        make_new_folder(Path(sps))
    except OSError as error:
        print(f'warning: {sps}, [data] sps, cannot be made: {error.strerror}', file=sys.stderr)


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


def watch(watcher: Watcher) -> int:
    """Make documents for the data files of a folder, and for those that come, until a signal."""
    logs.set_up(logging.INFO)

    def stop(signum: int, frame: object) -> None:
        watcher.stop()
        signal.signal(signum, signal.default_int_handler)  # the second time, without waiting for anything

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    watcher.run()
    return 0


def _copies(sps: str, folder: Path) -> Path | None:
    """The folder that the first step copies files to; None where `folder` is, or is in, that one."""
    if is_url(sps):
        return None
    copies = Path(os.path.realpath(sps))
    real = Path(os.path.realpath(folder))
    return None if copies == real or copies in real.parents else copies


def _header(given: dict[str, Any], file: Path) -> tuple[dict[str, Any], str | None]:
    """The run conditions of a file, its own, and over them those that are given for all; and the kind of its run."""
    if not file.name.endswith(ROOT_ENDING):
        return given, None
    from detector import acquisition  # half a second of imports, for simulated and ROOT files alone

    conditions, condition = acquisition.read_header(file)
    if conditions is None and not given:
        print(f'warning: {file} holds no run conditions that can be read', file=sys.stderr)
    if condition is not None and (problem := names.condition_problem(condition)):
        print(f'warning: {file}: in its header, {problem}', file=sys.stderr)
        condition = None
    return {**(conditions or {}), **given}, condition


def _acquire(raw: Path, run: str, index: int, events: int, random_seed: int | None, condition: str | None) -> Document:
    """Take one file's data: simulated, but written, measured and described as real ones."""
    import numpy as np

    from detector import acquisition

    rng = np.random.default_rng(None if random_seed is None else [random_seed, index])
    conditions: dict[str, Any] = {'volts': VOLTS, 'temperature': rng.uniform(*TEMPERATURE)}
    doc_id = runs.file_id(run, index)
    path = raw / f'{doc_id}.root'
    with files.replacing(path) as temporary:
        acquisition.write_file(temporary, events, rng, conditions, condition)
    return catalogue.new_document(doc_id, run, path, conditions, condition)


def _complain(refused: Iterable[str]) -> None:
    for reason in refused:
        print(f'error: {reason}', file=sys.stderr)


def _print_sequence(database: Database) -> None:
    print('current database sequence number:')
    print(database.info()['update_seq'])


def _number(text: str) -> int:
    count = cli.count(text)
    if count > runs.MAX_FILES:
        raise argparse.ArgumentTypeError(f'a run numbers {runs.MAX_FILES} files at most, not {count}')
    return count


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number, 0 or more')
    return int(text)


def _pattern(text: str) -> str:
    if not text or '/' in text or text.startswith('.'):
        raise argparse.ArgumentTypeError(f'{text!r} fits no name of a file that is not hidden')
    return text


def _text_without(problem_of: Callable[[str], str | None]) -> Callable[[str], str]:
    """Type of an option that is a text, but for one with a problem."""

    def checked(text: str) -> str:
        if problem := problem_of(text):
            raise argparse.ArgumentTypeError(problem)
        return text

    return checked


def _run(text: str) -> str:
    if not names.usable_as_run(text):
        raise argparse.ArgumentTypeError(f'{text!r} can be no name of a run')
    return text


def _conditions_file(text: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(text).read_bytes())
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no character
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{text}: cannot be read: {error.strerror or error}') from None
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f'{text!r}: is no JSON that can be kept: {error}') from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'{text!r}: is no JSON object, {{"NAME": VALUE, ...}}')
    if (fault := storable.fault({'_id': 'x', 'conditions': found})) is not None:
        raise argparse.ArgumentTypeError(f'{text!r}: {fault}')
    return found


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= config.LONGEST:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of seconds, 0 to {config.LONGEST:g}')
    return seconds


if __name__ == '__main__':
    sys.exit(cli.ending(main))
