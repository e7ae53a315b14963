"""Contenders whose listeners are processes that follow a database: the suite, and the original's pattern."""

from __future__ import annotations

import configparser
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Processes
from bench.store import Store
from bench.work import LIMIT, STEPS, paced
from edw import config

SUITE, ORIGINAL = 'bench.contenders.step', 'bench.contenders.original'  # what their processes run


@dataclass
class OnCouchDB:
    """A contender whose listeners are processes that follow a database."""

    store: Store
    module: str
    ready: str
    writes: int  # that each document gets after it was put in
    through: re.Pattern[str]  # in the log, `id` and `time` of a document whose last write was answered

    @contextlib.contextmanager
    def running(
        self, listeners: int, steps: tuple[str, ...] = STEPS, server: str = '', *, naming_each: bool = False
    ) -> Iterator[Processes]:
        """So many listeners for each step, ready; `server`: the URL by which they reach it.

        `naming_each`: their logs are to name each document, however many come at once.
        """
        with tempfile.TemporaryDirectory(prefix='edw-bench-') as name, Processes(Path(name)) as processes:
            server = server or self.store.settings.server
            file = settings_file(self.store, Path(name), server)
            username, password = self.store.login
            for step in steps:
                for _ in range(listeners):
                    options = ['--config', str(file), *['-v'] * naming_each] if self.module == SUITE else []
                    processes.start(
                        [sys.executable, '-m', self.module, str(STEPS.index(step)), *options],
                        self.ready,
                        BENCH_DATABASE=self.store.url.replace(self.store.settings.server, server),
                        EDW_USERNAME=username,
                        EDW_PASSWORD=password,
                        PYTHONUNBUFFERED='1',
                    )
            yield processes

    def throughput(self, number: int, listeners: int) -> float:
        """See Contender."""
        with self.running(listeners):
            docs = self.store.new(number)
            end = self.store.sequence() + number * (1 + self.writes)
            started = time.perf_counter()
            self.store.put_in(docs)
            return self.store.wait_for_writes(end, docs) - started

    def latencies(self, number: int, rate: float, listeners: int) -> list[float]:
        """See Contender. Until the listener has the answer to its last write, by its own log."""
        with self.running(listeners, naming_each=True) as processes:
            started = {}
            for doc in paced(self.store.new(number), rate):
                started[doc['_id']] = time.time()
                self.store.database.put(doc)
            ended = processes.wait_for_times(self.through, set(started), LIMIT)
        return [ended[doc_id] - begun for doc_id, begun in started.items()]


def logged(what: str) -> re.Pattern[str]:
    """Lines of a listener's log that say something of a document."""
    return re.compile(rf'^(?P<time>\S+ \S+) {what} (?P<id>\S+)$', re.MULTILINE)


def suite(store: Store) -> OnCouchDB:
    """This project: a claim and a result for each step."""
    return OnCouchDB(store, SUITE, 'listening for', 4, logged('updated'))


def original(store: Store) -> OnCouchDB:
    """The original's pattern: a result for each step."""
    return OnCouchDB(store, ORIGINAL, 'listening', 2, logged('201'))


def settings_file(store: Store, folder: Path, server: str) -> Path:
    """The settings as they are shipped, but for server, database, login, and where files are moved to."""
    parser = configparser.RawConfigParser()
    parser.read(config.DEFAULT_FILE, encoding='utf-8')
    for option in ('dbname', 'username', 'password'):
        parser.set('Cloudant', option, getattr(store.settings, option))
    parser.set('data', 'sps', store.settings.sps)
    parser.set('Cloudant', 'server', server)
    file = folder / 'edw.ini'
    with open(file, 'w', encoding='utf-8') as stream:
        parser.write(stream)
    return file
