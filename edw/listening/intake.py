"""The documents that wait for a step, on their way to being claimed: what the view tells of, and what the feed brings.

The view is asked at the start and whenever something is in doubt. Its answer names the sequence that it reflects, from
which the feed goes on, so that nothing falls between the two.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from edw.database import nesting, views
from edw.database.client import Database
from edw.listening.feed import Feed, Page
from edw.logs import short_sequence
from edw.model import documents
from edw.model.documents import Document

REMEMBERED = 5000  # revisions
FIRST_REST = 5.0  # seconds that a document rests whose place is away, doubled each time, so that another one tries
LONGEST_REST = 300.0  # seconds
LARGEST_PAGE = 1000  # rows of the view to read at once, where it is paged through
AT_ONCE_AGAIN = 2  # documents whose rests end when one is done whose place was away: those of others, or not
MOUNT = 3  # parts of a path, the first one empty, that name a disk: /mnt/daq1

Choose = Callable[[list[Document]], list[Document]]

log = logging.getLogger(__name__)


class Intake:
    """What is known to wait for one step. Belongs to one thread."""

    def __init__(
        self,
        database: Database,
        after: str | int,
        feed: Feed,
        clock: Callable[[], float] = time.monotonic,
        first_rest: float = FIRST_REST,
        order: views.Order = views.ORDERS[views.OLDEST],
    ) -> None:
        """With an infinite `first_rest` a document whose place is away is left alone from then on."""
        self._database = database
        self._after = after
        self._order = order
        settings = database.settings
        self._viewname = settings.viewname if order.view is None else f'{settings.design}/_view/{order.view}'
        self._feed = feed
        # Nobody here has tried to claim them yet. By id: what a look has found may come with an older poll once more,
        # and two claims of one document in one request leave a conflict on the embedded server.
        self._waiting: dict[str, Document] = {}
        # Revisions that were picked to be claimed, by id. CouchDB's feed may bring one again: its last_seq is that of
        # several shards, and one may lag behind. Claimed once more it would be lost, though to nobody.
        self._picked: dict[str, str] = {}
        self._left_alone: set[str] = set()  # ids of those that cannot be claimed, as the server or their form has it
        self._reasons: set[str] = set()  # that the log has named since the last sweep
        self._alike: set[str] = set()  # names of other steps, which CouchDB sorts with that of the step before
        # By id: until when a document rests, and for how long then. Who began last stands last, and so for the places.
        self._rests: dict[str, tuple[float, float]] = {}
        self._places_away: dict[str, None] = {}
        self._wake_at = math.inf  # when the next rest is over
        self._clock = clock
        self._first_rest = first_rest
        self._in_doubt = True  # whether more may wait than is known
        self._since: str | int | None = None  # sequence up to which all that waited has been seen

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known to wait, and nothing is in doubt."""
        return not (self._waiting or self._in_doubt)

    @property
    def has_waiting(self) -> bool:
        """Whether documents are at hand to be claimed."""
        return bool(self._waiting)

    @property
    def needs_look(self) -> bool:
        """Whether only the view can tell what waits."""
        return self._in_doubt and not self._waiting

    @property
    def may_poll(self) -> bool:
        """Whether the feed brings what comes to wait, and nothing is at hand, which would only get older."""
        return self.is_empty and self._since is not None and not self._feed.is_polling

    def doubt(self) -> None:
        """Something may wait that the feed does not bring."""
        self._in_doubt = True

    def leave_alone(self, refused: Mapping[str, str]) -> None:
        """Take note of documents that cannot be claimed now, and not because of somebody else, with the reasons."""
        for doc_id, reason in refused.items():
            self._left_alone.add(doc_id)
            if reason not in self._reasons:
                self._reasons.add(reason)
                log.warning('%s cannot be claimed now, and perhaps others: %s', doc_id, reason)

    def rest(self, doc: Document, waits: bool) -> None:
        """Pass a document over for a while: the place of its file is away, and that of another one may be there.

        `waits`: whether the step waits by now.
        """
        _, before = self._rests.pop(doc['_id'], (0.0, 0.0))
        pause = min(2 * before, LONGEST_REST) if before else self._first_rest
        self._rests[doc['_id']] = self._clock() + pause, pause
        self._wake_at = min(self._wake_at, self._clock() + pause)
        place = _place(doc)
        self._places_away.pop(place, None)
        self._places_away[place] = None
        if waits:
            # Who tries next is chosen anew, from all that waits.
            self._waiting.clear()
            self.doubt()

    def done(self, doc: Document) -> None:
        """Take note that a document was done. If its place was away, it is back, and others need not rest on.

        Not all of them at once: their place may be another one, and each that fails has the step wait.
        """
        self._places_away.pop(_place(doc), None)
        if self._rests.pop(doc['_id'], None) is None:
            return
        now = self._clock()
        resting = sorted((until, doc_id) for doc_id, (until, _) in self._rests.items() if until > now)
        for _, doc_id in resting[:AT_ONCE_AGAIN]:
            self._rests[doc_id] = now, self._rests[doc_id][1]
        self._wake_at = min(self._wake_at, now)

    @property
    def wake_due(self) -> float:
        """When the next rest is over."""
        return self._wake_at

    def wake(self) -> None:
        """A rest is over: such documents are in the view alone, because the feed has brought them before."""
        now = self._clock()
        self._wake_at = min((until for until, _ in self._rests.values() if until > now), default=math.inf)
        self.doubt()

    def try_all_again(self, waits: bool = False) -> None:
        """Look whatever the feed says, and at what was left alone, too. `waits`: whether the step does."""
        self._left_alone.clear()
        self._reasons.clear()
        self._picked.clear()
        # Of those that came to nothing more for long, the place is there again, or somebody else has done them. Not
        # while the step waits: who was forgotten would be the next to try again, before all others.
        now = self._clock()
        if not waits:
            self._rests = {doc_id: rest for doc_id, rest in self._rests.items() if now < rest[0] + LONGEST_REST}
            self._places_away.clear()
        self.doubt()

    def look(self, rows: int, in_flight: set[str], choose: Choose, waits: bool = False) -> None:
        """Ask the view what waits, and keep those of the free documents that `choose` returns.

        `rows` is how many free ones are wanted. Afterwards documents are at hand, or nothing is in doubt: a look that
        brings nothing is never repeated at once. `waits`: the step does, and what is wanted is one that may try.
        """
        passed_over = self._left_alone | in_flight | (set() if waits else self._resting())
        free: dict[str, Document] = {}
        begin = [self._after, views.LAST] if self._order.descending else [self._after]
        page, is_last = self._page(begin, rows + len(passed_over))
        # Of the first page: what changes behind a row that was read already is for the feed to tell.
        sequence = page['update_seq']
        while True:
            self._left_alone.update(nesting.left_alone(page['rows']))
            free.update({doc['_id']: doc for doc in self._free(page['rows']) if doc['_id'] not in passed_over})
            candidates = self._in_turn(list(free.values())) if waits else list(free.values())
            # While the step waits, a place is looked for that was not away yet, but not among all that waits.
            if is_last or (
                len(free) >= rows and not (waits and self._is_away(candidates) and len(free) < LARGEST_PAGE)
            ):
                break
            page, is_last = self._page_after(page['rows'])
        chosen = choose(candidates)
        self._waiting = {doc['_id']: doc for doc in chosen}
        # If all that waits has been seen, what comes is a change after the sequence of this look.
        self._in_doubt = not is_last or len(chosen) < len(free)
        if not self._in_doubt:
            self._since = sequence

    def _in_turn(self, docs: list[Document]) -> list[Document]:
        """Of the documents those of which one should try, while the step waits.

        They are of a place that was away the longest time ago, or not yet: where one place stays away, those of the
        others are not kept waiting by all of its documents. And they have not been put off, or longest ago: where one
        document has a place of its own that stays away, it is not the one that tries each time.
        """
        places = {place: rank for rank, place in enumerate(self._places_away)}
        rests = {doc_id: rank for rank, doc_id in enumerate(self._rests)}
        docs = _lowest(docs, lambda doc: places.get(_place(doc), -1))
        return _lowest(docs, lambda doc: rests.get(doc['_id'], -1))

    def _is_away(self, docs: list[Document]) -> bool:
        return not docs or _place(docs[0]) in self._places_away

    def _resting(self) -> set[str]:
        now = self._clock()
        return {doc_id for doc_id, (until, _) in self._rests.items() if until > now}

    def _page(self, begin: list[Any], limit: int) -> tuple[dict[str, Any], bool]:
        """A page of the view, and whether it is the last one."""
        page = self._database.view(
            self._viewname,
            startkey=begin,
            endkey=[self._after] if self._order.descending else [self._after, views.LAST],
            descending=self._order.descending,
            reduce=False,
            include_docs=True,
            update_seq=True,
            limit=limit,
        )
        return page, len(page['rows']) < limit

    def _page_after(self, rows: list[dict[str, Any]]) -> tuple[dict[str, Any], bool]:
        """The next page; it begins with the last row of the one before, which may be gone meanwhile."""
        limit = min(2 * len(rows), LARGEST_PAGE)
        while True:
            page, is_last = self._page(rows[-1]['key'], limit)
            # Keys that are alike for CouchDB have no order among themselves: a page of nothing else leads nowhere.
            if is_last or page['rows'][-1]['key'] != rows[-1]['key']:
                return page, is_last
            limit *= 2

    def _free(self, rows: list[dict[str, Any]]) -> list[Document]:
        """Of the rows of a page the documents that wait for this step, and that nobody here has tried to claim."""
        # CouchDB compares keys as people read them (ICU collation): names that only look the same are one to it.
        alike = [row for row in rows if row['key'][0] != self._after]
        for row in alike:
            if row['key'][0] not in self._alike:
                self._alike.add(row['key'][0])
                name, after = ascii(row['key'][0]), ascii(self._after)
                log.warning('%s: its last step is %s, which is not %s: it is left alone', row['id'], name, after)
        # A row can be older than the document that comes with it. Of one that was deleted in this moment none comes.
        docs = (row.get('doc') for row in rows)
        return [
            doc
            for doc in docs
            if doc and documents.is_free(doc, self._after) and self._picked.get(doc['_id']) != doc['_rev']
        ]

    def leave_the_rest(self) -> None:
        """Leave to others what was not read of the view; the feed goes on where it was."""
        self._in_doubt = self._since is None

    def pick(self, number: int, in_flight: set[str], waits: bool = False) -> list[Document]:
        """The first documents that wait, to be claimed; passed over are those in flight, and revisions picked before.

        While the step `waits`, none rests: one at a time tries in any case, and a look has chosen it.
        """
        passed_over = self._left_alone | in_flight | (set() if waits else self._resting())
        first = [self._waiting.pop(doc_id) for doc_id in list(self._waiting)[:number]]
        picked = [doc for doc in first if doc['_id'] not in passed_over and self._picked.get(doc['_id']) != doc['_rev']]
        self._picked.update({doc['_id']: doc['_rev'] for doc in picked})
        while len(self._picked) > REMEMBERED:
            del self._picked[next(iter(self._picked))]
        return picked

    def poll(self, limit: int) -> None:
        """Have the feed bring what comes to wait, `limit` documents at most."""
        assert self._since is not None  # or it may not poll
        self._feed.poll(self._since, limit)

    def catch(self, page: Page) -> None:
        """Take note of changes that came with the feed."""
        what = page.changes[0].get('id') if len(page.changes) == 1 else len(page.changes)
        log.info('caught change: %s %s', short_sequence(page.sequence), what)
        left_alone = nesting.left_alone(page.changes)
        docs: list[Any] = [change.get('doc') for change in page.changes if change.get('id') not in left_alone]
        if None in docs or page.sequence is None:
            self.doubt()  # deleted meanwhile, or a server that tells less: the view knows
            return
        self._since = page.sequence
        free = {doc['_id']: doc for doc in docs if documents.is_free(doc, self._after)}
        if len(free) < len(docs):
            log.info('no longer free: %d of them', len(docs) - len(free))
        self._waiting.update(free)


def _place(doc: Document) -> str:
    """Where the file is that the next step works on, as far as a document tells: a host, or a disk.

    A guess that decides of no more than who tries first.
    """
    named = (documents.entry_with_file(doc) or {'file': doc.get('original_file')})['file']
    if not isinstance(named, str):
        return ''
    scheme, is_url, rest = named.partition('://')
    return f'{scheme}://{rest.partition("/")[0]}' if is_url else '/'.join(named.split('/')[:MOUNT])


def _lowest(docs: list[Document], rank: Callable[[Document], int]) -> list[Document]:
    """Those with the lowest rank, in their order."""
    ranks = [rank(doc) for doc in docs]
    lowest = min(ranks, default=0)
    return [doc for doc, found in zip(docs, ranks, strict=True) if found == lowest]
