"""What a JSON database can keep. It is asked before a write, because one value makes CouchDB refuse a whole request."""

from __future__ import annotations

from typing import Any

from edw.database.nesting import DEEPEST
from edw.errors import TooDeep, Unstorable

# CouchDB's numbers are 64-bit floats as soon as they do not fit a machine word: it answers 500 (badarith) to a whole
# _bulk_docs with a larger one, and some of its JSON libraries write an infinite one as null.
TOO_LARGE = 1e308

_CONTAINERS = frozenset({dict, list, tuple})
_NUMBERS = frozenset({int, float})


def fault(value: Any, deepest: int = DEEPEST) -> Unstorable | None:
    """What keeps a document, or a part of one, from being written; None where nothing does."""
    level = [value]
    for _ in range(deepest):
        parts = [inner for part in level for inner in (part.values() if type(part) is dict else part)]
        for part in parts:
            if type(part) in _NUMBERS and not -TOO_LARGE < part < TOO_LARGE:  # in this form NaN is found, too
                return Unstorable(f'a number of {TOO_LARGE:g} or more, or none at all')
        level = [part for part in parts if type(part) in _CONTAINERS]
        if not level:
            return None
    return TooDeep(f'nested deeper than {deepest} levels')
