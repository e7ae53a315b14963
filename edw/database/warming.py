"""Building the views of a design document, so that no listener has to wait for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NoReturn

from tqdm import tqdm

from edw.database import design
from edw.database.client import Database
from edw.errors import Unavailable
from edw.model.documents import Document

NEXT = '-next'  # ends the name of a design document whose views are being built, until it replaces the one of that name
LOOK_INTERVAL = 0.5  # seconds between two looks at how much of the index is still to be built


def upload(database: Database, doc: Document) -> bool:
    """As `design.upload`, but views that are in use answer all the time, and the new ones are built.

    An index belongs to the functions of the views, not to the name of the design document (CouchDB's "view signature").
    So the new functions are put beside an older design document first, under another name, and replace it when
    their index is there.
    """
    present = design.present_one(database, doc['_id'])
    following = {**doc, '_id': doc['_id'] + NEXT}
    if present and not design.is_same(present, doc):
        design.upload(database, following)
        build_views(database, following)
    uploaded = design.upload(database, doc)
    build_views(database, doc)
    # It may also be left over from an upload that was broken off.
    leftover = design.present_one(database, following['_id'])
    if leftover:
        database.delete(leftover)
    return uploaded


def build_views(database: Database, doc: Document) -> None:
    """Query every view once, and show on a terminal how much is still to be indexed until it answers."""
    with (
        ThreadPoolExecutor(1) as pool,
        tqdm(total=len(doc['views']), desc='building views', unit=' views', disable=None) as bar,
    ):
        for name in doc['views']:
            viewname = f'{doc["_id"]}/_view/{name}'
            while not _answers(
                pool.submit(Database(database.settings).view, viewname, limit=1), partial(_pending, database, doc), bar
            ):
                pass
            bar.update()


def _answers(query: Future[Any], look: Callable[[], int | None], bar: tqdm[NoReturn]) -> bool:
    """Wait for the query. False where the server's own time limit ended it: the index is built on all the same."""
    while not wait([query], timeout=LOOK_INTERVAL).done:
        # Raises Unavailable where the server is gone, rather than slow.
        pending = look()
        if pending is not None:
            bar.set_postfix_str(f'{pending} document{"s" * (pending != 1)} to index')
    try:
        query.result()
    except Unavailable:
        look()
        return False
    return True


def _pending(database: Database, doc: Document) -> int | None:
    """Documents that the index does not reflect yet; None on a server that does not say."""
    index = database.design_info(doc['_id'])
    pending = index.get('updates_pending')
    total = pending.get('total') if isinstance(pending, dict) else None
    return total if type(total) is int else None
