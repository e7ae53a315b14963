"""A row of a selection: a file, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edw.model import documents
from edw.model.documents import Document, entry_that_left
from edw.operating.annotations import quality_of, tags_of
from edw.selecting.wanted import UNKNOWN


@dataclass(frozen=True)
class Row:
    """The file that a step left of a document, or the original where no step has left one. Times since the epoch."""

    id: str
    run: str
    path: str | None
    md5sum: str | None
    step: str | None
    status: Any
    time: float | None  # of the original
    done: float | None  # when the step was done
    condition: Any
    conditions: Any
    quality: str
    tags: tuple[str, ...]
    software: Any


def row_of(doc: Document, step: str | None) -> Row:
    """The row of a document: of the last file that it names, or of the last one of a step."""
    entry = entry_that_left(doc, step) or {'file': doc.get('original_file'), 'md5sum': doc.get('md5sum')}
    return Row(
        id=doc['_id'],
        run=doc['run'],
        path=_text(entry.get('file')),
        md5sum=_text(entry.get('md5sum')),
        step=_text(entry.get('name')),
        status=doc.get('status'),
        time=documents.number(doc.get('datecreated')),
        done=documents.number(entry.get('finished')),
        condition=doc.get('condition'),
        conditions=doc.get('conditions'),
        quality=quality_of(doc) or UNKNOWN,
        tags=tuple(tags_of(doc)),
        software=entry.get('software'),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
