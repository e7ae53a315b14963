"""Task queues that do the same work: Celery with Redis, Procrastinate with PostgreSQL, where they are installed.

Their servers are started on loopback, in temporary folders, as they come, and ended with the bench.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.contenders import Contender
from bench.processes import Processes
from bench.work import LIMIT, STEPS, documents, paced, wait_until

CELERY, PROCRASTINATE = 'bench.contenders.celery_tasks', 'bench.contenders.procrastinate_tasks'  # what workers run
POSTGRESQL = '/usr/lib/postgresql/*/bin'  # where Debian has the server's programs
SERVER_USER = 'postgres'  # of Debian's package; the server refuses to be run by root


class Celery:
    """A chain of two tasks for each document; results are kept in Redis. Prefork workers, as Celery starts them."""

    def __init__(self, folder: Path) -> None:
        from bench.contenders import celery_tasks

        self._tasks = celery_tasks
        self._folder = folder

    @contextlib.contextmanager
    def _workers(self, listeners: int) -> Iterator[None]:
        folder = self._folder / f'celery-{time.monotonic_ns()}'
        folder.mkdir()
        with Processes(folder) as processes:
            arguments = ['worker', '--concurrency', str(listeners * len(STEPS)), '--loglevel', 'INFO']
            processes.start([sys.executable, '-m', 'celery', '-A', CELERY, *arguments], 'ready.')
            yield

    def throughput(self, number: int, listeners: int) -> float:
        """See Contender."""
        with self._workers(listeners):
            started = time.perf_counter()
            results = [self._submit(doc) for doc in documents(0, number)]
            wait_until(lambda: results[-1].ready() and all(result.ready() for result in results), True)
            return time.perf_counter() - started

    def latencies(self, number: int, rate: float, listeners: int) -> list[float]:
        """See Contender. Until the end of the second task, without the keeping of its result."""
        with self._workers(listeners):
            submitted = [(time.time(), self._submit(doc)) for doc in paced(documents(0, number), rate)]
            return [result.get(timeout=LIMIT)[1] - begun for begun, result in submitted]

    def _submit(self, doc: dict) -> object:
        return (self._tasks.move_to_sps.s(doc) | self._tasks.signal_processing.s()).apply_async()


class Procrastinate:
    """Two jobs for each document, the first of which defers the second; finished jobs stay in their table."""

    def __init__(self, folder: Path) -> None:
        from bench.contenders import procrastinate_tasks

        self._app = procrastinate_tasks.app
        self._folder = folder
        self._next = 0

    @contextlib.contextmanager
    def _workers(self, listeners: int) -> Iterator[None]:
        folder = self._folder / f'procrastinate-{time.monotonic_ns()}'
        folder.mkdir()
        with Processes(folder) as processes:
            for step in STEPS:
                for _ in range(listeners):
                    processes.start([sys.executable, '-m', PROCRASTINATE, step], 'listening')
            yield

    def throughput(self, number: int, listeners: int) -> float:
        """See Contender."""
        with self._workers(listeners), self._sync() as app:
            docs = self._new(number)
            end = self._succeeded() + len(STEPS) * number
            started = time.perf_counter()
            app.tasks[STEPS[0]].batch_defer(*({'doc': doc} for doc in docs))
            wait_until(self._succeeded, end)
            return time.perf_counter() - started

    def latencies(self, number: int, rate: float, listeners: int) -> list[float]:
        """See Contender. By the times that the database notes."""
        with self._workers(listeners), self._sync() as app:
            docs = self._new(number)
            end = self._succeeded() + len(STEPS) * number
            for doc in paced(docs, rate):
                app.tasks[STEPS[0]].defer(doc=doc)
            wait_until(self._succeeded, end)
            rows = self._query(
                """SELECT extract(epoch FROM max(e.at) FILTER (WHERE e.type = 'succeeded') -
                                             min(e.at) FILTER (WHERE e.type = 'deferred'))
                   FROM procrastinate_jobs j JOIN procrastinate_events e ON e.job_id = j.id
                   WHERE j.args->'doc'->>'_id' = ANY(%s) GROUP BY j.args->'doc'->>'_id' ORDER BY min(e.at)""",
                ([doc['_id'] for doc in docs],),
            )
        return [float(seconds) for (seconds,) in rows]

    def _new(self, number: int) -> list[dict]:
        start, self._next = self._next, self._next + number
        return documents(start, number)

    @contextlib.contextmanager
    def _sync(self) -> Iterator[object]:
        from procrastinate import SyncPsycopgConnector

        connector = SyncPsycopgConnector(conninfo=os.environ['BENCH_POSTGRESQL'])
        with self._app.replace_connector(connector) as app, app.open():
            yield app

    def _succeeded(self) -> int:
        return self._query("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'", ())[0][0]

    def _query(self, query: str, parameters: tuple[object, ...]) -> list[tuple]:
        import psycopg

        with psycopg.connect(os.environ['BENCH_POSTGRESQL']) as connection:
            return connection.execute(query, parameters).fetchall()


@contextlib.contextmanager
def task_queues(folder: Path, only: list[str] | None) -> Iterator[dict[str, Contender]]:
    """Those that are wanted and installed, with their servers running; what is missing is said on stderr."""
    found: dict[str, Contender] = {}
    with contextlib.ExitStack() as stack:
        for name, kind, server, packages, program in (
            ('celery', Celery, redis, ('celery', 'redis'), shutil.which('redis-server')),
            ('procrastinate', Procrastinate, _postgres, ('procrastinate', 'psycopg'), _postgresql()),
        ):
            if only and name not in only:
                continue
            missing = [package for package in packages if importlib.util.find_spec(package) is None]
            if missing or not program:
                what = ', '.join(missing) or 'its server'
                print(f'{name} is left out: {what} is not installed (make bench-peers)', file=sys.stderr)
                continue
            stack.enter_context(server(folder))
            found[name] = kind(folder)
        yield found


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[None]:
    """A server on a free port, at the URL in BENCH_REDIS."""
    place, port = folder / 'redis', _free_port()
    place.mkdir()
    with Processes(place) as processes:
        options = ['--port', str(port), '--bind', '127.0.0.1', '--dir', str(place)]
        processes.start(['redis-server', *options], 'Ready to accept connections')
        os.environ['BENCH_REDIS'] = f'redis://127.0.0.1:{port}/0'
        yield


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[None]:
    programs, port = Path(_postgresql() or ''), _free_port()
    place = folder / 'postgresql'
    place.mkdir()
    user: dict[str, str] = {}
    if os.geteuid() == 0:
        user = {'user': SERVER_USER, 'group': SERVER_USER}
        shutil.chown(place, SERVER_USER, SERVER_USER)
        folder.chmod(0o711)  # the server's user has to get through to its own folder
    data = place / 'data'
    subprocess.run(
        [programs / 'initdb', '-D', data, '-U', 'bench', '--auth=trust'], check=True, capture_output=True, **user
    )
    with Processes(folder) as processes:
        options = ['-D', str(data), '-p', str(port), '-h', '127.0.0.1', '-k', str(place)]
        processes.start([str(programs / 'postgres'), *options], 'ready to accept connections', user=user)
        os.environ['BENCH_POSTGRESQL'] = f'host=127.0.0.1 port={port} user=bench dbname=postgres'
        subprocess.run(
            [sys.executable, '-m', 'procrastinate', f'--app={PROCRASTINATE}.app', 'schema', '--apply'],
            check=True,
            capture_output=True,
        )
        yield


def _postgresql() -> str | None:
    """Folder of PostgreSQL's server programs."""
    found = shutil.which('postgres') or next(iter(map(str, Path('/').glob(f'{POSTGRESQL[1:]}/postgres'))), None)
    return found and str(Path(found).parent)


def _free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listening:
        return listening.getsockname()[1]
