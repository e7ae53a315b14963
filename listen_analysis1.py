#!/usr/bin/env python3
"""Step 2, signal_processing: optimum filter on the traces of a data file that was moved."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any

import listener
from detector.analysis import PARAMETERS, analyse
from detector.traces import DataFileError, StorageError
from edw import files
from edw.errors import FIELD_MISSING, NOT_DATA, UNREADABLE, StepError, Unprocessable
from edw.transfer import entry_with_file, local_copy, new_file, pass_of, target_in


def signal_processing(doc: dict[str, Any]) -> dict[str, Any]:
    """Filter the pulses of the file that move_to_sps left, and write the amplitudes beside it, to ID.amp.root, in the
    second pass to ID.2.amp.root."""
    moved = entry_with_file(doc)
    if moved is None:
        raise Unprocessable('no step before has left a file', FIELD_MISSING)
    file = moved['file']
    target = target_in(file.rpartition('/')[0], doc['_id'], '.amp.root', pass_of(doc, 'signal_processing'))
    try:
        with local_copy(file, moved.get('md5sum')) as source, new_file(target) as result:
            summary = analyse(source, result)
            md5sum = files.md5_of(result)
    except (StorageError, OSError) as error:
        raise StepError(str(error), UNREADABLE) from error
    except DataFileError as error:
        raise Unprocessable(str(error), NOT_DATA) from error
    made = {'file': target, 'md5sum': md5sum, 'log': summary.log, 'parameters': PARAMETERS}
    return {'hostname': socket.gethostname(), **made}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return listener.main(
        signal_processing,
        name='signal_processing',
        after='move_to_sps',
        failed='signal processing failure',
        version='1',
        packages=('numpy', 'uproot'),
        engine='processes',
        argv=argv,
    )


if __name__ == '__main__':
    sys.exit(main())
