"""Building the views of a design document, so that the first listener does not have to wait for it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait

from tqdm import tqdm

from edw.couch import Database, Document
from edw.errors import Unavailable

LOOK_INTERVAL = 0.5  # seconds between two looks at how much of the index is still to be built


def build_views(database: Database, design: Document) -> None:
    """Query every view once, and show on a terminal how much is still to be indexed until it answers."""
    with (
        ThreadPoolExecutor(1) as pool,
        tqdm(total=len(design['views']), desc='building views', unit=' views', disable=None) as bar,
    ):
        for name in design['views']:
            viewname = f'{design["_id"]}/_view/{name}'
            while not _answers(pool.submit(Database(database.settings).view, viewname, limit=1), database, bar):
                pass
            bar.update()


def _answers(query: Future, database: Database, bar: tqdm) -> bool:
    """Wait for the query. False where the server's own time limit ended it: the index is built on all the same."""
    while not wait([query], timeout=LOOK_INTERVAL).done:
        # Raises Unavailable where the server is gone, rather than slow.
        pending = _pending(database)
        if pending is not None:
            bar.set_postfix_str(f'{pending} documents to index')
    try:
        query.result()
    except Unavailable:
        _pending(database)
        return False
    return True


def _pending(database: Database) -> int | None:
    """Documents that the index does not reflect yet; None on a server that does not say."""
    index = database.design_info(database.settings.design)
    return index.get('updates_pending', {}).get('total') if isinstance(index, dict) else None
