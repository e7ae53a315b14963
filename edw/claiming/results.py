"""Writing back what became of claimed documents, without ever overwriting what others wrote meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.claiming import cluster
from edw.database.client import Database
from edw.model import documents
from edw.model.documents import Document

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Update:
    """A change to a claimed document.

    `change` makes the new version out of the claimed one, or out of a newer revision of it. `record` is
    the entry that the change adds to `process` or `failures`, by which a change that was written, but
    never answered, is known again; None where it adds nothing.
    """

    doc: Document
    change: Callable[[Document], Document]
    record: dict[str, Any] | None = None
    is_failure: bool = False


class Refused(Exception):
    """The database will not take this version of the document, whatever its revision."""


Written = list[Document | Refused | None]


def write(database: Database, updates: list[Update], after: str | int) -> Written:
    """Write the updates of a step that comes after step `after`.

    For each one, in order: the document as written; None where the claim was lost, so that the result is
    dropped; Refused where the server does not accept the new version.
    Safe to call again after an Unavailable: what was written before is recognised.
    """
    return write_along(database, updates, after, [])[0]


def write_along(
    database: Database, updates: list[Update], after: str | int, others: list[Document]
) -> tuple[Written, list[dict[str, Any]]]:
    """The same, and in the same request other documents, whose rows are returned as they are."""
    versions = [update.change(update.doc) for update in updates]
    rows = database.bulk_docs(versions + others)
    written: Written = []
    for update, version, row in zip(updates, versions, rows[: len(versions)], strict=True):
        if row.get('error') == 'conflict':
            written.append(_on_newer_revision(database, update, after))
        elif row.get('error'):
            written.append(Refused(f'{row["error"]}: {row.get("reason")}'))
        else:
            written.append(_accepted(database, update, {**version, '_rev': row['rev']}, row, after))
    if database.copies() > 1:
        ours = updates[0].doc['claim']['worker']
        cluster.delete_lost_claims(database, [doc for doc in written if isinstance(doc, dict)], ours)
    return written, rows[len(versions) :]


def _accepted(
    database: Database, update: Update, version: Document, row: dict[str, Any], after: str | int
) -> Document | Refused | None:
    """The document as written; put on another revision where the write missed its quorum in favour of that one."""
    if row.get('accepted') and cluster.take_back(database, version, update.doc['claim']['worker']):
        return _on_newer_revision(database, update, after)
    return version


def _on_newer_revision(database: Database, update: Update, after: str | int) -> Document | Refused | None:
    """Put the change on the newest revision, if the document is still ours to change."""
    doc_id = update.doc['_id']
    while True:
        current = database.existing([doc_id]).get(doc_id)
        if current is None:
            log.warning('%s was deleted while its step ran: the result is dropped', doc_id)
            return None
        if update.record is not None and holds(current, update.record):
            return current  # an earlier try was written, and only its answer was lost
        if current.get('claim') != update.doc['claim']:
            log.warning('%s is no longer claimed by this worker: the result is dropped', doc_id)
            return None
        if documents.last_step(current) != after:
            # Somebody cut or extended `process`: a result for the old chain does not belong there.
            log.warning('%s: its process was edited while the step ran: the result is dropped', doc_id)
            version = documents.released(current)
        else:
            version = update.change(current)
        row = database.bulk_docs([version])[0]
        if row.get('error') == 'conflict':
            continue
        if row.get('error'):
            return Refused(f'{row["error"]}: {row.get("reason")}')
        return _accepted(database, update, {**version, '_rev': row['rev']}, row, after)


def holds(doc: Document, record: dict[str, Any]) -> bool:
    """Whether an entry stands in `process` or `failures` of a document."""
    lists = (doc.get('process'), doc.get('failures'))
    return any(isinstance(entries, list) and record in entries for entries in lists)
