"""Which documents are wanted: by run, step, status, what people said of them, time, conditions. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edw.errors import SettingsError
from edw.model import documents
from edw.model.documents import Document, entry_that_left
from edw.model.provenance import version_of
from edw.operating.annotations import QUALITIES, quality_of, tags_of
from edw.selecting.conditions import Condition, field_of

CONDITIONS = 'conditions.'  # how the name of one begins
ANY = 'any'
UNKNOWN = 'unknown'  # quality of a document of which nobody has said anything
WILDCARDS = '*?['
LAST_CHARACTER = '\uffff'  # sorts behind all that names of runs have
# Fields that the rows of a selection are made of, beside those that conditions name.
FIELDS = ('_id', 'run', 'status', 'process', 'datecreated', 'size', 'md5sum', 'original_file', 'conditions')
SAID = ('condition', 'tags', 'quality')


@dataclass(frozen=True)
class Runs:
    """One run, a range of them (`ma22a000..ma22b013`, both ends included) or a pattern (`ma22a*`)."""

    first: str
    last: str
    pattern: str | None = None

    def __str__(self) -> str:
        """As people write it."""
        return self.pattern or (self.first if self.first == self.last else f'{self.first}..{self.last}')

    def has(self, run: str) -> bool:
        """Whether a run is one of them."""
        is_between = self.first <= run <= self.last
        return is_between and (self.pattern is None or fnmatch.fnmatchcase(run, self.pattern))


@dataclass(frozen=True)
class Wanted:
    """What a document must be like. Times are in seconds since the epoch; an empty or None field asks for nothing."""

    runs: tuple[Runs, ...] = ()
    step: str | None = None
    step_version: str | None = None
    status: str = documents.GOOD
    tags: tuple[str, ...] = ()
    quality: str | None = None
    condition: str | None = None
    since: float | None = None
    until: float | None = None
    where: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if self.quality is not None and self.quality not in QUALITIES:
            raise SettingsError(f'{self.quality!r} is no quality: {", ".join(QUALITIES)}')

    def matches(self, doc: Document) -> bool:
        """Whether a document is wanted."""
        run, created = doc.get('run'), documents.number(doc.get('datecreated'))
        entry = entry_that_left(doc, self.step)
        return (
            isinstance(run, str)
            and (not self.runs or any(runs.has(run) for runs in self.runs))
            and (self.status == ANY or doc.get('status') == self.status)
            and (self.step is None or entry is not None)
            and (self.step_version is None or version_of(entry) == self.step_version)
            and set(self.tags) <= set(tags_of(doc))
            and (self.quality is None or (quality_of(doc) or UNKNOWN) == self.quality)
            and (self.condition is None or doc.get('condition') == self.condition)
            and (self.since is None or (created is not None and created >= self.since))
            and (self.until is None or (created is not None and created < self.until))
            and all(condition.holds(doc) for condition in self.where)
        )

    def may_be(self, status: Any, conditions: Any) -> bool:
        """Whether a document with this status and these conditions may be wanted, by what the view `runs` says of it.

        A number for the conditions is of a design document from before it said so, and tells nothing.
        """
        if self.status not in (ANY, status):
            return False
        doc = {'conditions': conditions}
        told = [] if isinstance(conditions, int) else [part for part in self.where if part.field.startswith(CONDITIONS)]
        return all(part.holds(doc) or _may_be_rounded(field_of(doc, part.field)) for part in told)

    @property
    def selector(self) -> dict[str, Any]:
        """A Mango selector that lets all pass that `matches`, and few others."""
        parts: list[dict[str, Any]] = [{'run': {'$type': 'string'}}]
        if self.runs:
            parts.append({'$or': [{'run': {'$gte': runs.first, '$lte': runs.last}} for runs in self.runs]})
        if self.status != ANY:
            parts.append({'status': self.status})
        if self.condition is not None:
            parts.append({'condition': self.condition})
        if self.since is not None:
            parts.append({'datecreated': {'$gte': self.since}})
        if self.until is not None:
            parts.append({'datecreated': {'$lt': self.until}})
        if self.step is not None:
            parts.append({'process': {'$elemMatch': {'name': self.step}}})
        parts += [{'tags': {'$elemMatch': {'name': tag}}} for tag in self.tags]
        parts += [condition.selector for condition in self.where if condition.selector is not None]
        return {'$and': parts}

    @property
    def fields(self) -> list[str]:
        """Fields of a document that are needed."""
        return sorted({*FIELDS, *SAID, *(condition.field.partition('.')[0] for condition in self.where)})


def _may_be_rounded(value: Any) -> bool:
    """Whether a view may have rounded a number: JavaScript knows no whole ones beyond."""
    return isinstance(value, (int, float)) and abs(value) >= 2**53


def runs(text: str) -> Runs:
    """`RUN`, `FIRST..LAST` or a pattern with `*`, `?` and `[...]`. Raises SettingsError."""
    first, dots, last = text.partition('..')
    if dots and first and last:
        if first > last:
            raise SettingsError(f'{text!r}: {first} comes after {last}')
        return Runs(first, last)
    if dots or not text:
        raise SettingsError(f'{text!r} is no run, no range like ma22a000..ma22b013 and no pattern like ma22a*')
    start = next((place for place, char in enumerate(text) if char in WILDCARDS), None)
    if start is None:
        return Runs(text, text)
    return Runs(text[:start], text[:start] + LAST_CHARACTER, text)


def union(texts: Sequence[str]) -> tuple[Runs, ...]:
    """Several of what `runs` takes."""
    return tuple(runs(text) for text in texts)
