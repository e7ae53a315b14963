"""The scripts, as processes as a user runs them, or called within the test's own."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType

from edw import cli

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 60.0  # seconds after which a test gives up waiting
OFTEN, SELDOM = 0.02, 0.25  # seconds between two looks at what is waited for
# For `call`, where the processes of the analysis are not what a test is about: each takes 0.7 s of CPU to start.
ANALYSIS = ('listen_analysis1.py', '--once', '--engine', 'threads')


class Process:
    """A running script, and what it has said so far on stdout and stderr together."""

    def __init__(self, command: list[str], **options: object) -> None:
        self._popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', **options
        )
        self.pid = self._popen.pid
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that it has said."""
        with self._said:
            return ''.join(self._lines)

    def wait_for(self, text: str, times: int = 1, limit: float = LIMIT) -> None:
        """Wait until a text was said so many times."""
        with self._said:
            self._said.wait_for(lambda: self._ended or self._count(text) >= times, limit)
            found = self._count(text)
        assert found >= times, f'{text!r} was said {found} times, not {times}, in:\n{self.output}'

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def send(self, number: int) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def end(self, limit: float = LIMIT) -> int:
        """Wait for the end; returns the exit code."""
        try:
            code = self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'still running after {limit} s:\n{self.output}') from None
        self._reader.join()
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit code."""
        self.send(number)
        return self.end()

    def kill(self) -> None:
        """End it whatever it does."""
        if self._popen.poll() is None:
            self._popen.kill()
        self.end()

    def _count(self, text: str) -> int:
        return sum(text in line for line in self._lines)

    def _read(self) -> None:
        with self._popen.stdout as stream:
            for line in stream:
                with self._said:
                    self._lines.append(line)
                    self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


class Scripts:
    """Starts scripts with one settings file; all that still run are ended with the block."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self._started: list[Process] = []

    def __enter__(self) -> Scripts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._started:
            process.kill()

    def start(self, script: str | Path, *arguments: str, first: tuple[str, ...] = (), **options: object) -> Process:
        """Start a script; `first` are arguments that it takes before all others."""
        command = [sys.executable, str(ROOT / script), *first, '--config', str(self.config), *arguments]
        process = Process(command, **options)
        self._started.append(process)
        return process

    def listen(self, script: str | Path, *arguments: str, **options: object) -> Process:
        """Start a listener, and wait until it listens."""
        process = self.start(script, *arguments, **options)
        process.wait_for('listening for ')
        return process

    def run(self, script: str | Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        command = [sys.executable, str(ROOT / script), '--config', str(self.config), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=2 * LIMIT, check=False, stdin=subprocess.DEVNULL, **options
        )

    def call(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same as `run` without a process, in a tenth of the time: for scripts that have `main(argv)`."""
        main = importlib.import_module(Path(script).stem).main
        return called(main, '--config', str(self.config), *arguments)


def called(main: Callable[[list[str]], int], *arguments: str) -> subprocess.CompletedProcess[str]:
    """How `main(argv)` of a script ends, and what it says; nothing that it sets outlives the call."""
    stdout, stderr = (
        io.TextIOWrapper(io.BytesIO(), 'utf-8', errors, write_through=True) for errors in ('strict', 'backslashreplace')
    )
    with (
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        _nobody_to_ask(),
        _own_log(),
        _own_signals(),
    ):
        try:
            code = cli.ending(partial(main, list(arguments)))
        except SystemExit as ended:
            code = ended.code  # of argparse
    said = [stream.buffer.getvalue().decode() for stream in (stdout, stderr)]
    return subprocess.CompletedProcess(arguments, code, *said)


@contextlib.contextmanager
def _nobody_to_ask() -> Iterator[None]:
    before = sys.stdin
    with open(os.devnull, encoding='utf-8') as sys.stdin:
        try:
            yield
        finally:
            sys.stdin = before


@contextlib.contextmanager
def _own_log() -> Iterator[None]:
    """A block in which logging is as in a new process: pytest's handlers would make `logs.set_up` do nothing."""
    loggers = [logging.getLogger(name) for name in (None, 'edw', 'listener')]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers[:], logger.level = [], logging.NOTSET
    loggers[0].setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until(condition: object, limit: float = LIMIT, every: float | None = None) -> None:
    """Wait until a condition of the world outside is true, where nothing tells of it.

    It is asked `every` so many seconds; by itself at first often and then less, because most ask a server, and a fifth
    of a processor is soon spent on nothing but that.
    """
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        assert waited < limit, f'not so after {limit} s: {condition}'
        time.sleep(every or min(max(waited / 4, OFTEN), SELDOM))
