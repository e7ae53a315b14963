#!/usr/bin/env python3
"""Step 1, move_to_sps: bring each new data file to where it is processed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import listener
from edw.errors import FIELD_MISSING, Unprocessable
from edw.transfer import pass_of, target_in, transfer


def move_to_sps(doc: dict[str, Any]) -> dict[str, Any]:
    """Copy the data file from `original_file` to `[data] sps`, named by the document and checked against its md5."""
    for field in ('original_file', 'md5sum'):
        if not isinstance(doc.get(field), str):
            raise Unprocessable(f'the document has no {field}', FIELD_MISSING)
    # What an earlier pass has left of the same bytes is not copied again.
    number = pass_of(doc, 'move_to_sps', doc['md5sum'])
    target = target_in(listener.settings().sps, doc['_id'], doc['original_file'], number)
    moved = transfer(doc['original_file'], target, doc['md5sum'])
    return {'hostname': moved.hostname, 'file': moved.file, 'md5sum': moved.md5sum, 'log': moved.log}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return listener.main(
        move_to_sps, name='move_to_sps', after=0, failed='failed move to sps', engine='threads', argv=argv
    )


if __name__ == '__main__':
    sys.exit(main())
