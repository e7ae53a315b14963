"""Claims in a cluster, where each of the n copies of a document checks the revision by itself.

Claimers that reach different copies first can all be told `ok`. A row with `accepted` is a write that missed its
quorum (CouchDB's fabric_doc_update: an `ok` of fewer than w copies), so that of the rows without it there is at
most one for a document: that claim is won. An accepted one is disputed. It is not worked on, and not taken back at
once either: to delete the last leaf is to delete the document, and to release the visible leaf is to offer
a document that somebody works on. `decide` says when which is safe.

A leaf may also have come by replication from another site, with results of its own. Only *bare* leaves are deleted:
those that have nothing which a leaf that stays does not have in its history, but for the claim. Whatever cannot be
shown to be bare stays, as a conflict for people to decide (`show_status.py --conflicts`).

What a leaf was made of cannot be relied upon to be read: CouchDB compacts a busy database by itself (smoosh), in
the middle of a burst, and then only leaves have bodies. A claim that this listener has made needs no such reading.
"""

from __future__ import annotations

import json
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


def decide(
    own: str,
    claims: dict[str, Any],
    adds_a_claim_alone: Callable[[str, str], bool],
    is_dead: Callable[[Any], bool],
) -> Decision | None:
    """What to do with the disputed claim of revision `own`; None: wait.

    `claims` has the listener of the claim for each leaf that is not deleted, None for a leaf without a claim.
    It must have been read from all copies: what one copy alone knows may be the claim that was won.
    `adds_a_claim_alone` says of a leaf, and one that stays, that all but the claim of the first is in the other's
    history.
    """
    if own not in claims:
        return FORGET
    others = {revision: listener for revision, listener in claims.items() if revision != own}
    visible = max(claims, key=order)
    # A leaf without a claim is deleted by nobody. Where there is none, the visible one is deleted by nobody.
    staying = [revision for revision, listener in others.items() if listener is None] or [visible]

    def is_bare(revision: str) -> bool:
        return any(adds_a_claim_alone(revision, other) for other in staying if other != revision)

    if is_bare(own):
        return Decision(delete=(own,))  # the document lives on in another leaf
    if own != visible and claims[visible] is None:
        # A release would make this branch the longer one, and offer a document again that may have its result.
        return FORGET
    # It is the one that is seen, or holds more than a claim, as one does that was made on a version of another site.
    if all(listener is None or is_dead(listener) for listener in others.values()):
        claimed = (revision for revision, listener in others.items() if listener is not None)
        return Decision(delete=tuple(filter(is_bare, claimed)), release=True)
    # Another one may have been won: its result will make its branch the longer one.
    return WAIT


class Disputes:
    """The disputed claims of a listener, until each is decided."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claims: dict[str, tuple[str, bool]] = {}  # revision, and whether it is known to be the claim itself

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, doc_id: str) -> bool:
        return doc_id in self._claims

    def add(self, docs: list[Document], are_claims: bool) -> None:
        """Take note of claims that missed their quorum.

        `are_claims`: the revisions are those that the claims were answered with. Others may be edits of a claim.
        """
        for doc in docs:
            log.info('%s is claimed by others too; waiting to see whose it is', doc['_id'])
            self._claims[doc['_id']] = doc['_rev'], are_claims

    def settle(self, is_dead: Callable[[Any], bool]) -> None:
        """Look at each one in all copies, and do what is safe now.

        `is_dead` says of a listener that its lease has ended.
        """
        for doc_id, (own, is_claim) in list(self._claims.items()):
            if settle(self._database, doc_id, own, is_dead, is_claim):
                del self._claims[doc_id]


def settle(database: Database, doc_id: str, own: str, is_dead: Callable[[Any], bool], is_claim: bool = False) -> bool:
    """Decide about one claim, and do it. False where there is nothing to do but wait.

    `is_claim`: the revision `own` is known to add a claim, and nothing else, to the one before it.
    """
    leaves = {leaf['_rev']: leaf for leaf in database.leaves(doc_id)}
    claims = {revision: _claimer(leaf) for revision, leaf in leaves.items()}

    def adds_a_claim_alone(revision: str, other: str) -> bool:
        leaf, kept = leaves[revision], leaves[other]
        if is_claim and revision == own and _is_made_of_one_of(leaf, kept):
            return True
        return _adds_a_claim_alone(database, leaf, kept)

    decision = decide(own, claims, adds_a_claim_alone, is_dead)
    if decision is WAIT:
        return False
    if decision.delete:
        delete_leaves(database, doc_id, decision.delete)
    if decision.release:
        database.bulk_docs([documents.released(_without_history(leaves[own]))])
    return True


def delete_leaves(database: Database, doc_id: str, revisions: tuple[str, ...] | list[str]) -> None:
    """Delete leaves of a document that has others. A conflict is somebody who did the same."""
    database.bulk_docs([{'_id': doc_id, '_rev': revision, '_deleted': True} for revision in revisions])


def delete_lost_claims(database: Database, written: list[tuple[Document, Document]], listener: Any) -> None:
    """Delete the leaves of claims that others lost, in documents whose results this listener has written now.

    `written` has each document as it was claimed, and as it is now.
    """
    by_id = {now['_id']: (claimed, now) for claimed, now in written}
    for doc_id, hidden in database.conflicts(by_id).items():
        claimed, now = by_id[doc_id]
        leaves = database.leaves(doc_id)
        # Or what somebody has made of it since.
        ours = [leaf for leaf in leaves if now['_rev'] in _history(leaf)]
        # One with a claim of this listener is an edit, which somebody made while the step ran.
        claims = [leaf for leaf in leaves if leaf['_rev'] in hidden and _claimer(leaf) not in (None, listener)]
        lost = [
            leaf['_rev']
            for leaf in claims
            for kept in ours[:1]
            if _content(leaf) == _content(claimed) or _adds_a_claim_alone(database, leaf, kept)
        ]
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
    leaves = {leaf['_rev']: leaf for leaf in database.leaves(written['_id'])}
    claim = _history(leaves.pop(written['_rev'], {}))[1:2]
    # Made of the claim, as the result is: one that came from another site knows nothing of what was done here.
    siblings = [leaf for leaf in leaves.values() if set(claim) & set(_history(leaf))]
    if all(_claimer(leaf) not in (None, listener) for leaf in siblings):
        return False
    delete_leaves(database, written['_id'], [written['_rev']])
    return True


def _adds_a_claim_alone(database: Database, leaf: Document, kept: Document) -> bool:
    """Whether a leaf is another one, or what both were made of, but for the claim: then nothing is lost with it.

    False where compaction has thrown away what both were made of.
    """
    if _content(leaf) == _content(kept):
        return True
    known = set(_history(kept))
    common = next((revision for revision in _history(leaf) if revision in known), None)
    origin = None if common is None else database.revision(leaf['_id'], common)
    return origin is not None and _content(leaf) == _content(origin)


def _is_made_of_one_of(leaf: Document, kept: Document) -> bool:
    """Whether the revision before a leaf is in the history of another one."""
    return not set(_history(leaf)[1:2]).isdisjoint(_history(kept))


def _content(doc: Document) -> str:
    """All of a document but its claim and revision. As JSON, because to Python 1 and True are equal."""
    return json.dumps(documents.released({**_without_history(doc), '_rev': None}), sort_keys=True)


def _history(leaf: Document) -> list[str]:
    """The revision of a leaf and those it was made of, the newest first."""
    history = leaf.get('_revisions', {'start': 0, 'ids': []})
    return [f'{history["start"] - age}-{digest}' for age, digest in enumerate(history['ids'])]


def _without_history(leaf: Document) -> Document:
    return {field: value for field, value in leaf.items() if field != '_revisions'}


def _claimer(leaf: Document) -> Any:
    claim = leaf.get('claim')
    if claim is None:
        return None
    return claim.get('worker', '') if isinstance(claim, dict) else ''
