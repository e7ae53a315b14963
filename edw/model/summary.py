"""What some documents have in common, as people say it: when, how large, under which conditions, with which errors.

Pure functions, defined for any JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edw.model.documents import Document, number

UNITS = {'temperature': 'K', 'volts': 'V'}  # of the conditions that this project writes
PREFIXES = {9: 'G', 6: 'M', 3: 'k', 0: '', -3: 'm', -6: 'µ', -9: 'n'}
DIGITS = 3  # that count
MINUS = '\u2212'
DIFFERENT = 'not the same in all files'
OWN_NAME = '…'  # instead of a document's id in its error


@dataclass(frozen=True)
class Table:
    """A condition with several values for each name: a row of texts for each."""

    name: str
    unit: str
    rows: list[tuple[str, list[str]]]

    @property
    def width(self) -> int:
        """Values in the longest row."""
        return max(len(values) for _, values in self.rows)


@dataclass(frozen=True)
class Conditions:
    """Those of some documents: single ones as (name, text), and tables."""

    single: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Alike:
    """Documents with the same error, the newest first; OWN_NAME stands for the id of each if they are several."""

    error: str
    ids: list[str]
    newest: float | None  # seconds since the epoch


def conditions(docs: Iterable[Document]) -> Conditions:
    """The conditions of all documents that have any; numbers that differ from document to document as a range."""
    values: dict[str, list[Any]] = {}
    for doc in docs:
        found = doc.get('conditions')
        for name, value in found.items() if isinstance(found, dict) else ():
            values.setdefault(name, []).append(value)
    made = Conditions()
    for name, of_all in values.items():
        first, unit = of_all[0], UNITS.get(name, '')
        numbers = [found for value in of_all if (found := number(value)) is not None]
        if len(numbers) == len(of_all):
            made.single.append((name, span(min(numbers), max(numbers), unit)))
        elif any(value != first for value in of_all):
            made.single.append((name, DIFFERENT))
        elif (rows := _rows(first)) is not None:
            made.tables.append(Table(name, unit, rows))
        elif first is not None:
            made.single.append((name, _text(first)))
    return made


def span(lowest: float, highest: float, unit: str = '') -> str:
    """`15.2 mK`, or `15.0 to 15.9 mK`, in the prefix that suits the highest, to DIGITS digits."""
    largest = max(abs(lowest), abs(highest))
    fitting = [power for power in PREFIXES if 10.0**power <= largest * (1 + 0.5 * 10**-DIGITS)]
    power = max(fitting, default=0) if unit else 0
    low, high = (_number(value / 10.0**power) for value in (lowest, highest))
    return f'{low if low == high else f"{low} to {high}"} {PREFIXES[power]}{unit}'.rstrip()


def size_of(docs: Iterable[Document]) -> int | None:
    """Bytes of all files together; None where no document says it."""
    sizes = [doc['size'] for doc in docs if type(doc.get('size')) is int and doc['size'] >= 0]
    return sum(sizes) if sizes else None


def made_between(docs: Iterable[Document]) -> tuple[float, float] | None:
    """When the first and the last of them was made, in seconds since the epoch; None where no document says it."""
    times = [made for doc in docs if (made := number(doc.get('datecreated'))) is not None]
    return (min(times), max(times)) if times else None


def alike(errors: Iterable[tuple[str, str, float | None]]) -> list[Alike]:
    """Errors, each (id, text, time), with those that differ only in the document's own id put together.

    Those with most documents come first, then the newest; the order of documents is that in which they are given.
    """
    groups: dict[str, list[tuple[str, str, float | None]]] = {}
    for doc_id, error, time in errors:
        # Only as a whole word: an id may be one letter.
        words = re.sub(rf'(?<!\w){re.escape(doc_id)}(?!\w)', OWN_NAME, error) if doc_id else error
        groups.setdefault(words, []).append((doc_id, error, time))
    found = [
        Alike(
            words if len(group) > 1 else group[0][1],
            [doc_id for doc_id, _, _ in group],
            max((time for _, _, time in group if time is not None), default=None),
        )
        for words, group in groups.items()
    ]
    return sorted(found, key=lambda one: (-len(one.ids), -(one.newest or 0.0)))


def last_error(doc: Document) -> tuple[str, float | None]:
    """Text and time of the last failure of a document; empty where none is recorded."""
    failures = doc.get('failures')
    last = failures[-1] if isinstance(failures, list) and failures else None
    if not isinstance(last, dict):
        return '', None
    return _text(last.get('error') or ''), number(last.get('time'))


def _rows(value: Any) -> list[tuple[str, list[str]]] | None:
    """`{'detector_a': [8, -8]}` as rows; None for what is no such table."""
    if not isinstance(value, dict) or not value:
        return None
    rows = []
    for name, row in value.items():
        numbers = [number(one) for one in row] if isinstance(row, list) else [number(row)]
        if not numbers or None in numbers:
            return None
        rows.append((name, [f'{one:g}'.replace('-', MINUS) for one in numbers if one is not None]))
    return rows


def _number(value: float) -> str:
    """To DIGITS digits, with zeros where they say how exact it is; whole numbers as they stand."""
    is_whole = value == int(value) and abs(value) < 1e6
    text = f'{value:.0f}' if is_whole else f'{value:#.{DIGITS}g}'.rstrip('.')
    return text.replace('-', MINUS)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
