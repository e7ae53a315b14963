"""A database of the bench: made with the suite's design document, filled, watched, and deleted again."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import requests

from bench.large import catalogue
from bench.work import STEPS, Document, documents, wait_until
from edw import config
from edw.database import design, warming
from edw.database.client import Database, batches

BULK = 1000  # documents in one request
DESIGN = Path(__file__).resolve().parent.parent / 'design.process.json'

Login = tuple[str, str, str]  # server, user name, password


class Store:
    """A database with the design document, its views built."""

    def __init__(self, server: str, username: str, password: str) -> None:
        dbname = f'bench-{secrets.token_hex(4)}'
        base = config.load()
        self.settings = replace(base, server=server, dbname=dbname, username=username, password=password)
        self.database = Database(self.settings)
        self._next = 0
        self._design = design.read(DESIGN)
        self.database.create()
        design.upload(self.database, self._design)
        self.warm()

    @property
    def url(self) -> str:
        """Of the database."""
        return self.database.url

    @property
    def login(self) -> tuple[str, str]:
        """User name and password."""
        return self.settings.username, self.settings.password

    def delete(self) -> None:
        """Delete the database."""
        requests.delete(self.url, auth=self.login, timeout=60).raise_for_status()

    def warm(self) -> None:
        """Build the views."""
        warming.build_views(self.database, self._design)

    def new(self, number: int) -> list[Document]:
        """New documents that are not in the database yet."""
        return documents(self._take(number), number)

    def put_in(self, docs: list[Document]) -> None:
        """Insert documents."""
        for chunk in batches(docs, BULK):
            assert all('rev' in row for row in self.database.bulk_docs(chunk))

    def fill(self, number: int) -> None:
        """Insert a catalogue of so many documents that are through both steps; its views are not built yet."""
        for start in range(0, number, BULK):
            self.put_in(catalogue.documents(start, min(BULK, number - start)))

    def sequence(self) -> int:
        """How many writes the database has had.

        A sequence is not to be parsed by anybody who wants to go on from it. Here it is the cheapest question that
        tells whether all is written.
        """
        return int(str(self.database.info()['update_seq']).split('-')[0])

    def wait_for_writes(self, sequence: int, docs: list[Document]) -> float:
        """Wait until the database has had so many writes and the documents are through; returns `perf_counter`."""
        while True:
            self.wait_for_sequence(sequence)
            done = time.perf_counter()
            if self.finished(docs) == len(docs):
                return done

    def wait_for_sequence(self, sequence: int) -> None:
        """Wait until the database has had so many writes."""
        wait_until(self.sequence, sequence)

    def finished(self, docs: list[Document]) -> int:
        """How many of the documents are through both steps, each done once."""
        count = 0
        for chunk in batches(docs, BULK):
            for doc in self.database.existing([doc['_id'] for doc in chunk]).values():
                count += tuple(entry['name'] for entry in doc['process']) == STEPS and 'claim' not in doc
        return count

    def _take(self, number: int) -> int:
        start, self._next = self._next, self._next + number
        return start


@contextlib.contextmanager
def store(server: str, username: str, password: str) -> Iterator[Store]:
    """A new database, deleted at the end."""
    made = Store(server, username, password)
    try:
        yield made
    finally:
        made.delete()
