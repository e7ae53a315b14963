"""Finding the documents that are wanted, in the order of their ids.

The view `runs` says of the documents of a run which may be wanted: by their status, and by their conditions, which are
most of what people ask for. Where that leaves few, they are read by their ids.

Else, and where no run is named, Mango asks all documents (`_find`) where they lie, and sends only what is needed of
those that fit. Its own idea of order is not quite ours. So both only narrow down; `Wanted.matches` decides.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import cycle
from typing import Any, TypeVar

from edw.database import views
from edw.database.client import Database, batches
from edw.model.documents import Document
from edw.selecting.wanted import Runs, Wanted

PAGE = 1000  # documents that are read by their ids, for one answer
STRETCH = 2000  # documents that Mango looks through for one answer
# Documents, and part of those of the runs, up to which they are read by their ids: CouchDB takes three times as long
# for each as when it looks through all of them.
FEW, MOST = 5000, 0.2
AT_ONCE = 3  # answers: CouchDB looks at the documents of one in turn, mostly with one core
ALL = 1_000_000  # documents in one answer: a stretch has less

Part = TypeVar('Part')
Stretch = tuple[str | None, str | None]  # the first id and the last; None: there is no end on this side

# Characters of ids whose order is the same for all that compare them, with that of ICU for the first three.
PLAIN = re.compile('[_.a-zA-Z0-9-]*')
IN_ORDER = str.maketrans('_-.', '\1\2\3')


def find(database: Database, wanted: Wanted) -> Iterator[Document]:
    """The wanted documents, with the fields that `wanted` names at least."""
    return (doc for doc in _candidates(database, wanted) if wanted.matches(doc))


def _candidates(database: Database, wanted: Wanted) -> Iterator[Document]:
    if not wanted.runs:
        return _at_once(database, partial(_ask, wanted), _stretches_of_all(database))
    rows = {row['id']: row for runs in wanted.runs for row in _rows_of(database, runs)}
    ids = sorted(doc_id for doc_id, row in rows.items() if wanted.may_be(row['key'][1], row['value']))
    if len(ids) <= PAGE:  # one answer: for that no other client is to log in
        return iter(_read(database, ids))
    if len(ids) <= max(FEW, MOST * len(rows)):
        return _at_once(database, _read, batches(ids, PAGE))
    return _at_once(database, partial(_ask, wanted), ((part[0], part[-1]) for part in batches(ids, STRETCH)))


def _rows_of(database: Database, runs: Runs) -> list[dict[str, Any]]:
    end = [runs.last, views.LAST]
    found = views.rows(database, views.RUNS, reduce=False, startkey=[runs.first], endkey=end)
    return [row for row in found if runs.has(row['key'][0])]


def _at_once(
    database: Database, read: Callable[[Database, Part], list[Document]], parts: Iterable[Part]
) -> Iterator[Document]:
    """What `read` makes of each part, in order; AT_ONCE of them at a time."""
    clients = cycle([database.for_another_thread() for _ in range(AT_ONCE)])
    asked: deque[Future[list[Document]]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for client, part in zip(clients, parts, strict=False):
            if len(asked) == AT_ONCE:  # so the client's last one was answered
                yield from asked.popleft().result()
            asked.append(pool.submit(read, client, part))
        for answer in asked:
            yield from answer.result()


def _read(database: Database, ids: list[str]) -> list[Document]:
    """Those of the documents that are there."""
    return list(database.existing(ids).values())


def _stretches_of_all(database: Database) -> Iterator[Stretch]:
    """Stretches that together are all ids there are, in order."""
    first = None
    while True:
        ends = database.all_docs(skip=STRETCH - 1, limit=2, **_keys((first, None)))
        if len(ends) < 2:
            yield first, None
            return
        yield first, ends[0]['id']
        first = ends[1]['id']


def _ask(wanted: Wanted, database: Database, stretch: Stretch) -> list[Document]:
    """Those of a stretch that may be wanted."""
    first, last = stretch
    if not _knows_order(first, last):
        return [row['doc'] for row in database.all_docs(include_docs=True, **_keys(stretch)) if row.get('doc')]
    bounds: dict[str, Any] = {'$gt': None} if first is None else {'$gte': first}
    bounds |= {} if last is None else {'$lte': last}
    return database.find({'$and': [{'_id': bounds}, wanted.selector]}, fields=wanted.fields, limit=ALL)


def _keys(stretch: Stretch) -> dict[str, Any]:
    return {name: key for name, key in zip(('startkey', 'endkey'), stretch, strict=True) if key is not None}


def _knows_order(first: str | None, last: str | None) -> bool:
    """Whether Mango knows that there may be ids between the two.

    It finds ids by the order of their bytes, but nothing at all between two of which the second comes first as people
    sort texts (ICU collation): between 'B1' and 'a1'. Source: CouchDB 3.5.0, `range` in mango_idx_view.erl.
    """
    if first is None or last is None or first == last:
        return True
    in_order = [text.casefold().translate(IN_ORDER) for text in (first, last) if PLAIN.fullmatch(text)]
    return len(in_order) == 2 and in_order[0] < in_order[1]
