"""Those on CouchDB: the suite, the original's pattern, and the floor, each behind the same few methods."""

from __future__ import annotations

import configparser
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import floor
from bench.processes import Processes
from bench.store import Store
from bench.work import STEPS
from edw import config


class Contender(Protocol):
    """Does two steps on documents. All times are in seconds."""

    name: str

    def throughput(self, number: int, listeners: int) -> float:
        """Seconds from putting in the first document to the last result, with so many listeners a step."""


@dataclass
class OnCouchDB:
    """A contender whose listeners are processes that follow a database."""

    name: str
    store: Store
    module: str
    ready: str
    writes: int  # that each document gets after it was put in

    @contextlib.contextmanager
    def running(self, listeners: int) -> Iterator[Processes]:
        """So many listeners for each step, ready."""
        with tempfile.TemporaryDirectory(prefix='edw-bench-') as name, Processes(Path(name)) as processes:
            file = _settings_file(self.store, Path(name))
            username, password = self.store.login
            for number in range(len(STEPS)):
                for _ in range(listeners):
                    options = ['--config', str(file)] if self.module == 'bench.step' else []
                    processes.start(
                        [sys.executable, '-m', self.module, str(number), *options],
                        self.ready,
                        BENCH_DATABASE=self.store.url,
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


class Floor:
    """One client, back to back."""

    name = 'floor'

    def __init__(self, store: Store) -> None:
        self._store = store

    def throughput(self, number: int, listeners: int) -> float:
        """See Contender; there are no listeners."""
        return floor.run(self._store.url, self._store.login, self._store.new(number))


def suite(store: Store) -> OnCouchDB:
    """This project: a claim and a result for each step."""
    return OnCouchDB('suite', store, 'bench.step', 'listening for', writes=4)


def original(store: Store) -> OnCouchDB:
    """The original's pattern: a result for each step."""
    return OnCouchDB('original', store, 'bench.original', 'listening', writes=2)


def _settings_file(store: Store, folder: Path) -> Path:
    """The settings as they are shipped, but for server, database and login."""
    parser = configparser.RawConfigParser()
    parser.read(config.DEFAULT_FILE, encoding='utf-8')
    for option in ('server', 'dbname', 'username', 'password'):
        parser.set('Cloudant', option, getattr(store.settings, option))
    file = folder / 'edw.ini'
    with open(file, 'w', encoding='utf-8') as stream:
        parser.write(stream)
    return file
