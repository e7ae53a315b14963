"""Metrics of one listener for Prometheus, over HTTP. Only imported where they are asked for."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from wsgiref.simple_server import WSGIServer

from edw.claiming.results import Refused, Update
from edw.database.views import QUEUE, Waiting
from edw.errors import EdwError, SettingsError
from edw.listening.metrics import FAILED, OUTCOMES, RETRIED, Metrics, outcome
from edw.listening.steps import Step
from edw.model import documents
from edw.model.documents import Document
from edw.storage import space

try:
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        ProcessCollector,
        disable_created_metrics,
        start_http_server,
    )
    from prometheus_client.core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise SettingsError('--metrics needs the package prometheus_client: pip install -r requirements.txt') from None

# Seconds. A callback takes from a millisecond to hours, and a document may wait for days.
CALLBACK_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000)
WAIT_BUCKETS = (0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400, 604800)

MOST_KINDS = 30  # of failures that are counted apart
OTHER_KINDS = 'others'

disable_created_metrics()  # type: ignore[no-untyped-call]  # a time stamp beside each counter, which no rule needs

log = logging.getLogger(__name__)
T = TypeVar('T', Counter, Gauge, Histogram)


class Exporter(Metrics):
    """Keeps the metrics of one listener, in a registry of its own."""

    views = (QUEUE,)

    def __init__(self, step: Step, folders: Mapping[str, str] | None = None) -> None:
        """`folders` whose disks are measured at each scrape, by name."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._step = step
        self._info = Gauge(
            'edw_listener_info',
            '1, with the name of the listener as it stands in claims, and the step before this one',
            ['step', 'after', 'listener'],
            registry=self.registry,
        )
        attempts = Counter(
            'edw_attempts_total',
            'Attempts at the step, by what became of them: success: the result is recorded; skipped: the step is not '
            'for that document; retried: failed, and to be tried again; failed: the last one failed, and the status '
            'says so; lost: another listener had taken the document over, or somebody edited its process, and the '
            'result was dropped',
            ['step', 'outcome'],
            registry=self.registry,
        )
        self._attempts = {name: attempts.labels(step.name, name) for name in OUTCOMES}
        self._kinds: set[str] = set()
        self._failures = Counter(
            'edw_failures_total',
            'Attempts that failed, by kind: that of the error, or its type',
            ['step', 'kind'],
            registry=self.registry,
        )
        self._callback = self._made(
            Histogram,
            'edw_callback_seconds',
            'Time that the callback took, in whatever way it ended',
            buckets=CALLBACK_BUCKETS,
        )
        self._wait = self._made(
            Histogram,
            'edw_wait_seconds',
            'Time from when a document came to wait (`finished` of its last entry, `datecreated` of a new one, both by '
            'the clock of the machine that wrote them) until this listener claimed it',
            buckets=WAIT_BUCKETS,
        )
        self._waiting = self._made(
            Gauge, 'edw_documents_waiting', 'Documents that wait for the step, as counted at the last sweep'
        )
        self._oldest = self._made(
            Gauge,
            'edw_oldest_waiting_timestamp_seconds',
            'Since when the oldest of them waits, in seconds since the epoch; NaN where none does',
        )
        self._in_flight = self._made(
            Gauge, 'edw_documents_in_flight', 'Documents that this listener has claimed and not yet written back'
        )
        self._released = self._made(
            Counter,
            'edw_claims_released_total',
            'Claims of other listeners of the step that this one released, because they had written no heartbeat for '
            'a lease',
        )
        self._outages = self._made(
            Counter, 'edw_server_outages_total', 'Times that the database server stopped answering'
        )
        self._reached = self._made(
            Gauge,
            'edw_server_last_contact_timestamp_seconds',
            'When the database server last answered, in seconds since the epoch; 0 where it never did',
        )
        self._waits = self._made(
            Gauge,
            'edw_step_waits_since_timestamp_seconds',
            'Since when the step waits for a place that is away (a full disk, a mount, a host) or because everything '
            'failed alike, in seconds since the epoch; NaN where it does not',
        )
        self._waits.set(math.nan)
        self.registry.register(_Disks(folders or {}))
        # Both are unknown until the first sweep.
        self._waiting.set(math.nan)
        self._oldest.set(math.nan)

    def _made(self, kind: type[T], name: str, text: str, **options: Any) -> T:
        return kind(name, text, ['step'], registry=self.registry, **options).labels(self._step.name)

    def follow(self, listener: str, in_flight: Callable[[], int]) -> None:
        """Say who measures, and ask how many documents are in flight at each scrape."""
        self._info.labels(self._step.name, str(self._step.after), listener).set(1)
        self._in_flight.set_function(in_flight)

    def reached(self) -> None:
        """Take the time of the server's answer."""
        self._reached.set(time.time())

    def outage(self) -> None:
        """Count an outage."""
        self._outages.inc()

    def claimed(self, docs: list[Document]) -> None:
        """Measure how long documents waited."""
        now = time.time()
        for doc in docs:
            since = documents.waiting_since(doc)
            if since is not None:
                self._wait.observe(max(0.0, now - since))  # a clock that is ahead of this one

    def ran(self, seconds: float) -> None:
        """Measure a callback."""
        self._callback.observe(seconds)

    def settled(self, update: Update, written: Document | Refused | None) -> None:
        """Count an attempt."""
        name = outcome(update, written)
        if name is not None:
            self._attempts[name].inc()
        if name in (RETRIED, FAILED) and update.is_failure and update.record is not None:
            kind = documents.failure_kind_of(update.record)
            # A label for each is kept for good, and a step may name its kinds as it likes.
            self._kinds.add(kind if len(self._kinds) < MOST_KINDS else OTHER_KINDS)
            self._failures.labels(self._step.name, kind if kind in self._kinds else OTHER_KINDS).inc()

    def released(self, claims: int) -> None:
        """Count claims."""
        self._released.inc(claims)

    def waits(self, since: float | None) -> None:
        """Keep since when the step waits."""
        self._waits.set(math.nan if since is None else since)

    def swept(self, waiting: Waiting) -> None:
        """Keep what the database says of the documents that wait."""
        self._waiting.set(waiting.documents)
        self._oldest.set(math.nan if waiting.since is None else waiting.since)


class _Disks(Collector):
    """How full disks are. Those that are not there, or do not answer, are left out of a scrape and do not delay it."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def collect(self) -> Iterator[Metric]:
        free = GaugeMetricFamily(
            'edw_disk_free_bytes', 'Bytes that may still be written to the disk of this folder', labels=['folder']
        )
        size = GaugeMetricFamily('edw_disk_size_bytes', 'Bytes of the disk of this folder', labels=['folder'])
        for name, folder in self._folders.items():
            found = space.usage(folder)
            if found is not None:
                free.add_metric([name], found.free)
                size.add_metric([name], found.total)
        yield free
        yield size


def serve(exporter: Exporter, host: str, port: int) -> WSGIServer:
    """Answer scrapes in a thread of its own, on port `port` of the address `host`; 0 takes a free one.

    Raises EdwError where the port cannot be had.
    """
    try:
        server, _ = start_http_server(port, host, exporter.registry)
    except OSError as error:
        raise EdwError(f'--metrics: {host}:{port} cannot be listened on: {error.strerror or error}') from None
    log.info('metrics: http://%s:%d/metrics', f'[{host}]' if ':' in host else host, server.server_port)
    return server
