"""A listener's side of claiming: its name, its heartbeat, its claims won and disputed, and its one verb, `exchange`."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from edw.claiming import claims, cluster, job, results
from edw.claiming.heartbeat import Heartbeat
from edw.claiming.peers import Peers
from edw.claiming.results import Refused, Update
from edw.database.client import Database
from edw.errors import EdwError
from edw.model import documents
from edw.model.documents import Document

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exchanged:
    """What became of an exchange.

    `written` has for each update, in order: the document as written; None where the claim was lost, so that the result
    is dropped; Refused where the server does not accept the new version. `won` are documents that are claimed now,
    `lost` ids of those that somebody else has claimed or changed, `refused` has reasons why others cannot be claimed.
    """

    written: list[Document | Refused | None] = field(default_factory=list)
    won: list[Document] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Claimant:
    """Claims documents of one step for one listener, writes their results, and checks its peers."""

    def __init__(self, database: Database, step: str, after: str | int, heartbeat: Heartbeat) -> None:
        """The step `step` comes after step `after`; the claims are in the name of the listener of the heartbeat."""
        self.name = heartbeat.listener
        self._database = database
        self._step = step
        self._after = after
        self._heartbeat = heartbeat
        self._disputes = cluster.Disputes(database)
        self._peers = Peers(database, step, self.name, self._disputes)
        self._unanswered: set[str] = set()  # ids of documents whose claim was sent, and never answered
        self._has_claimed = False  # since the last time that it was asked what is left over

    def start(self) -> None:
        """Get ready for claims that are to come."""
        self._heartbeat.start()

    @property
    def peers_due(self) -> float:
        """Monotonic time of the next check of the peers."""
        return self._peers.due

    def exchange(self, updates: list[Update], wanted: list[Document], known: set[str]) -> Exchanged:
        """Write results and claim what comes next, in one request; either list may be empty.

        `known` has the ids of the documents that the listener holds. Raises Unavailable, also after some of it was
        written; then it is to be called again with the same arguments. What was written before, and never answered, is
        recognised: results by their record, claims by the listener's name.
        """
        if wanted:
            # The heartbeat process first: were this one killed behind its claim, nobody else would release it at once.
            self._heartbeat.tell(holds_claims=True)
            self._has_claimed = True
        found = self._claimed_without_answer(known) if self._unanswered else []
        not_tried = self._not_to_be_tried(wanted, found)
        self._unanswered |= {doc['_id'] for doc in wanted}
        wanted = [doc for doc in wanted if doc['_id'] not in not_tried]
        versions = [update.change(update.doc) for update in updates]
        claimed_versions = [documents.claimed(doc, self._step, self.name, time.time(), job.current()) for doc in wanted]
        rows = self._database.bulk_docs(versions + claimed_versions) if versions or wanted else []
        written = [
            results.by_row(self._database, update, version, row, self._after)
            for update, version, row in zip(updates, versions, rows[: len(versions)], strict=True)
        ]
        claimed = claims.by_row(claimed_versions, rows[len(versions) :])
        if updates and self._database.copies() > 1:
            pairs = zip(updates, written, strict=True)
            ours = [(update.doc, doc) for update, doc in pairs if isinstance(doc, dict)]
            cluster.delete_lost_claims(self._database, ours, self.name)
        self._unanswered = set()  # only now, because an Unavailable of any request so far has all of it called again
        self._disputes.add(claimed.disputed, are_claims=True)
        not_now = dict.fromkeys(not_tried - {doc['_id'] for doc in found}, 'an earlier claim was never answered')
        return Exchanged(written, found + claimed.won, claimed.lost, claimed.refused | not_now)

    def held(self) -> set[str] | None:
        """Ids of the documents that hold a claim of this listener; None in a cluster, where no single answer tells."""
        if self._database.copies() > 1:
            return None
        return {doc['_id'] for doc in claims.held(self._database, self._step, self.name)}

    def left_over(self, known: set[str]) -> list[Document]:
        """Documents that hold a claim of this listener, but are in none of its books: its answer came too late.

        Without a request where nothing was claimed since the last call.
        """
        if not self._has_claimed:
            return []
        found = self._ours(claims.held(self._database, self._step, self.name), known)
        self._has_claimed = False
        return found

    def tell(self, holds_claims: bool) -> None:
        """Say whether there is anything to write heartbeats for."""
        self._heartbeat.tell(holds_claims or len(self._disputes) > 0)

    def check_peers(self, holds_claims: bool) -> int:
        """Look after the own heartbeat process, the peers, and disputed claims.

        Returns how many claims of dead peers were released.
        """
        self.tell(holds_claims)  # and start it again, had it died
        return self._peers.check()

    def end(self, holds_claims: bool) -> None:
        """Settle what disputes can be settled now, and end the heartbeat, which releases what is still claimed.

        A dispute that has to wait is settled by others, to whom this listener is dead after its lease.
        """
        try:
            self._disputes.settle(lambda listener: False)
        except EdwError as error:
            log.warning('%d disputed claims are left to the lease: %s', len(self._disputes), error)
        self._heartbeat.end(holds_claims or bool(self._unanswered))

    def _claimed_without_answer(self, known: set[str]) -> list[Document]:
        present = self._database.existing(self._unanswered)
        return self._ours([doc for doc in present.values() if claims.is_held(doc, self.name)], known)

    def _not_to_be_tried(self, wanted: list[Document], found: list[Document]) -> set[str]:
        """Ids of wanted documents that are found to be claimed already, or that may be."""
        if self._unanswered and self._database.copies() > 1:
            # A copy that was not read may hold an earlier claim of ours, and a second one would be in conflict with it.
            return {doc['_id'] for doc in wanted}
        return {doc['_id'] for doc in found}

    def _ours(self, docs: list[Document], known: set[str]) -> list[Document]:
        docs = [doc for doc in docs if doc['_id'] not in known and doc['_id'] not in self._disputes]
        if self._database.copies() == 1:
            return docs
        self._disputes.add(docs, are_claims=False)  # nobody said that they were won
        return []
