"""The processes of a contender: started with their output in files, waited for, and ended."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType

from local_couchdb import stop

ROOT = Path(__file__).resolve().parent.parent
POLL = 0.02  # seconds between two looks at an output
LOOK = 0.5  # seconds between two looks at all that was said
LIMIT = 60.0  # seconds for a process to be ready
STOP_TIMEOUT = 20.0  # seconds for a process to end after a signal


class Processes:
    """Processes that are ended with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[subprocess.Popen] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            stop(process, STOP_TIMEOUT)

    def start(
        self, command: list[str], ready: str, user: Mapping[str, str] | None = None, **environment: str
    ) -> subprocess.Popen:
        """Start a process in the project's folder, as another `user` and `group` if these are given.

        It is ready when it has said `ready`.
        """
        log = self.log_of(len(self.started))
        with open(log, 'wb') as stream:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=stream,
                stderr=subprocess.STDOUT,
                **(user or {}),
            )
        self.started.append(process)
        wait_for(process, log, ready)
        return process

    def log_of(self, number: int) -> Path:
        """The file with the output of the process that was started as the first (0), second, ..."""
        return self._folder / f'{number}.log'

    def wait_for_times(self, said: re.Pattern[str], ids: set[str], limit: float) -> dict[str, float]:
        """Wait until something was said of each of the documents.

        Returns when, in seconds since the epoch, it was last said of each, by the groups `id` and `time` of the lines.
        """
        end = time.monotonic() + limit
        while True:
            times: dict[str, float] = {}
            for log in self._folder.glob('*.log'):
                for line in said.finditer(log.read_text(errors='replace')):
                    at = datetime.fromisoformat(line['time']).timestamp()
                    times[line['id']] = max(at, times.get(line['id'], at))
            if ids <= times.keys():
                return times
            assert time.monotonic() < end, f'{len(ids - times.keys())} documents are not through after {limit:g} s'
            time.sleep(LOOK)


def wait_for(process: subprocess.Popen, log: Path, text: str) -> None:
    """Wait until a process has said a text into its log."""
    limit = time.monotonic() + LIMIT
    while text not in (said := log.read_text(errors='replace')):
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f'{process.args[:4]} is not ready, exit code {process.returncode}:\n{said[-2000:]}')
        time.sleep(POLL)
