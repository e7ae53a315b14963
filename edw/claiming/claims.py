"""Taking documents: a claim is won by writing it on the revision that was read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.database import views
from edw.database.client import Database
from edw.model import documents
from edw.model.documents import Document

log = logging.getLogger(__name__)

BulkDocs = Callable[[list[Document]], list[dict[str, Any]]]  # Database.bulk_docs, or what writes others with them


@dataclass(frozen=True)
class Claimed:
    """What became of the documents that a worker wanted; what is in none of the lists belongs to somebody else."""

    won: list[Document]
    disputed: list[Document]  # missed the quorum of a cluster
    refused: list[str]  # ids; for another reason than a conflict


def claim(
    database: Database, docs: list[Document], process: str, worker: str, bulk_docs: BulkDocs | None = None
) -> Claimed:
    """Claim documents for a step. Those that were won or are disputed have their new revision.

    Raises Unavailable where the server did not answer; then some of the claims may have been written, which
    `held` tells.
    """
    wanted = [documents.claimed(doc, process, worker) for doc in docs]
    claimed = Claimed([], [], [])
    for doc, row in zip(wanted, (bulk_docs or database.bulk_docs)(wanted), strict=True):
        if row.get('ok'):
            (claimed.disputed if row.get('accepted') else claimed.won).append({**doc, '_rev': row['rev']})
        elif row.get('error') != 'conflict':
            log.warning('%s cannot be claimed: %s', doc['_id'], row.get('reason') or row.get('error') or row)
            claimed.refused.append(doc['_id'])
    return claimed


def held(database: Database, process: str, worker: Any) -> list[Document]:
    """The documents that a worker holds a claim on, whether it knows or not."""
    rows = views.rows(database, views.CLAIMS, key=[process, worker], reduce=False, include_docs=True)
    # A row can be older than the document that comes with it.
    return [row['doc'] for row in rows if row['doc'] and is_held(row['doc'], worker)]


def holders(database: Database, process: str) -> list[Any]:
    """The workers that hold claims for a step, as the claims name them."""
    # Of the index as it is: to wait until it has caught up with a burst would hold up those who work on it. It is
    # brought up to date after the answer, for the next look.
    ends = {'startkey': [process], 'endkey': [process, views.LAST]}
    rows = views.rows(database, views.CLAIMS, group=True, stale='update_after', **ends)
    return [row['key'][1] for row in rows]


def is_held(doc: Document, worker: Any) -> bool:
    """Whether the claim on a document is this worker's."""
    holder = doc.get('claim')
    return isinstance(holder, dict) and holder.get('worker') == worker
