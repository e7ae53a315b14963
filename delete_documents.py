#!/usr/bin/env python3
"""Take documents out of the catalogue: single ones, or runs.

delete_documents.py ma22a000_001 ma22a000_007      documents by their ids
delete_documents.py ma22a000                       all documents of a run, and its own
delete_documents.py ma22a000 --with-files          with their copies in [data] sps, each verified at this moment

Originals stay in any case, and so do the files that steps have made of them. A copy is deleted only where the original
is there and right, every byte read. A document that a listener is at, or that somebody changes after it was shown, is
left alone. Shows what would be deleted, and asks. Exit code 1: some were left alone, or the answer was no.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from edw import cli, config
from edw.completing import removing
from edw.completing.removing import Plan, Remover
from edw.database import design, views
from edw.database.client import Database
from edw.errors import EdwError, SettingsError, StepError
from edw.keeping.guarding import GuardedFolder
from edw.keeping.looking import Looker
from edw.operating.display import first, number, safe, show_groups, show_place, size
from edw.transfer import is_url

MAX_NAMED = 10  # documents that are named


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    arguments = _arguments(argv)
    cli.check_asking(arguments, 'delete')
    settings = config.load(arguments.config)
    if arguments.with_files and is_url(settings.sps):
        raise SettingsError(f'{settings.sps}: files are deleted on the machine that has them; run it there.')
    database = Database(settings)
    show_place(database.place())
    design.check(database, views=(views.RUNS,))
    plan = removing.plan(database, arguments.names, arguments.with_files)
    show(plan, arguments.with_files)
    if arguments.dry_run or not plan.candidates:
        return 1 if plan.refused else 0
    if not cli.is_confirmed(arguments, f'Delete {_counted(plan)}', 'deleted'):
        return 1
    return 0 if delete(database, plan, arguments.with_files) and not plan.refused else 1


def show(plan: Plan, with_files: bool) -> None:
    """Print what would be deleted, and what would not."""
    if plan.candidates:
        show_groups(Counter((one.run, one.status) for one in plan.candidates))
        print(f'{_counted(plan)} would be deleted: {first([one.doc_id for one in plan.candidates], MAX_NAMED)}')
        print('originals stay' + ('' if with_files else ', and so do all other files'))
    else:
        print('there is nothing to delete')
    _tell(plan.refused)


def delete(database: Database, plan: Plan, with_files: bool) -> bool:
    """Delete what was shown, as it was shown; returns whether all of it is gone."""
    looker = Looker()
    folder = GuardedFolder(database.settings.sps) if with_files else None
    remover = Remover(database, folder, looker)
    refused: dict[str, str] = {}
    documents = copies = freed = 0
    try:
        for candidate in tqdm(plan.candidates, desc='deleting', unit=' documents', disable=None):
            try:
                count, its_size = remover.remove(candidate)
                documents, copies, freed = documents + 1, copies + count, freed + its_size
            except StepError as error:
                refused[candidate.doc_id] = str(error)
    except EdwError as error:
        raise EdwError(f'{error}\nRun the same again for the others.') from None
    finally:
        looker.close()
        if folder is not None:
            folder.close()
        _tell(refused)
        files = f', {number(copies, "file")}, {size(freed)}' if with_files else ''
        print(f'deleted {number(documents, "document")}{files}')
    return not refused


def _counted(plan: Plan) -> str:
    copies = sum(len(one.copies) for one in plan.candidates)
    files = f', and {number(copies, "file")} where the original is right' if copies else ''
    return number(len(plan.candidates), 'document') + files


def _tell(refused: dict[str, str]) -> None:
    for doc_id, reason in refused.items():
        print(f'error: {safe(doc_id)}: left alone: {safe(reason)}', file=sys.stderr)


def _arguments(argv: Sequence[str] | None) -> Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument('names', nargs='+', metavar='RUN|ID', help='runs, and documents by their ids')
    parser.add_argument('--with-files', action='store_true', help='their copies in [data] sps, too, never an original')
    cli.add_asking(parser, 'deleted')
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(cli.ending(main))
