#!/usr/bin/env python3
"""Step of runs, run_summary: all files of a complete run filtered again, with what they tell together."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import listener
from detector.runs.summary import summarise
from detector.traces import DataFileError, StorageError
from edw import files
from edw.completing.files_of_run import files_of_run
from edw.errors import NOT_DATA, UNREADABLE, StepError, Unprocessable
from edw.transfer import local_copy, new_file, pass_of, target_in


def run_summary(doc: dict[str, Any]) -> dict[str, Any]:
    """Write the amplitudes of a run to `[data] sps`, as RUN.amp.root, and their spectrum beside it, as RUN.pdf."""
    found = files_of_run(listener.database(), doc, 'move_to_sps')
    sources = {doc_id: partial(local_copy, *file) for doc_id, file in found.files.items()}
    sps, number = listener.settings().sps, pass_of(doc, 'run_summary')
    target, drawn = (target_in(sps, doc['_id'], ending, number) for ending in ('.amp.root', '.pdf'))
    try:
        with new_file(target) as result, new_file(drawn) as picture:
            summary = summarise(sources, result)
            summary.draw(picture, f'{doc["_id"]}: {summary.files} file{"s" * (summary.files != 1)}')
            md5sum, picture_md5sum = files.md5_of(result), files.md5_of(picture)
    except (StorageError, OSError) as error:
        raise StepError(str(error), UNREADABLE) from error
    except DataFileError as error:
        raise Unprocessable(str(error), NOT_DATA) from error
    return {
        **{'hostname': socket.gethostname(), 'file': target, 'md5sum': md5sum},
        'more_files': [{'file': drawn, 'md5sum': picture_md5sum}],
        'log': summary.log + found.words,
        'left_out': found.in_entry,
        **summary.findings,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return listener.main(
        run_summary,
        name='run_summary',
        after='run_complete',
        failed='no run summary',
        packages=('numpy', 'uproot', 'matplotlib'),
        engine='processes',
        argv=argv,
    )


if __name__ == '__main__':
    sys.exit(main())
