"""A Dask cluster of processes on this machine, as batch jobs would make it: a scheduler, workers that come and go."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.scripts import ROOT, Process


@dataclass(frozen=True)
class Event:
    """A line of the journal of tests/farm/step.py."""

    time: float
    word: str
    doc_id: str
    pid: int
    node: int


class Cluster:
    """A scheduler and workers; all of them are ended with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / 'scheduler.json'
        self.workers: list[Process] = []
        self.scheduler: Process | None = None
        self.port = 0
        self.scheme = 'tcp'
        self._names = itertools.count()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.workers, *filter(None, [self.scheduler])]:
            process.send(signal.SIGCONT)
            process.kill()

    @property
    def address(self) -> str:
        return f'{self.scheme}://127.0.0.1:{self.port}'

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, 'PYTHONPATH': str(ROOT), 'EDW_TEST_FOLDER': str(self.folder), **more}

    def start_scheduler(self, *, first: tuple[str, ...] = (), **more: str) -> None:
        """Start it, on the port that it had before, if it had one."""
        self.scheduler = Process(
            [
                *first,
                *dask('scheduler'),
                '--host',
                f'{self.scheme}://127.0.0.1',
                '--port',
                str(self.port),
                '--no-dashboard',
                '--scheduler-file',
                str(self.file),
            ],
            env=self.environment(**more),
            cwd=self.folder,
        )
        self.scheduler.wait_for('Scheduler at:')
        self.port = int(re.search(r't(?:cp|ls)://127.0.0.1:(\d+)', self.scheduler.output).group(1))

    def start_worker(
        self, threads: int = 1, *options: str, at: tuple[str, ...] = (), first: tuple[str, ...] = (), **more: str
    ) -> Process:
        """Start a worker; it is there a moment later. `at` is where it listens, and where others find it."""
        name = f'w{next(self._names)}'
        worker = Process(
            [
                *first,
                *dask('worker'),
                self.address,
                '--no-nanny',
                '--nthreads',
                str(threads),
                *(at or ('--host', f'{self.scheme}://127.0.0.1')),
                '--name',
                name,
                '--no-dashboard',
                '--local-directory',
                str(self.folder / name),
                *options,
            ],
            env=self.environment(**more),
            cwd=self.folder,
        )
        self.workers.append(worker)
        return worker

    def journal(self) -> list[Event]:
        """What callbacks have noted so far."""
        try:
            lines = (self.folder / 'journal').read_text().splitlines()
        except FileNotFoundError:
            return []
        return [
            Event(float(when), word, doc_id, int(pid), int(node))
            for when, word, doc_id, pid, node in map(str.split, lines)
        ]

    def begun(self, doc_id: str | None = None) -> list[Event]:
        return [event for event in self.journal() if event.word == 'begins' and doc_id in (None, event.doc_id)]

    def go(self) -> None:
        """Let callbacks go on that wait."""
        (self.folder / 'go').touch()

    def children(self) -> list[int]:
        """Process ids of all children in which callbacks run."""
        return [pid for worker in self.workers for pid in children_of(worker.pid)]


def dask(what: str) -> list[str]:
    return [sys.executable, '-m', 'dask', what]


def children_of(pid: int) -> list[int]:
    said = subprocess.run(['ps', '--ppid', str(pid), '-o', 'pid=,args='], capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in said.stdout.splitlines() if 'edw.engines.child' in line]


def is_running(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def behind(port: int, found_at: int, host: str = '127.0.0.1') -> tuple[str, ...]:
    """Where a worker listens (`port`), and where others find it, as options."""
    return '--listen-address', f'tcp://{host}:{port}', '--contact-address', f'tcp://{host}:{found_at}'
