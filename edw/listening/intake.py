"""Taking the documents that wait for a step: those that the view tells of, and those that come with the feed.

The view is asked at the start and whenever something is in doubt. Its answer names the sequence that it reflects, from
which the feed goes on, so that nothing falls between the two.

Where several listeners follow one step, each reads the same feed. While callbacks take time, they share the
documents. Where callbacks are faster than claims, sharing only costs the server: then the listener that lost a claim
stands by. It looks at a single document, and claims that only if nobody else has taken it within a few seconds.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from edw.claiming import claims
from edw.claiming.claimant import Claimant
from edw.config import Settings
from edw.database.client import Database
from edw.database.retry import JITTER
from edw.listening.feed import Feed, Page
from edw.listening.in_flight import InFlight
from edw.listening.steps import Step
from edw.logs import short_sequence
from edw.model import documents
from edw.model.documents import Document

CONTENDED_PAGE = 4  # times as many documents are read as are claimed, where others claim the same ones
MANY = 10  # documents whose claiming takes longer than asking the feed
LOST_PAUSE = 0.1  # seconds, at most, after a claim most of which was lost
STANDBY = 4.0  # seconds that a listener with fast callbacks leaves a document to others, at most

Insist = Callable[[Callable[[], Any]], Any]  # the answer of a request, waited for as long as it takes

log = logging.getLogger(__name__)


class Intake:
    """What waits for one step, on its way to the workers. Belongs to one thread."""

    def __init__(
        self,
        database: Database,
        step: Step,
        settings: Settings,
        claimant: Claimant,
        in_flight: InFlight,
        insist: Insist,
        *,
        may_stand_by: bool,
    ) -> None:
        self.look_due = True  # whether the view has to be asked
        self._database = database
        self._after = step.after
        self._viewname = settings.viewname
        self._claimant = claimant
        self._in_flight = in_flight
        self._insist = insist
        self._may_stand_by = may_stand_by
        self._stands_by = False
        self._next_claim = -math.inf  # monotonic time before which claims would meet the same worker again
        self._feed: Feed | None = None
        self._feed_is_asked = False
        self._limit = 1  # of the page that was asked for last
        self._page_was_full = False
        self._since: str | int | None = None  # sequence up to which all that waited has been seen
        self._caught: list[Document] = []  # came with the feed, and nobody has tried to claim them yet
        self._closed = False

    def follow(self, feed: Feed) -> None:
        """Take from this feed, which reports to `catch`."""
        self._feed = feed

    def close(self) -> None:
        """Take nothing any more."""
        self._closed = True

    def end(self) -> None:
        """End the feed."""
        if self._feed:
            self._feed.end()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known to wait."""
        return not self.look_due and not self._caught

    @property
    def can_take(self) -> bool:
        """Whether there is something to take, and room for it."""
        return not (self.is_empty or self._closed) and self._is_out_of_step() and self._in_flight.room() > 0

    @property
    def next_due(self) -> float:
        """Monotonic time at which a pause after lost claims ends; infinity where there is none."""
        return math.inf if self._is_out_of_step() else self._next_claim

    def take(self) -> None:
        """Claim documents, from the view where it has to be asked, and give them to the workers."""
        if self.look_due:
            self._look()
        else:
            self._in_flight.submit(self.claim(self._next_caught(self._in_flight.room())))

    def next_along(self) -> list[Document]:
        """What to claim in the request that writes back all that is finished."""
        if self._closed or self.look_due or self._claimant.contended:
            return []
        return self._next_caught(self._in_flight.room(all_written=True))

    def claim(self, docs: list[Document], bulk_docs: claims.BulkDocs | None = None) -> list[Document]:
        """Claim documents; returns those that were won."""
        if not docs:
            return []
        # Whoever won one that is lost here makes a change of it when it is free again.
        won = self._insist(lambda: self._claimant.claim(docs, self._in_flight.ids, bulk_docs))
        self._stands_by = self._claimant.outrun and self._in_flight.is_fast and self._may_stand_by
        if self._claimant.outrun:
            self._pause()
        return won

    def watch(self) -> None:
        """Ask the feed for more, but not while there are documents at hand, which only get older."""
        idle = not (self._feed_is_asked or self._caught or self.look_due or self._closed or self._gathers())
        if idle and self._feed and self._since is not None and self._is_out_of_step():
            self._feed_is_asked = True
            self._limit = 1 if self._stands_by else self._in_flight.target
            self._feed.watch(self._since, self._limit)

    def catch(self, page: Page) -> None:
        """Take note of changes that came with the feed."""
        self._feed_is_asked = False
        what = page.changes[0].get('id') if len(page.changes) == 1 else len(page.changes)
        log.info('caught change: %s %s', short_sequence(page.sequence), what)
        docs = [change.get('doc') for change in page.changes]
        if None in docs or page.sequence is None:
            self.look_due = True  # deleted meanwhile, or a server that tells less: the view knows
            return
        self._since = page.sequence
        self._page_was_full = len(page.changes) >= self._limit
        self._caught += [doc for doc in docs if documents.is_free(doc, self._after)]
        if self._stands_by:
            self._pause()  # one that is still free then is left over by those who work

    def _look(self) -> None:
        """Ask the view what waits, claim it, and give it to the workers."""
        room = min(self._in_flight.room(), 1) if self._stands_by else self._in_flight.room()
        contended = self._insist(self._claimant.is_contended)
        passed_over = self._passed_over()
        limit = room * (CONTENDED_PAGE if contended else 1) + len(passed_over)
        page = self._insist(lambda: self._waiting(limit))
        # A row can be older than the document that comes with it.
        free = [row['doc'] for row in page['rows'] if documents.is_free(row['doc'], self._after)]
        free = [doc for doc in free if doc['_id'] not in passed_over]
        chosen = (self._claimant.in_own_order(free) if contended else free)[:room]
        self._in_flight.submit(self.claim(chosen))
        if len(page['rows']) < limit and len(chosen) == len(free):
            # All that waited has been seen, and what comes is a change after the sequence of this page.
            self.look_due = False
            self._since = page['update_seq']
            self._caught.clear()
        elif self._stands_by and self._since is not None:
            self.look_due = False  # others are at it, and the feed goes on where it was

    def _next_caught(self, number: int) -> list[Document]:
        passed_over = self._passed_over()
        chosen, self._caught = self._caught[:number], self._caught[number:]
        if len(chosen) >= MANY and self._page_was_full and not self._claimant.contended:
            self.watch()  # so that the next page is read while this one is claimed
        return [doc for doc in chosen if doc['_id'] not in passed_over]

    def _gathers(self) -> bool:
        """Whether to write what is under way before the feed is asked.

        With fast callbacks that is soon, and meanwhile more comes for the next page. Each page makes the server pass
        over all that has changed since the last one, and what has changed twice counts once.
        """
        return self._in_flight.is_fast and self._in_flight.under_way >= MANY and not self._page_was_full

    def _passed_over(self) -> set[str]:
        return self._claimant.set_aside | self._in_flight.ids

    def _waiting(self, limit: int) -> dict[str, Any]:
        return self._database.view(
            self._viewname,
            startkey=[self._after],
            endkey=[self._after, {}],
            reduce=False,
            include_docs=True,
            update_seq=True,
            limit=limit,
        )

    def _pause(self) -> None:
        """Claim nothing for a while, so that two listeners that read the same pages get out of step."""
        longest = STANDBY if self._stands_by else LOST_PAUSE
        self._next_claim = time.monotonic() + JITTER.uniform(longest / 2, longest)

    def _is_out_of_step(self) -> bool:
        """Whether no pause is under way."""
        return time.monotonic() >= self._next_claim
