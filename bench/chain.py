"""The real chain, both steps on real files, beside a plain pool of processes that calls the same functions.

The pool has no database, no claims and no second machine: what the suite takes more is what these cost.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil

import listen_analysis1
import listen_newfiles
from bench.contenders import on_files
from bench.contenders.on_couchdb import logged, settings_file
from bench.processes import Processes
from bench.speed import Figures, percentiles_of
from bench.store import Login, Store, store
from bench.usage import cpu_seconds, listening_on
from bench.work import LIMIT, STEPS, Document, documents, paced, step_on
from detector import acquisition
from edw import config, files
from edw.transfer import make_new_folder

EVENTS = 200  # of a file, as make_metadata.py makes them: about 1 MB
WORKERS = 2  # of each listener, and of the pool
WARM_UP = 8  # files, with which all processes import what they need
SCRIPTS = ('listen_newfiles.py', 'listen_analysis1.py')
LOOK = 0.1  # seconds between two looks at a log
# What a listener says of results that were written.
WRITTEN = re.compile(r'^(?P<time>\S+ \S+) updated (?:(?P<number>\d+) documents, )?.*$', re.MULTILINE)
POOL = multiprocessing.get_context('spawn')


class Chain:
    """Data files, and those who bring them through the chain; the results of each round are removed."""

    def __init__(self, login: Login, number: int, folder: Path) -> None:
        self._login = login
        self._folder = folder
        self._rounds = itertools.count()
        docs = documents(0, WARM_UP + number)
        (folder / 'raw').mkdir()
        with POOL.Pool() as pool:
            made = pool.starmap(_acquire, [(folder / 'raw', doc['_id'], seed) for seed, doc in enumerate(docs)])
        for doc, (path, size, md5sum) in zip(docs, made, strict=True):
            doc.update(original_file=path, size=size, md5sum=md5sum)
        self._first, self._docs = docs[:WARM_UP], docs[WARM_UP:]

    def plain(self) -> tuple[float, dict[str, float]]:
        """Files/s of the pool, and the CPU time (ms) for each file."""
        with self._sps() as sps:
            settings = replace(config.load(), sps=str(sps))
            with POOL.Pool(WORKERS, _begin, (settings,)) as pool:
                pool.map(_both, self._first, chunksize=1)
                before = cpu_seconds(psutil.Process().pid)
                started = time.perf_counter()
                for _ in pool.imap_unordered(_both, self._docs):
                    pass
                seconds = time.perf_counter() - started
                cpu = cpu_seconds(psutil.Process().pid) - before
        return len(self._docs) / seconds, {'pool': 1000 * cpu / len(self._docs)}

    def peer(self, way: on_files.Way) -> float:
        """Files/s of another way to run the same functions."""
        with self._sps() as sps:
            return way(self._first, self._docs, sps, WORKERS)

    def suite(self) -> tuple[float, dict[str, float]]:
        """Files/s of the two listeners, and the CPU time (ms) for each file by who took it."""
        number = len(self._docs)
        with self._running() as (database, processes):
            before = self._cpu(processes)
            seconds = _through(database, processes, self._docs)
            after = self._cpu(processes)
        return number / seconds, {name: 1000 * (after[name] - before[name]) / number for name in after}

    def latency(self, rate: float) -> dict[str, float]:
        """Percentiles of the seconds that a single new file takes, `rate` of them a second, once the listeners run."""
        with self._running() as (database, processes):
            started = {}
            for doc in paced(self._docs, rate):
                started[doc['_id']] = time.time()
                database.database.put(doc)
            ended = processes.wait_for_times(logged('updated'), set(started), LIMIT)
        return percentiles_of([ended[doc_id] - begun for doc_id, begun in started.items()])

    @contextlib.contextmanager
    def _running(self) -> Iterator[tuple[Store, Processes]]:
        """A database, and the listeners of both steps, started from their scripts."""
        with (
            store(*self._login) as database,
            self._sps() as sps,
            tempfile.TemporaryDirectory(dir=self._folder) as name,
            Processes(Path(name)) as processes,
        ):
            database.settings = replace(database.settings, sps=str(sps))
            file = settings_file(database, Path(name), database.settings.server)
            for script in SCRIPTS:
                command = [sys.executable, script, '--config', str(file), '--workers', str(WORKERS)]
                username, password = database.login
                processes.start(
                    command, 'listening for', EDW_USERNAME=username, EDW_PASSWORD=password, PYTHONUNBUFFERED='1'
                )
            _through(database, processes, self._first)
            yield database, processes

    @contextlib.contextmanager
    def _sps(self) -> Iterator[Path]:
        sps = self._folder / f'sps{next(self._rounds)}'
        make_new_folder(sps)
        try:
            yield sps
        finally:
            shutil.rmtree(sps)

    def _cpu(self, processes: Processes) -> dict[str, float]:
        """CPU time (s) so far, of the server and of each listener: its own, and that of its child processes."""
        found = {}
        for step, process in zip(STEPS, processes.started, strict=True):
            own = sum(psutil.Process(process.pid).cpu_times()[:2])
            found[step] = own
            found[f'{step}, children'] = cpu_seconds(process.pid) - own
        server = listening_on(self._login[0])
        return found | ({'server': cpu_seconds(server)} if server else {})


def measure(login: Login, number: int, rounds: int, environment: Path) -> tuple[Figures, dict[str, dict[str, float]]]:
    """Files/s, and the medians of the CPU time (ms) for each file by who took it: of the pool and of the suite.

    Files/s alone of Celery and Snakemake, where that virtual environment has them.
    """
    peers = on_files.ways(environment)
    rates: Figures = {'pool': [], 'suite': [], **{name: [] for name in peers}}
    cpu: dict[str, list[dict[str, float]]] = {'pool': [], 'suite': []}
    with chain(login, number) as made:
        for _ in range(rounds):
            for name, way in (('pool', made.plain), ('suite', made.suite)):
                rate, of_it = way()
                rates[name].append(rate)
                cpu[name].append(of_it)
            for name, other in peers.items():
                rates[name].append(made.peer(other))
    medians = {
        name: {part: statistics.median(of_it[part] for of_it in of_rounds) for part in of_rounds[0]}
        for name, of_rounds in cpu.items()
    }
    return rates, medians


@contextlib.contextmanager
def chain(login: Login, number: int) -> Iterator[Chain]:
    """So many new data files, removed at the end."""
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as folder:
        yield Chain(login, number, Path(folder))


def _acquire(folder: Path, doc_id: str, seed: int) -> tuple[str, int, str]:
    path = folder / f'{doc_id}.root'
    acquisition.write_file(path, EVENTS, seed, {})
    return str(path), path.stat().st_size, files.md5_of(path)


def _through(database: Store, processes: Processes, docs: list[Document]) -> float:
    """Put documents in, and wait until they are through; returns the seconds until the last write was answered.

    By the log of the last listener, because each question would cost the server milliseconds.
    """
    log = processes.log_of(len(STEPS) - 1)
    before, started = len(log.read_text()), time.time()
    database.put_in(docs)
    end = time.monotonic() + LIMIT
    while True:
        lines = list(WRITTEN.finditer(log.read_text(errors='replace'), before))
        if sum(int(line['number'] or 1) for line in lines) >= len(docs):
            break
        assert time.monotonic() < end, f'not done after {LIMIT:g} s'
        time.sleep(LOOK)
    assert database.finished(docs) == len(docs)
    return datetime.fromisoformat(lines[-1]['time']).timestamp() - started


def _begin(settings: config.Settings) -> None:
    config.current.set(settings)


def _both(doc: Document) -> str:
    """Both steps on a file, and nothing else."""
    for step, callback in zip(STEPS, (listen_newfiles.move_to_sps, listen_analysis1.signal_processing), strict=True):
        doc = step_on(doc, step, callback)
    return doc['_id']
