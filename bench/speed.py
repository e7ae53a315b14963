"""Throughput and latency of the contenders, side by side: alternating rounds, of which medians are taken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from bench.contenders import Contender
from bench.contenders.floor import Floor
from bench.contenders.on_couchdb import original, suite
from bench.store import Login, Store, store

ON_COUCHDB: dict[str, Callable[[Store], Contender]] = {'floor': Floor, 'original': original, 'suite': suite}
WARM_UP = 60  # documents
PERCENTILES = {'p50': 0.50, 'p95': 0.95, 'p99': 0.99}

Figures = dict[str, list[float]]  # of each contender, one a round


def throughput(
    login: Login, queues: dict[str, Contender], names: list[str], number: int, listeners: int, rounds: int
) -> Figures:
    """Documents a second through two steps, of documents that are put in at once; each round in a new database."""
    rates: Figures = {name: [] for name in names}
    for _ in range(rounds):
        for name, of_rounds in rates.items():
            with _contender(login, queues, name) as contender:
                of_rounds.append(number / contender.throughput(number, listeners))
    return rates


def latency(
    login: Login, queues: dict[str, Contender], names: list[str], number: int, rate: float, listeners: int
) -> dict[str, dict[str, float]]:
    """Percentiles of the seconds from just before a document is put in until it is through both steps.

    After the first WARM_UP documents, during which processes of all contenders still start others.
    """
    found = {}
    for name in names:
        with _contender(login, queues, name) as contender:
            found[name] = percentiles_of(contender.latencies(WARM_UP + number, rate, listeners)[WARM_UP:])
    return found


def percentiles_of(seconds: list[float]) -> dict[str, float]:
    """Percentiles of times, by their labels."""
    ordered = sorted(seconds)
    return {label: ordered[int(part * (len(ordered) - 1))] for label, part in PERCENTILES.items()}


@contextlib.contextmanager
def _contender(login: Login, queues: dict[str, Contender], name: str) -> Iterator[Contender]:
    if name in queues:
        yield queues[name]
    else:
        with store(*login) as database:
            yield ON_COUCHDB[name](database)
