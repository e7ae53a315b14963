"""Requeuing documents: failed ones as they are, others cut back so that steps are done again.

What a step recorded is never thrown away: failures stay as they are, and entries that are cut from `process` go to
the list `superseded` of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edw.database.client import Database, batches
from edw.model import documents
from edw.model.documents import ACQUIRING, GOOD, Document

BATCH = 500  # documents in one request

Change = Callable[[Document], Document]


def is_failed(doc: Document) -> bool:
    """Whether a step failed on a document for good, by its status.

    The map function of the view `failed` says the same in JavaScript.
    """
    return documents.is_failed_status(doc.get('status'))


def requeued(doc: Document) -> Document:
    """The document with the status good, if it failed: the step that failed is done again."""
    return {**doc, 'status': GOOD} if is_failed(doc) else doc


def cut_before(doc: Document, step: str, now: float, hostname: str) -> Document:
    """The document, requeued, and `cut_back`: that step and all behind it are done again.

    A document whose `process` is no list is returned as it is.
    """
    if not isinstance(doc.get('process'), list):
        return doc
    return documents.cut_back(requeued(doc), step, now, hostname)


@dataclass
class Outcome:
    """What became of documents; ids, in `refused` with the reason."""

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)  # they were as wanted already
    claimed: list[str] = field(default_factory=list)  # left alone, because a listener is at them
    conflicts: list[str] = field(default_factory=list)  # left alone, because somebody else changed them meanwhile
    refused: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether all are as wanted now."""
        return not (self.claimed or self.conflicts or self.refused)


def wanted(doc: Document, change: Change, force: bool, left: Outcome) -> Document | None:
    """The version of a document that is to be written. None where there is none: then `left` says why.

    With `force` a claim is removed: the result of the listener that holds it will be refused.
    """
    reason = _hindrance(doc)
    if reason is not None:
        left.refused.append(f'{doc["_id"]}: {reason}')
        return None
    is_claimed = doc.get('claim') is not None
    if is_claimed and not force:
        left.claimed.append(doc['_id'])
        return None
    version = change(documents.released(doc) if is_claimed else doc)
    if version == doc:
        left.unchanged.append(doc['_id'])
        return None
    return version


def requeue(
    database: Database,
    docs: Iterable[Document],
    change: Change,
    force: bool = False,
    on_batch: Callable[[int], object] | None = None,
) -> Outcome:
    """Change documents, BATCH a request, on the revisions that are given; `on_batch` is told how many were seen.

    `change` is `requeued`, or makes use of `cut_before`. Raises Unavailable where the server did not answer; then
    some of the last batch may have been written.
    """
    result = Outcome()
    for batch in batches(docs, BATCH):
        versions = [version for doc in batch if (version := wanted(doc, change, force, result)) is not None]
        rows = database.bulk_docs(versions) if versions else []
        for version, row in zip(versions, rows, strict=True):
            # A row with `accepted` missed the quorum of a cluster. It was written, and spreads by itself.
            if not row.get('error'):
                result.done.append(version['_id'])
            elif row['error'] == 'conflict':
                result.conflicts.append(version['_id'])
            else:
                result.refused.append(f'{version["_id"]}: {row.get("reason") or row["error"]}')
        if on_batch is not None:
            on_batch(len(batch))
    return result


def difference(before: Document, after: Document) -> str:
    """What is changed in a document, in words."""
    words = []
    if before.get('status') != after.get('status'):
        words.append(f'status {before["status"]!r} becomes {after["status"]!r}')
    cut = before['process'][len(after['process']) :]
    if cut:
        names = [str(entry.get('name')) if isinstance(entry, dict) else '?' for entry in cut]
        words.append(f'{", ".join(names)} cut from process')
    if 'claim' in before and 'claim' not in after:
        claim = before['claim']
        words.append(f'the claim of {claim.get("worker") if isinstance(claim, dict) else claim} removed')
    return '; '.join(words)


def _hindrance(doc: Document) -> str | None:
    """Why a document cannot be requeued, claimed or not; None where it can."""
    if doc['_id'].startswith('_design/'):
        return 'is a design document'
    if not isinstance(doc.get('status'), str):
        return 'its status is missing or no text; correct the document by hand'
    if doc['status'] == ACQUIRING:
        return 'its file is still being written (status acquiring)'
    if not isinstance(doc.get('process'), list):
        return 'its process is missing or no list; correct the document by hand'
    return None
