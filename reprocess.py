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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tqdm import tqdm

from edw import cli, config
from edw.database import design, views
from edw.database.client import Database
from edw.errors import EdwError, NoSuchRun, NoSuchStep, SettingsError
from edw.model.chain import meant
from edw.model.documents import Document, entry_of, is_run, superseded_entries
from edw.model.provenance import Made, can_be_compared, made_by
from edw.operating import reprocessing
from edw.operating.display import number, safe, show_place
from edw.operating.reprocessing import Change, Outcome, Selection

MAX_EXAMPLES = 5  # documents whose changes are shown, and documents named in one line
MAX_GROUPS = 20  # lines of the table

# Quiet where stderr is not a terminal.
progress_bar = partial(tqdm, unit=' documents', disable=None)


@dataclass
class Plan:
    """What would be changed: the revision of each document by its id, and what to show of it."""

    revisions: dict[str, str] = field(default_factory=dict)
    groups: Counter[tuple[str, str]] = field(default_factory=Counter)  # by run and status
    examples: list[str] = field(default_factory=list)
    superseded: set[str] = field(default_factory=set)  # steps whose entries were cut from them before
    made: Counter[str] = field(default_factory=Counter)  # by what has made the entry that is asked for
    left: Outcome = field(default_factory=Outcome)
    missing: list[str] = field(default_factory=list)  # ids that were named, and do not exist
    missed: list[str] = field(default_factory=list)  # documents that were named, and do not meet the conditions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    selection, change = _selection(parser, arguments), _change(parser, arguments)
    database = Database(config.load(arguments.config))
    show_place(database.place())
    if selection.viewname is not None:
        design.check(database, views=(selection.viewname,))
    if selection.step is not None:
        selection = _step_or_id(database, selection, selection.step)
    if selection.made is not None:
        _check_version(database, selection.made)
    plan = look(database, selection, change, arguments.force)
    if arguments.step is not None:
        design.check_step(database, arguments.step, plan.superseded)
    if arguments.kind is not None and not plan.revisions:
        _check_kind(database, arguments.kind)
    if arguments.run is not None and not plan.revisions:
        _check_run(database, arguments.run)
    if selection.made is not None and not plan.revisions:
        _check_commit(database, selection.made)
    show(plan)
    cli.check_asking(arguments, 'requeue')
    if arguments.dry_run:
        return 0
    if not plan.revisions:
        return 0 if plan.left.is_complete and not plan.missing else 1
    if not (arguments.yes or cli.is_confirmed(f'Requeue {number(len(plan.revisions), "document")}')):
        print('nothing was changed')
        return 1
    done = write(database, plan, change, arguments.force)
    print(f'requeued {number(len(done.done), "document")}')
    return 0 if done.is_complete and plan.left.is_complete and not plan.missing else 1


def look(database: Database, selection: Selection, change: Change, force: bool) -> Plan:
    """Find out what would be changed. Only ids and revisions are kept of all documents."""
    plan = Plan()

    def note_missed(doc_id: str, reason: str) -> None:
        if selection.ids:
            is_there = reason != reprocessing.NO_DOCUMENT
            (plan.missed if is_there else plan.missing).append(f'{doc_id} {reason}' if is_there else doc_id)

    with progress_bar(desc='looking', leave=False) as bar:
        for doc in reprocessing.select_documents(database, selection, note_missed):
            bar.update()
            if is_run(doc) and not selection.ids and change(doc) == doc:
                continue  # whoever asks for files by their ids or status does not mean it
            plan.superseded.update(str(entry.get('name')) for entry in superseded_entries(doc))
            version = reprocessing.wanted(doc, change, force, plan.left)
            if version is None:
                continue
            plan.revisions[doc['_id']] = doc['_rev']
            plan.groups[str(doc.get('run', doc['_id'] if is_run(doc) else '-')), doc['status']] += 1
            if selection.made is not None:
                plan.made[made_by(entry_of(doc, selection.made.step))] += 1
            if len(plan.examples) < MAX_EXAMPLES:
                plan.examples.append(f'{doc["_id"]}: {difference(doc, version)}')
    return plan


def show(plan: Plan) -> None:
    """Print what would be changed, and what would not."""
    if plan.revisions:
        head = ('run', 'status', 'documents')
        groups = sorted(plan.groups.items())
        lines = [(run, status, str(count)) for (run, status), count in groups[:MAX_GROUPS]]
        widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
        for line in (head, *lines):
            print('  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if len(groups) > MAX_GROUPS:
            print(f'and {number(len(groups) - MAX_GROUPS, "more line")}')
        if plan.made:
            print('made by', '; '.join(f'{safe(words)}: {count}' for words, count in plan.made.most_common(MAX_GROUPS)))
        print(f'{number(len(plan.revisions), "document")} would be requeued:')
        print(*(f'  {example}' for example in plan.examples), sep='\n')
        if len(plan.revisions) > len(plan.examples):
            print(f'  and {len(plan.revisions) - len(plan.examples)} more')
    else:
        print('there is nothing to requeue')
    if plan.left.unchanged:
        print(f'{number(len(plan.left.unchanged), "document")} as wanted already: {_named(plan.left.unchanged)}')
    if plan.missed:
        print(f'{number(len(plan.missed), "document")} outside the conditions: {_named(plan.missed, "; ")}')
    if plan.left.claimed:
        alone, them = number(len(plan.left.claimed), 'document'), 'it' if len(plan.left.claimed) == 1 else 'them'
        print(f'{alone} left alone, a listener is at {them} (see --force): {_named(plan.left.claimed)}')
    for text in [*plan.left.refused, *(f'{doc_id}: there is no such document' for doc_id in plan.missing)]:
        print(f'error: {text}', file=sys.stderr)


def difference(before: Document, after: Document) -> str:
    """What is changed in a document, in words."""
    words = []
    if before.get('status') != after.get('status'):
        words.append(f'status {before["status"]!r} becomes {after["status"]!r}')
    cut = before['process'][len(after['process']) :]
    if cut:
        names = [str(entry.get('name')) if isinstance(entry, dict) else '?' for entry in cut]
        words.append(f'{", ".join(names)} cut from process')
    if 'claim' in before and 'claim' not in after:
        claim = before['claim']
        words.append(f'the claim of {claim.get("worker") if isinstance(claim, dict) else claim} removed')
    return '; '.join(words)


def write(database: Database, plan: Plan, change: Change, force: bool) -> Outcome:
    """Change what was shown, as it was shown: a document that was changed since then is left alone."""
    deleted: list[str] = []

    def as_shown() -> Iterator[Document]:
        now = Selection(ids=tuple(plan.revisions))
        for doc in reprocessing.select_documents(database, now, lambda doc_id, _: deleted.append(doc_id)):
            # On the revision that was shown, so that the server refuses what would undo somebody else's change.
            yield {**doc, '_rev': plan.revisions[doc['_id']]}

    gone_through = 0
    with progress_bar(total=len(plan.revisions), desc='requeuing') as bar:

        def on_batch(count: int) -> None:
            nonlocal gone_through
            gone_through += count  # a bar that is quiet does not count
            bar.update(count)

        try:
            result = reprocessing.requeue(database, as_shown(), change, force, on_batch)
        except EdwError as error:
            raise EdwError(
                f'{error}\n{gone_through} of {number(len(plan.revisions), "document")} were gone through before that. '
                'Run the same again for the others.'
            ) from None
    result.conflicts += deleted
    for doc_id in result.conflicts:
        print(f'error: {doc_id}: somebody else changed or deleted it meanwhile; it is left alone', file=sys.stderr)
    for doc_id in result.claimed:
        print(f'error: {doc_id}: a listener claimed it meanwhile; it is left alone', file=sys.stderr)
    for text in result.refused:
        print(f'error: {text}', file=sys.stderr)
    return result


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
    asking = parser.add_mutually_exclusive_group()
    asking.add_argument('--yes', action='store_true', help='do not ask; for scripts')
    asking.add_argument('--dry-run', action='store_true', help='only show what would be changed')
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


def _step_or_id(database: Database, selection: Selection, name: str) -> Selection:
    """The selection, in which the word behind --failed is a step, or else the id of a document. Raises NoSuchStep."""
    try:
        design.check_step(database, name)
    except NoSuchStep:
        if not database.existing([name]):
            raise
        return replace(selection, ids=(name, *selection.ids), step=None)
    return selection


def _check_kind(database: Database, kind: str) -> None:
    """Raise EdwError where nothing has failed with this kind, because its name is wrong."""
    design.check(database, views=(views.FAILED,))
    kinds = sorted({views.text(found) for _, found in views.counts(database, views.FAILED, level=2)})
    if kind not in kinds:
        there = '; '.join(map(safe, kinds[:MAX_GROUPS])) or 'none'
        raise EdwError(f'nothing has failed with the kind {kind!r}; kinds that there are: {there}{meant(kind, kinds)}')


def _check_version(database: Database, made: Made) -> None:
    """Raise EdwError where the version asked for is none like those there, so that all or none would be older."""
    if made.version_below is None:
        return
    versions = sorted({version for version, _ in _software(database, made) if isinstance(version, str)})
    if not can_be_compared(made.version_below, versions):
        there = ', '.join(map(safe, versions[:MAX_GROUPS]))
        raise EdwError(
            f'version {made.version_below!r} cannot be compared with those of {made.step}, which are numbers: {there}'
        )


def _check_commit(database: Database, made: Made) -> None:
    """Raise EdwError where no entry of the step is by the commit asked for."""
    if made.commit is None:
        return
    commits = sorted({commit for _, commit in _software(database, made) if isinstance(commit, str)})
    by_commit = replace(made, version_below=None)
    if not any(by_commit.is_by(None, commit) for commit in commits):
        there = ', '.join(map(safe, commits[:MAX_GROUPS])) or 'none'
        raise EdwError(f'nothing that {made.step} has left is by commit {made.commit}; commits that there are: {there}')


def _software(database: Database, made: Made) -> list[tuple[Any, Any]]:
    """By which versions and commits the entries of a step are."""
    design.check(database, views=(views.DONE, views.ENTRIES))
    return [(version, commit) for _, _, version, commit in reprocessing.software_of(database, made.step)]


def _check_run(database: Database, run: str) -> None:
    design.check(database, views=(views.RUNS,))
    if not views.ids_of_run(database, run):
        raise NoSuchRun(database.url, run)


def _change(parser: ArgumentParser, arguments: Namespace) -> Change:
    if arguments.step is None:
        return reprocessing.requeued
    if not arguments.step:
        parser.error('--from needs the name of a step')
    return partial(reprocessing.cut_before, step=arguments.step, now=time.time(), hostname=socket.gethostname())


def _named(items: list[str], separator: str = ', ') -> str:
    more = f' and {len(items) - MAX_EXAMPLES} more' if len(items) > MAX_EXAMPLES else ''
    return separator.join(items[:MAX_EXAMPLES]) + more


if __name__ == '__main__':
    sys.exit(cli.ending(main))
