"""The suite in a database with a large catalogue, beside one with nothing in it: what its size costs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import resources
from bench.contenders.on_couchdb import settings_file, suite
from bench.large import catalogue
from bench.processes import ROOT
from bench.speed import WARM_UP, Figures, percentiles_of
from bench.store import Login, Store, store
from edw.database.client import Database
from web import live

EMPTY, FULL = 'empty', 'full'
SELECTED = 100_000  # documents that a selection by a condition is made of
CONDITION = 'conditions.temperature < 0.0155'  # of which half of them are


class Beside:
    """A database with a large catalogue, and a new empty one for each measurement beside it."""

    def __init__(self, login: Login, full: Store) -> None:
        self._login = login
        self._full = full

    def throughput(self, number: int, rounds: int) -> Figures:
        """Documents a second through two steps, of documents that are put in at once."""
        return self._rounds(lambda database: number / suite(database).throughput(number, 1), rounds)

    def latency(self, number: int, rate: float) -> dict[str, dict[str, float]]:
        """Percentiles of the seconds of one document through two steps, `rate` of them a second."""
        found = {}
        for name, database in self._both():
            found[name] = percentiles_of(suite(database).latencies(WARM_UP + number, rate, 1)[WARM_UP:])
        return found

    def rest(self) -> dict[str, dict[str, float]]:
        """What a minute of an idle listener costs, and of its server."""
        return {name: resources.idle(suite(database)) for name, database in self._both()}

    def start(self, rounds: int) -> Figures:
        """Seconds from the start of a listener to its first claim."""
        return self._rounds(resources.start, rounds)

    def questions(self, finished: int, rounds: int) -> dict[str, Figures]:
        """Seconds that people wait for an answer, the start of the script included, beside a catalogue of one run."""
        selected = min(finished, SELECTED)
        last = catalogue.run_of(selected - 1)
        asked = {
            'list_files.py RUN': ['list_files.py', catalogue.run_of(0)],
            f'list_files.py RUN..RUN --where, {selected} documents': [
                'list_files.py', f'{catalogue.run_of(0)}..{last}', '--where', CONDITION,
            ],
            'show_status.py': ['show_status.py'],
            'show_status.py --run RUN': ['show_status.py', '--run', catalogue.run_of(0)],
        }  # fmt: skip
        found: defaultdict[str, Figures] = defaultdict(lambda: {EMPTY: [], FULL: []})
        with store(*self._login) as small:
            small.fill(catalogue.FILES)
            small.warm()
            for _ in range(rounds):
                for name, database in ((EMPTY, small), (FULL, self._full)):
                    for what, command in asked.items():
                        found[what][name].append(_seconds_of(database, command))
                    found['overview of the dashboard'][name].append(_overview(database))
        return dict(found)

    def _rounds(self, measure: Callable[[Store], float], rounds: int) -> Figures:
        figures: Figures = {EMPTY: [], FULL: []}
        for _ in range(rounds):
            for name, database in self._both():
                figures[name].append(measure(database))
        return figures

    def _both(self) -> Iterator[tuple[str, Store]]:
        with store(*self._login) as empty:
            yield EMPTY, empty
        yield FULL, self._full


def fill(database: Store, number: int) -> dict[str, float]:
    """Put so many finished documents into a database; returns the seconds that this took, and its views."""
    begun = time.perf_counter()
    database.fill(number)
    written = time.perf_counter()
    database.warm()
    return {'written': written - begun, 'views built': time.perf_counter() - written}


def _seconds_of(database: Store, command: list[str]) -> float:
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name:
        file = settings_file(database, Path(name), database.settings.server)
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, *command, '--config', str(file)], cwd=ROOT, check=True, capture_output=True, timeout=600
        )
        return time.perf_counter() - begun


def _overview(database: Store) -> float:
    """What the dashboard reads for its first page, once it runs."""
    begun = time.perf_counter()
    live.read(Database(database.settings))
    return time.perf_counter() - begun
