"""Which software made the entry of a step, and whether that is older than another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edw.errors import SettingsError
from edw.model.documents import Document, number

COMMIT = re.compile(r'[0-9a-f]{4,40}\+?')

VersionKey = tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Made:
    """What is asked of an entry of `step`; None asks for nothing.

    `version_below`: the step's own version is older, or the entry has none. `commit`: it was made by this one, given as
    a hash of at least four digits; with `+` only where files were changed. `before`: it was finished before, in seconds
    since the epoch, or has no time.
    """

    step: str
    version_below: str | None = None
    commit: str | None = None
    before: float | None = None

    def __post_init__(self) -> None:
        if self.version_below == '':
            raise SettingsError('a version must not be empty')
        if self.commit is not None and not COMMIT.fullmatch(self.commit):
            raise SettingsError(f'{self.commit!r} is no commit like 5b0f5b6 or 5b0f5b6+')

    def is_by(self, version: Any, commit: Any) -> bool:
        """Whether an entry with this version and this commit is one; either may be missing."""
        below = self.version_below
        if below is not None and isinstance(version, str) and version_key(version) >= version_key(below):
            return False
        if self.commit is None:
            return True
        if not isinstance(commit, str) or (self.commit.endswith('+') and not commit.endswith('+')):
            return False
        # Either may be the shorter one: how long a short hash is depends on how many commits there are.
        asked, found = self.commit.rstrip('+'), commit.rstrip('+')
        return bool(found) and (found.startswith(asked) or asked.startswith(found))

    def misses(self, doc: Document) -> str | None:
        """Why a document has no such entry; None where it has one."""
        process = doc.get('process')
        entries = [entry for entry in process if isinstance(entry, dict)] if isinstance(process, list) else []
        entries = [entry for entry in entries if entry.get('name') == self.step]
        if not entries:
            return f'has no entry of {self.step}'
        if any(self._has(entry) for entry in entries):
            return None
        return f'has an entry of {self.step} by {made_by(entries[-1])}'

    def _has(self, entry: dict[str, Any]) -> bool:
        finished = number(entry.get('finished'))
        is_before = self.before is None or finished is None or finished < self.before
        return is_before and self.is_by(version_of(entry), commit_of(entry))


def version_of(entry: dict[str, Any] | None) -> str | None:
    """The step's own version that an entry names."""
    return _software(entry, 'step')


def commit_of(entry: dict[str, Any] | None) -> str | None:
    """The commit of the suite that an entry names."""
    return _software(entry, 'commit')


def made_by(entry: dict[str, Any] | None) -> str:
    """Both in words: `version 2 (5b0f5b6+)`, `no version`."""
    version, commit = version_of(entry), commit_of(entry)
    return (f'version {version}' if version else 'no version') + (f' ({commit})' if commit else '')


def version_key(version: str) -> VersionKey:
    """What versions are compared by: their parts between dots, as numbers where they are numbers, else as text.

    1.9 is older than 1.10, 2 is the same as 2.0 and older than 2.0.1, and numbers are older than text.
    """
    parts = _parts(version)
    while len(parts) > 1 and parts[-1] == (0, 0, ''):
        parts.pop()
    return tuple(parts)


def can_be_compared(version: str, others: Iterable[str]) -> bool:
    """Whether a version is like others: False where it has a text, as `v3` is one, in whose place all have numbers."""
    there = [_parts(other) for other in others]
    for place, (is_text, _, _) in enumerate(_parts(version)):
        beside = [parts[place] for parts in there if place < len(parts)]
        if is_text and beside and not any(is_text for is_text, _, _ in beside):
            return False
    return True


def _parts(version: str) -> list[tuple[int, int, str]]:
    # No number of thousands of digits, which Python refuses to read.
    return [
        (0, int(part), '') if part.isascii() and part.isdecimal() and len(part) < 1000 else (1, 0, part)
        for part in version.split('.')
    ]


def _software(entry: dict[str, Any] | None, field: str) -> str | None:
    software = (entry or {}).get('software')
    value = software.get(field) if isinstance(software, dict) else None
    return value if isinstance(value, str) else None
