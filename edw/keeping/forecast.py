"""When the disks of the data will be full, if as much comes every day as came lately and nothing is deleted.

The catalogue has the history: on how many documents the first step was done in the last days (view `done`), and how
large the newest of these files are. Documents of the original scripts, which hold no time or no size, do not count.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from edw.database import views
from edw.database.client import Database
from edw.model import documents
from edw.storage import space

DAY = 86400.0  # seconds
WINDOW = 7 * DAY  # looked back
SAMPLE = 50  # of the newest documents, whose mean size is taken
FIRST_STEPS = 3  # that are asked for, so that odd documents cannot make a look slow
FILLED = ('raw', 'sps')  # folders that each file comes into
SHELF_LIFE = 600.0  # seconds; a screen that looks twice a second must not cost the server three requests each time
LOW, SOON = 0.05, 7.0  # share that is free, and days until none is, below which somebody is needed

_known: dict[str, tuple[float, float | None]] = {}  # by database: when it was asked, and the answer


@dataclass(frozen=True)
class Disk:
    """A file system of this machine that data is on: the `folders` it holds, by name and path, and its bytes.

    `per_day` are the bytes that come every day, `full_in` the days until it is full; None where nobody knows.
    """

    folders: dict[str, str]
    free: int
    total: int
    per_day: float | None
    full_in: float | None

    @property
    def is_filling(self) -> bool:
        """Whether somebody should make room."""
        return self.free < LOW * self.total or (self.full_in is not None and self.full_in < SOON)


def disks(database: Database, first_steps: Iterable[str]) -> list[Disk]:
    """The disks of raw, sps and scratch on this machine; `first_steps` are those that new documents wait for."""
    usages: dict[int, space.Usage] = {}
    by_device: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for name, folder in space.folders(database.settings).items():
        found = space.usage(folder)
        if found is not None:
            usages[found.device] = found
            by_device[found.device][name] = folder
    if not any(name in FILLED for named in by_device.values() for name in named):
        return []  # this machine has none of the data: how full it is is nobody's matter
    came = _cached(database, list(first_steps))
    made = []
    for device, named in by_device.items():
        kinds = sum(name in FILLED for name in named)
        per_day = came * kinds if came is not None and kinds else None
        free = usages[device].free
        made.append(Disk(named, free, usages[device].total, per_day, free / per_day if per_day else None))
    return made


def bytes_per_day(database: Database, first_steps: Iterable[str], now: float) -> float | None:
    """Bytes of the originals that came each day in the WINDOW before `now` (seconds since the epoch); None: unknown.

    In a shorter time where the first came later than that, one day at least.
    """
    count, oldest, sizes = 0, now, []
    for step in list(first_steps)[:FIRST_STEPS]:
        ends = {'startkey': [step, now - WINDOW], 'endkey': [step, now]}
        in_window = views.total(database, views.DONE, **ends)
        if not in_window:
            continue
        count += in_window
        first = views.rows(database, views.DONE, reduce=False, limit=1, **ends)
        oldest = min([oldest, *(minute for row in first if (minute := documents.number(row['key'][1])) is not None)])
        downwards = {'startkey': ends['endkey'], 'endkey': ends['startkey'], 'descending': True}
        newest = views.rows(database, views.DONE, reduce=False, include_docs=True, limit=SAMPLE, **downwards)
        found = (documents.number((row.get('doc') or {}).get('size')) for row in newest)
        sizes += [size for size in found if size is not None and size >= 0]
    if not count or not sizes:
        return None
    return count * (sum(sizes) / len(sizes)) / max(1.0, (now - oldest) / DAY)


def _cached(database: Database, first_steps: list[str]) -> float | None:
    asked, answer = _known.get(database.url, (None, None))
    if asked is None or answer is None or time.monotonic() - asked > SHELF_LIFE:
        answer = bytes_per_day(database, first_steps, time.time())
        _known[database.url] = time.monotonic(), answer
    return answer
