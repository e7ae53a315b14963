"""Finding the documents that are wanted, in the order of their ids.

Mango does it (`_find`): CouchDB asks each document in Erlang, where it lies, and sends only those that fit. Its own
idea of order is not quite ours, so it only narrows down; `Wanted.matches` decides.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import Any

from edw.database import views
from edw.database.client import Database, batches
from edw.model.documents import Document
from edw.selecting.wanted import Runs, Wanted

PAGE = 1000  # documents in one answer
FEW = 5000  # documents up to which it is quicker to read all of them by their ids
STRETCH = 2000  # documents that are looked through for one answer
AT_ONCE = 3  # stretches: CouchDB looks at the documents of one in turn, mostly with one core
ALL = 1_000_000  # documents in one answer: a stretch has less

Stretch = tuple[str | None, str | None]  # the first id and the last; None: there is no end on this side

# Characters of ids whose order is the same for all that compare them, with that of ICU for the first three.
PLAIN = re.compile('[_.a-zA-Z0-9-]*')
IN_ORDER = str.maketrans('_-.', '\1\2\3')


def find(database: Database, wanted: Wanted) -> Iterator[Document]:
    """The wanted documents, with the fields that `wanted` names at least."""
    if not wanted.runs:
        yield from _ask_all(database, wanted, _stretches_of_all(database))
        return
    ids = sorted({doc_id for runs in wanted.runs for doc_id in _ids_of(database, runs)})
    if len(ids) > FEW:
        yield from _ask_all(database, wanted, ((part[0], part[-1]) for part in batches(ids, STRETCH)))
        return
    for batch in batches(ids, PAGE):
        present = database.existing(batch)
        yield from (present[doc_id] for doc_id in batch if doc_id in present and wanted.matches(present[doc_id]))


def _ids_of(database: Database, runs: Runs) -> list[str]:
    end = [runs.last, views.LAST]
    rows = views.rows(database, views.RUNS, reduce=False, startkey=[runs.first], endkey=end)
    return [row['id'] for row in rows if runs.has(row['key'][0])]


def _ask_all(database: Database, wanted: Wanted, stretches: Iterable[Stretch]) -> Iterator[Document]:
    """The wanted documents of the stretches, in order."""
    clients = cycle([database.for_another_thread() for _ in range(AT_ONCE)])
    asked: deque[Future[list[Document]]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for client, stretch in zip(clients, stretches, strict=False):
            if len(asked) == AT_ONCE:  # so the client's last one was answered
                yield from asked.popleft().result()
            asked.append(pool.submit(_ask, client, wanted, stretch))
        for answer in asked:
            yield from answer.result()


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


def _ask(database: Database, wanted: Wanted, stretch: Stretch) -> list[Document]:
    """The wanted documents of a stretch."""
    first, last = stretch
    if _knows_order(first, last):
        bounds: dict[str, Any] = {'$gt': None} if first is None else {'$gte': first}
        bounds |= {} if last is None else {'$lte': last}
        docs = database.find({'$and': [{'_id': bounds}, wanted.selector]}, fields=wanted.fields, limit=ALL)
    else:
        docs = [row['doc'] for row in database.all_docs(include_docs=True, **_keys(stretch)) if row.get('doc')]
    return [doc for doc in docs if wanted.matches(doc)]


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
