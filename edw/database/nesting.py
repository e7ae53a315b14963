"""Documents that are nested too deep: they are named and left alone, and all others in the same answer are read.

JSON may be nested as deep as it likes, and CouchDB keeps it. Python's own functions call themselves for each level:
json, copy.deepcopy, pickle, and everything here that walks through a document. Where that ends depends on the version
of Python and on how deep the caller stands: json at a thousand levels in 3.10 and 3.11, at some thousands later;
copy.deepcopy at about 480. So there is a limit of our own, which all of them bear, and nothing here calls itself.

A faster reader was no way out: orjson ends at 1024 levels with the whole answer, as it does at half a surrogate pair,
and makes floats of long integers, which would then be written back.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from itertools import chain
from typing import Any

from edw.errors import TooDeep

DEEPEST = 200  # levels of lists and dicts in a document, itself the first
ENVELOPE = 4  # levels of an answer around the documents in it, at most
TOO_DEEP = TooDeep.word  # the error in a row whose document was left out, beside CouchDB's own
LEFT_ALONE = '%s is nested deeper than %d levels: it is left alone'

log = logging.getLogger(__name__)

_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_MARK = secrets.token_hex(8)  # no document has this as a key
_named: set[str] = set()  # ids of documents that the log has named


class _Cut(str):
    """Stands where something was nested too deep. A str, so that what shows keys and values of views can show it."""

    __slots__ = ()


_CUT = _Cut('(nested too deep)')
_NESTING = frozenset({dict, list, tuple, _Cut})  # what json reads and callers write; this is asked of every answer


def is_too_deep(value: Any, deepest: int = DEEPEST) -> bool:
    """Whether a document, or a part of one, is nested too deep to be worked with."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(deepest):
        if not level:
            return False
        if _Cut in map(type, level):
            return True
        parts = chain.from_iterable(part.values() if type(part) is dict else part for part in level)
        level = [part for part in parts if type(part) in _NESTING]
    return bool(level)


def loads(content: bytes) -> Any:
    """An answer of the database, without documents that are nested too deep.

    A row that came with such a one has None in its place, and the error TOO_DEEP. Raises TooDeep where the answer is
    that document itself, ValueError where it is no JSON.
    """
    try:
        answer = json.loads(content)
    except RecursionError:
        pass
    else:
        # Few answers have so many brackets, and still fewer so many within each other.
        if content.count(b'{') + content.count(b'[') <= DEEPEST or not is_too_deep(answer):
            return answer
    text = _cut(content.decode(json.detect_encoding(content), 'surrogatepass'))
    answer = json.loads(text, object_hook=lambda part: _CUT if _MARK in part else part)
    if isinstance(answer, dict) and '_id' in answer:
        if is_too_deep(answer):
            raise TooDeep(LEFT_ALONE % (answer['_id'], DEEPEST))
        return answer
    rows = answer if isinstance(answer, list) else answer.get('rows', answer.get('results', []))
    for row in filter(lambda row: isinstance(row, dict), rows):
        for place in ('doc', 'ok'):  # of views and changes; of the leaves of one document
            if is_too_deep(row.get(place)):
                _name(row.get('id') or row[place].get('_id'))
                row.update({place: None, 'error': TOO_DEEP})
    return answer


def left_alone(rows: list[dict[str, Any]]) -> list[str]:
    """Ids of the documents that are missing in the rows of a view, or the results of a feed, because of their depth."""
    return [row['id'] for row in rows if row.get('error') == TOO_DEEP]


def _name(doc_id: str) -> None:
    """Say once which document is left alone: it comes with each look at what waits."""
    if doc_id not in _named:
        _named.add(doc_id)
        log.warning(LEFT_ALONE, doc_id, DEEPEST)


def _cut(text: str) -> str:
    """The JSON text with a mark for all that is nested deeper than a document may be, wherever in it."""
    pieces: list[str] = []
    level, kept_from = 0, 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in ('{', '['):
            level += 1
            if level == DEEPEST + ENVELOPE + 1:
                pieces += text[kept_from : found.start()], f'{{"{_MARK}": 0}}'
        elif found[0] in ('}', ']'):
            if level == DEEPEST + ENVELOPE + 1:
                kept_from = found.end()
            level -= 1
    # Of an answer that broke off in the depth there is no end, and what is left is no JSON.
    return ''.join(pieces) + (text[kept_from:] if level <= DEEPEST + ENVELOPE else '')
