"""Claims in a cluster, where each of the n copies of a document checks the revision by itself.

Claimers that reach different copies first can all be told `ok`. A row with `accepted` is a write that missed its
quorum (CouchDB's fabric_doc_update: an `ok` of fewer than w copies), so that of the rows without it there is at
most one for a document: that claim is won. An accepted one is disputed. It is not worked on, and not taken back at
once either: to delete the last leaf is to delete the document, and to release the visible leaf is to offer
a document that somebody works on. `decide` says when which is safe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.claiming import claims
from edw.database.client import Database
from edw.model import documents
from edw.model.documents import Document

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """Leaves to delete, and whether to release the own one."""

    delete: tuple[str, ...] = ()
    release: bool = False


FORGET, WAIT = Decision(), None


def order(revision: str) -> tuple[int, str]:
    """By this CouchDB chooses the leaf that readers see: the longest branch, then the highest hash."""
    depth, _, digest = revision.partition('-')
    return int(depth), digest


def decide(own: str, claims: dict[str, Any], is_dead: Callable[[Any], bool]) -> Decision | None:
    """What to do with the disputed claim of revision `own`; None: wait.

    `claims` has the listener of the claim for each leaf that is not deleted, None for a leaf without a claim.
    It must have been read from all copies: what one copy alone knows may be the claim that was won.
    """
    if own not in claims:
        return FORGET
    others = {revision: listener for revision, listener in claims.items() if revision != own}
    if max(claims, key=order) != own or None in others.values():
        # The document lives on in another leaf. Of several disputed claims one is visible, and that one
        # does not come here, so that the last leaf is never deleted; a leaf without a claim deletes itself never.
        return Decision(delete=(own,))
    if all(is_dead(listener) for listener in others.values()):
        return Decision(delete=tuple(others), release=True)
    # Another one may have been won: its result will make its branch the longer one.
    return WAIT


class Disputes:
    """The disputed claims of a listener, until each is decided."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revisions: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._revisions)

    def __contains__(self, doc_id: str) -> bool:
        return doc_id in self._revisions

    def add(self, docs: list[Document]) -> None:
        """Take note of claims that missed their quorum."""
        for doc in docs:
            log.info('%s is claimed by others too; waiting to see whose it is', doc['_id'])
            self._revisions[doc['_id']] = doc['_rev']

    def settle(self, is_dead: Callable[[Any], bool]) -> None:
        """Look at each one in all copies, and do what is safe now.

        `is_dead` says of a listener that its lease has ended.
        """
        for doc_id, own in list(self._revisions.items()):
            if settle(self._database, doc_id, own, is_dead):
                del self._revisions[doc_id]


def settle(database: Database, doc_id: str, own: str, is_dead: Callable[[Any], bool]) -> bool:
    """Decide about one claim, and do it. False where there is nothing to do but wait."""
    leaves = database.leaves(doc_id)
    claims = {leaf['_rev']: _claimer(leaf) for leaf in leaves}
    decision = decide(own, claims, is_dead)
    if decision is WAIT:
        return False
    if decision.delete:
        delete_leaves(database, doc_id, decision.delete)
    if decision.release:
        (leaf,) = [leaf for leaf in leaves if leaf['_rev'] == own]
        database.bulk_docs([documents.released(leaf)])
    return True


def delete_leaves(database: Database, doc_id: str, revisions: tuple[str, ...] | list[str]) -> None:
    """Delete leaves of a document that has others. A conflict is somebody who did the same."""
    database.bulk_docs([{'_id': doc_id, '_rev': revision, '_deleted': True} for revision in revisions])


def delete_lost_claims(database: Database, docs: list[Document], listener: Any) -> None:
    """Delete the leaves of claims that others lost, in documents whose results this listener has written now."""
    for doc_id, revisions in database.conflicts([doc['_id'] for doc in docs]).items():
        leaves = database.leaves(doc_id)
        # One with a claim of this listener is an edit, which somebody made while the step ran.
        lost = [leaf['_rev'] for leaf in leaves if leaf['_rev'] in revisions and _claimer(leaf) not in (None, listener)]
        if lost:
            delete_leaves(database, doc_id, lost)


def release_all(database: Database, step: str, listener: Any, is_dead: Callable[[Any], bool]) -> int:
    """Release the claims of a listener that is gone; returns how many. A conflict is somebody else's release."""
    held = claims.held(database, step, listener)
    if database.copies() > 1:
        return sum(settle(database, doc['_id'], doc['_rev'], is_dead) for doc in held)
    docs = [documents.released(doc) for doc in held]
    return sum(bool(row.get('ok')) for row in database.bulk_docs(docs)) if docs else 0


def take_back(database: Database, written: Document, listener: Any) -> bool:
    """Take back a result that missed its quorum, if an edit or a release of the same moment is what counts.

    An edit still has the claim of this listener, a release has none. False where there is neither: then the result
    stands, and spreads to the other copies by itself.
    """
    others = [leaf for leaf in database.leaves(written['_id']) if leaf['_rev'] != written['_rev']]
    if all(_claimer(leaf) not in (None, listener) for leaf in others):
        return False
    delete_leaves(database, written['_id'], [written['_rev']])
    return True


def _claimer(leaf: Document) -> Any:
    claim = leaf.get('claim')
    if claim is None:
        return None
    return claim.get('worker', '') if isinstance(claim, dict) else ''
