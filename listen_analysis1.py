#!/usr/bin/env python3
"""Step 2, signal_processing: optimum filter on the traces of a data file that was moved."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any

import listener
from detector.analysis import analyse
from detector.traces import DataFileError, StorageError
from edw import files
from edw.errors import StepError, Unprocessable
from edw.transfer import is_url, local_copy, transfer


def signal_processing(doc: dict[str, Any]) -> dict[str, Any]:
    """Filter the pulses of the file that move_to_sps left, and write NAME.amp.root beside it."""
    moved = doc['process'][-1].get('file')
    if not isinstance(moved, str):
        raise Unprocessable('the entry of move_to_sps names no file')
    with local_copy(moved) as source:
        target = source.with_name(source.name.removesuffix('.root') + '.amp.root')
        try:
            with files.replacing(target) as temporary:
                summary = analyse(source, temporary)
        except (StorageError, OSError) as error:
            raise StepError(str(error)) from error
        except DataFileError as error:
            raise Unprocessable(str(error)) from error
        md5sum = files.md5_of(target)
        file = transfer(str(target), moved.rpartition('/')[0], md5sum).file if is_url(moved) else str(target)
    return {'hostname': socket.gethostname(), 'file': file, 'md5sum': md5sum, 'log': summary.log}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return listener.main(
        signal_processing,
        name='signal_processing',
        after='move_to_sps',
        failed='signal processing failure',
        argv=argv,
    )


if __name__ == '__main__':
    sys.exit(main())
