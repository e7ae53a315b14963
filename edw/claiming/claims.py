"""Claims: a document belongs to the listener that wrote its claim on the revision that was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edw.database import views
from edw.database.client import Database
from edw.model.documents import Document


@dataclass(frozen=True)
class Claimed:
    """What became of the documents that a listener wanted; those it got have their new revision."""

    won: list[Document] = field(default_factory=list)
    disputed: list[Document] = field(default_factory=list)  # missed the quorum of a cluster
    lost: list[str] = field(default_factory=list)  # ids; somebody else has changed them
    refused: dict[str, str] = field(default_factory=dict)  # the server's reasons, by id


def by_row(wanted: list[Document], rows: list[dict[str, Any]]) -> Claimed:
    """Tell claims that were won from others, by the rows that `_bulk_docs` answered them with."""
    claimed = Claimed()
    for doc, row in zip(wanted, rows, strict=True):
        if row.get('ok'):
            (claimed.disputed if row.get('accepted') else claimed.won).append({**doc, '_rev': row['rev']})
        elif row.get('error') == 'conflict':
            claimed.lost.append(doc['_id'])
        else:
            claimed.refused[doc['_id']] = str(row.get('reason') or row.get('error') or row)
    return claimed


def held(database: Database, step: str, listener: Any) -> list[Document]:
    """The documents that a listener holds a claim on, whether it knows or not."""
    rows = views.rows(database, views.CLAIMS, key=[step, listener], reduce=False, include_docs=True)
    # A row can be older than the document that comes with it. Of one that was deleted in this moment none comes.
    docs = (row.get('doc') for row in rows)
    return [doc for doc in docs if doc and is_held(doc, listener)]


def holders(database: Database, step: str) -> list[Any]:
    """The listeners that hold claims for a step, as the claims name them."""
    # Of the index as it is: to wait until it has caught up with a burst would hold up those who work on it. It is
    # brought up to date after the answer, for the next look.
    ends = {'startkey': [step], 'endkey': [step, views.LAST]}
    rows = views.rows(database, views.CLAIMS, group=True, stale='update_after', **ends)
    return [row['key'][1] for row in rows]


def is_held(doc: Document, listener: Any) -> bool:
    """Whether the claim on a document is this listener's."""
    claim = doc.get('claim')
    return isinstance(claim, dict) and claim.get('worker') == listener
