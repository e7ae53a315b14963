"""Which originals may be deleted, as far as their documents tell, and how many of them need to be. Pure.

Whether a file is really there, and whole, `deleting` finds out at the moment of its deletion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edw.keeping.copies import copies_of, md5_of_field
from edw.model import documents
from edw.model.documents import GOOD, Document

DAY = 86400.0  # seconds


@dataclass(frozen=True)
class Terms:
    """What a document must be like: step `after` was done on it, it was made before `before` (seconds since the epoch),
    and there are `copies` verified copies of its original."""

    after: str
    before: float
    copies: int


@dataclass(frozen=True)
class Candidate:
    """An original that may be deleted, if its copies are whole: the document in the revision that was looked at."""

    doc_id: str
    revision: str
    run: str
    file: str
    size: int
    created: float


def why_kept(doc: Document, terms: Terms) -> str | None:
    """Why the original of a document is to be kept, in words that are the same for all such; None where it may go."""
    if doc.get('status') != GOOD:
        return 'failed, or not good'  # its original may be what somebody needs to find out why
    if doc.get('claim') is not None:
        return 'a listener is at it'
    if doc.get('hold'):
        return 'on hold'
    process = doc.get('process')
    entries = process if isinstance(process, list) else []
    if not any(isinstance(entry, dict) and entry.get('name') == terms.after for entry in entries):
        return f'{terms.after} was not done on it'
    created = documents.number(doc.get('datecreated'))
    if created is None or created >= terms.before:
        return 'too young' if created is not None else 'nobody says how old it is'
    if md5_of_field(doc.get('md5sum')) is None:
        return 'it has no md5, so that no copy can be verified'
    if len(copies_of(doc)) < terms.copies:
        return f'fewer copies than {terms.copies}'
    return None


def oldest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """In the order in which they are deleted."""
    return sorted(candidates, key=lambda candidate: (candidate.created, candidate.doc_id))


def needed(candidates: list[Candidate], lacking: float) -> list[Candidate]:
    """As many of the first as free `lacking` bytes."""
    chosen = []
    for candidate in candidates:
        if lacking <= 0:
            break
        chosen.append(candidate)
        lacking -= candidate.size
    return chosen
