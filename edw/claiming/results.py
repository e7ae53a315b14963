"""Writing back what became of claimed documents, without ever overwriting what others wrote meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.claiming import cluster
from edw.database.bulk import UNANSWERED
from edw.database.client import Database
from edw.errors import TooDeep, Unstorable
from edw.model import documents
from edw.model.documents import Document

# Errors of rows. The first are about the version that was sent, and will be the same for it for ever. The next may be
# about it, or about what the server is told to let pass now. All others are passing: a server in trouble.
FINAL = frozenset({'too_large', 'document_too_large', 'bad_request', 'doc_validation', Unstorable.word, TooDeep.word})
DOUBTFUL = frozenset({'forbidden', 'unauthorized', UNANSWERED})

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


@dataclass(frozen=True)
class Refused:
    """The database does not take this version of the document, whatever its revision: `error` and `reason` say why."""

    error: str
    reason: str

    @property
    def is_final(self) -> bool:
        """Whether it will never take it."""
        return self.error in FINAL

    @property
    def is_doubtful(self) -> bool:
        """Whether it may never take it."""
        return self.error in DOUBTFUL


def by_row(
    database: Database, update: Update, version: Document, row: dict[str, Any], after: str | int
) -> Document | Refused | None:
    """What became of an update of the step that comes after step `after`, by the row that answered `version`.

    The document as written; None where the claim was lost, so that the result is dropped; Refused where the server
    does not accept the new version. An update that was written before, and never answered, is recognised.
    """
    if row.get('error') == 'conflict':
        return _on_newer_revision(database, update, after)
    if row.get('error'):
        return Refused(str(row['error']), f'{row["error"]}: {row.get("reason")}')
    return _accepted(database, update, {**version, '_rev': row['rev']}, row, after)


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
        # An earlier request wrote it, and only its answer was lost.
        if is_recorded(update, current) or (update.record is None and current.get('claim') is None):
            return current
        if current.get('claim') != update.doc['claim']:
            log.warning('%s is no longer claimed by this listener: the result is dropped', doc_id)
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
        return by_row(database, update, version, row, after)


def is_recorded(update: Update, doc: Document) -> bool:
    """Whether the entry that an update adds stands in `process` or `failures` of a document."""
    lists = (doc.get('process'), doc.get('failures'))
    return any(isinstance(entries, list) and update.record in entries for entries in lists)
