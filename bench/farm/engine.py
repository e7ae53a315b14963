"""Documents through the engine of a farm, without a database: what it reaches of the ideal, and what one costs.

Callbacks only wait, in the event loop of the node: on a farm they run on machines of their own, of which there are two
cores here.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.farm import floor
from bench.processes import ROOT, Processes
from bench.usage import cpu_seconds
from bench.work import Document, callback, documents
from edw import config
from edw.engines.engine import CannotRun, Workers
from edw.engines.farm import Farm
from tests.farm.clusters import Cluster

MOST_PLACES = 64  # of a node
LIGHT = ROOT / 'tests' / 'farm' / 'light_node.py'
READY = 60.0  # seconds for the farm to have room
ONE_BY_ONE = 200  # documents


@contextmanager
def farm(places: int, seconds: float, light: bool = True) -> Iterator[tuple[Farm, Cluster]]:
    """A farm with so many places for callbacks that take so long, and the engine on it."""
    told: queue.SimpleQueue[Workers | CannotRun] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as folder, Cluster(Path(folder)) as cluster:
        cluster.start_scheduler()
        for first in range(0, places, MOST_PLACES):
            cluster.start_worker(
                min(MOST_PLACES, places - first),
                *(('--preload', str(LIGHT)) if light else ()),
                EDW_LIGHT_SECONDS=str(seconds),
            )
        engine = Farm(callback, config.load(), None, None, told.put, cluster.address)
        try:
            while told.get(timeout=READY) != Workers(places):
                pass
            yield engine, cluster
        finally:
            engine.end()


def seconds_of(engine: Farm, docs: list[Document], ahead: int) -> float:
    """Seconds for the documents through an engine that always has so many."""
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    waiting = iter(docs)

    def submit() -> None:
        for doc in waiting:
            engine.submit(doc).add_done_callback(done.put)
            return

    started = time.perf_counter()
    for _ in range(ahead):
        submit()
    for _ in docs:
        assert not done.get().result().error
        submit()
    return time.perf_counter() - started


def measure(places: int, seconds: float, number: int, rounds: int) -> dict[str, Any]:
    """Documents/s of the engine and of the floor, alternating, and the engine's CPU time (ms) for one."""
    docs = documents(0, number)
    rates: dict[str, list[float]] = {'suite': [], 'floor': []}
    cpu: dict[str, list[float]] = {'listener': [], 'scheduler': [], 'nodes': []}
    with farm(places, seconds) as (engine, cluster), bare(places, seconds) as port:
        assert cluster.scheduler is not None
        seconds_of(engine, docs[: 2 * places], 2 * places)  # until all is warm
        for _ in range(rounds):
            pids = {'scheduler': [cluster.scheduler.pid], 'nodes': [worker.pid for worker in cluster.workers]}
            before = {who: sum(map(cpu_seconds, those)) for who, those in pids.items()}
            own = time.process_time()
            rates['suite'].append(number / seconds_of(engine, docs, 2 * places))
            cpu['listener'].append(1000 * (time.process_time() - own) / number)
            for who, those in pids.items():
                cpu[who].append(1000 * (sum(map(cpu_seconds, those)) - before[who]) / number)
            rates['floor'].append(number / asyncio.run(floor.measure(port, docs, places)))
    return {'documents/s': rates, 'CPU ms': {who: statistics.median(of_it) for who, of_it in cpu.items()}}


def one_by_one(light: bool) -> dict[str, float]:
    """Percentiles (s) of callbacks that do nothing, one after the other: what a farm adds to each."""
    with farm(1, 0.0, light) as (engine, _):
        took = sorted(seconds_of(engine, [doc], 1) for doc in documents(0, ONE_BY_ONE))
    return {'p50': took[len(took) // 2], 'p95': took[len(took) * 95 // 100]}


@contextmanager
def bare(places: int, seconds: float) -> Iterator[int]:
    """The port of a node of the floor."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as folder, Processes(Path(folder)) as processes:
        processes.start([sys.executable, '-m', 'bench.farm.floor', str(port), str(seconds)], 'listening')
        yield port
