"""A worker's side of claiming: its name, its signs of life, its claims won and disputed."""

from __future__ import annotations

import hashlib
import logging

from edw.claiming import claims
from edw.claiming.heartbeat import Heartbeat
from edw.claiming.peers import Watch
from edw.database.client import Database
from edw.errors import EdwError
from edw.listening.metrics import Metrics
from edw.model import listeners
from edw.model.documents import Document

log = logging.getLogger(__name__)


class Claimant:
    """Claims documents of one step for one worker, and keeps the watch over the others."""

    def __init__(self, database: Database, process: str, metrics: Metrics) -> None:
        self.worker = listeners.new_name()
        self.contended = False  # somebody else claimed some of what was wanted, the last time
        self.outrun = False  # somebody else claimed most of it
        self.set_aside: set[str] = set()  # cannot be claimed, and not because of a conflict
        self._database = database
        self._process = process
        self._metrics = metrics
        self._heartbeat = Heartbeat(database.settings, process, self.worker)
        self._watch = Watch(database, process, self.worker, metrics)
        self._unanswered = False
        self._tried = True  # to claim anything since the last look for what is left over; nobody has looked yet

    def start(self) -> None:
        """Get ready for claims that are to come."""
        self._heartbeat.start()

    @property
    def watch_due(self) -> float:
        """Monotonic time of the next look at other workers."""
        return self._watch.due

    def is_contended(self) -> bool:
        """Whether to take documents in an order of one's own, rather than the first ones like everybody else.

        In a cluster always: a contended claim there is often won by nobody, and costs a heartbeat's time.
        """
        return self.contended or self._database.copies() > 1

    def in_own_order(self, docs: list[Document]) -> list[Document]:
        """The documents in an order that no other worker has (rendezvous hashing)."""
        return sorted(docs, key=lambda doc: hashlib.blake2b(f'{self.worker} {doc["_id"]}'.encode()).digest())

    def claim(self, docs: list[Document], known: set[str], bulk_docs: claims.BulkDocs | None = None) -> list[Document]:
        """Claim documents; returns those that were won. `known` has the ids of those that the worker holds.

        To be called again after an Unavailable: the claims may have been written all the same, and then nobody
        else will take those documents.
        """
        found: list[Document] = []
        self.outrun = False
        if self._unanswered:
            found = self.unknown(known)
            self._unanswered = False
            if self._database.copies() > 1:
                return found
            # Of the others, no change will tell that they are free, because they were before.
            held = {doc['_id'] for doc in found}
            docs = [doc for doc in docs if doc['_id'] not in held]
        self._heartbeat.tell(holds_claims=True)
        self._unanswered = self._tried = True
        claimed = claims.claim(self._database, docs, self._process, self.worker, bulk_docs)
        self._unanswered = False
        self._metrics.took(claimed.won)
        lost = 0 if found else len(docs) - len(claimed.won)
        self.contended = lost > 0
        self.outrun = 2 * lost > len(docs)
        self.set_aside.update(claimed.refused)
        self._watch.disputes.add(claimed.disputed)
        return found + claimed.won

    def left_over(self, known: set[str]) -> list[Document]:
        """The same as `unknown`, without a request where nothing was claimed since the last call."""
        tried, self._tried = self._tried, False
        return self.unknown(known) if tried else []

    def unknown(self, known: set[str]) -> list[Document]:
        """Documents that hold a claim of this worker whose answer never arrived, and that are the worker's."""
        held = claims.held(self._database, self._process, self.worker)
        docs = [doc for doc in held if doc['_id'] not in known and doc['_id'] not in self._watch.disputes]
        if self._database.copies() == 1:
            return docs
        self._watch.disputes.add(docs)  # nobody said that they were won
        return []

    def tell(self, holds_claims: bool) -> None:
        """Say whether there is anything to show signs of life for."""
        self._heartbeat.tell(holds_claims or len(self._watch.disputes) > 0)

    def watch(self, holds_claims: bool) -> None:
        """Look after the own heartbeat process, the other workers, and disputed claims."""
        self.tell(holds_claims)  # and start it again, had it died
        self._watch.look()

    def end(self, holds_claims: bool) -> None:
        """Settle what disputes can be settled now, and end the heartbeat, which gives back what is still claimed.

        A dispute that has to wait is settled by others, to whom this worker is dead after its lease.
        """
        try:
            self._watch.disputes.look(lambda worker: False)
        except EdwError as error:
            log.warning('%d disputed claims are left to the lease: %s', len(self._watch.disputes), error)
        self._heartbeat.end(holds_claims or self._unanswered)
