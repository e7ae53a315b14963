"""A selection as a pandas data frame, for notebooks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edw import config
from edw.database.client import Database
from edw.database.retry import Outage, Retry
from edw.errors import EdwError
from edw.model import documents
from edw.selecting import conditions, wanted
from edw.selecting.finding import find
from edw.selecting.rows import Row, row_of

if TYPE_CHECKING:
    import pandas as pd

PATIENCE = 30.0  # seconds for a server that is away

Texts = str | Sequence[str]


def select_files(
    run: Texts = (),
    step: str | None = None,
    *,
    where: Texts = (),
    status: str = documents.GOOD,
    tag: Texts = (),
    quality: str | None = None,
    condition: str | None = None,
    step_version: str | None = None,
    settings: str | None = None,
) -> pd.DataFrame:
    """The files that `step` left of the wanted documents, one row each, in the order of their ids.

    `run` is a run, a range (`ma22a000..ma22b013`), a pattern (`ma22a*`), or several of these; `where` a condition like
    `conditions.temperature < 0.0155`, or several, which must all hold; `settings` the path of a settings file (else
    edw.ini beside the scripts). Without `step` the file is that of the last step that was done. `status` may be `any`.

    Columns: those of `Row`, with `time` and `done` as UTC times; `conditions` as a column for each number or text in
    it (`conditions.temperature`). Raises EdwError, also where pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise EdwError('select_files needs pandas: pip install pandas') from None
    asked = wanted.Wanted(
        runs=wanted.union(_several(run)),
        step=step,
        step_version=step_version,
        status=status,
        tags=tuple(_several(tag)),
        quality=quality,
        condition=condition,
        where=tuple(conditions.parse(text) for text in _several(where)),
    )
    database = Database(config.load(settings), Retry(threading.Event().wait, Outage(), PATIENCE))
    rows = [row_of(doc, step) for doc in find(database, asked)]
    frame = pd.DataFrame([vars(row) for row in rows], columns=list(Row.__dataclass_fields__))
    for column in ('time', 'done'):
        frame[column] = pd.to_datetime(frame[column].astype(float), unit='s', utc=True)
    flat = pd.json_normalize([row.conditions if isinstance(row.conditions, dict) else {} for row in rows])
    return frame.drop(columns='conditions').join(flat.add_prefix('conditions.'))


def _several(texts: Texts) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts
