"""Telling somebody that the state has changed: a command of the operator's, once for each change.

`--check` runs once and ends, so what was told last is kept between two of them: in a file of the user's. A document of
the database would be one for all: of two operators, each with a command of their own, only the first would be told. And
it could not be written when the database is away, which is a change that somebody wants to hear of.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from edw.errors import EdwError

PATIENCE = 60.0  # seconds that the command may take
NOT_TOLD = 'The change is told again by the next --check.'


def tell_of_change(command: str, check: Iterable[str], problems: Iterable[str], line: str) -> None:
    """Run the command, with the line on its standard input, if there are new problems, or none any more.

    `check` is what tells this check from others of the same user: the database and the options; `problems` are keys
    that stay the same while a problem lasts. Raises EdwError where the command fails, or where what was told cannot be
    kept: then the change is told again the next time.
    """
    now = set(problems)
    with contextlib.ExitStack() as kept:
        try:
            file = kept.enter_context(_locked(_file_of([*check, command])))
            before = _read(file)
        except (OSError, RuntimeError) as error:  # the latter without a home
            if now:
                _run(command, line)  # rather too often than never
            raise EdwError(f'--notify: what was told cannot be kept, and is told again: {error}') from None
        if now - before or (before and not now):
            _run(command, line)
        if now != before:
            _write(file, now)


def _file_of(check: Iterable[str]) -> Path:
    """Where the user's programs keep their state. Source: XDG Base Directory Specification 0.8."""
    given = Path(os.environ.get('XDG_STATE_HOME', ''))
    folder = given if given.is_absolute() else Path.home() / '.local' / 'state'
    return folder / 'edw' / f'check-{hashlib.sha256(json.dumps([*check]).encode()).hexdigest()[:16]}.json'


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    """The file, for this process alone: a check that takes its time meets the next one, and one of them tells."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open('a+', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _read(file: IO[str]) -> set[str]:
    """The problems that were told; none where the file is new, or was cut off by a full disk."""
    file.seek(0)
    try:
        told = json.load(file)
    except ValueError:
        return set()
    return {key for key in told if isinstance(key, str)} if isinstance(told, list) else set()


def _write(file: IO[str], problems: set[str]) -> None:
    try:
        file.seek(0)
        file.truncate()
        json.dump(sorted(problems), file)
        file.flush()
    except OSError as error:
        raise EdwError(f'--notify: what was told cannot be kept, and is told again: {error}') from None


def _run(command: str, line: str) -> None:
    """As cron runs it. Its output goes to stderr: stdout has the line alone."""
    # In a session of its own, so that all that it started can be ended with it.
    with subprocess.Popen(
        ['/bin/sh', '-c', command], stdin=subprocess.PIPE, stdout=2, start_new_session=True
    ) as process:
        try:
            process.communicate(f'{line}\n'.encode('utf-8', 'replace'), PATIENCE)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise EdwError(f'--notify: the command takes longer than {PATIENCE:g} s. {NOT_TOLD}') from None
            raise
    if process.returncode:
        raise EdwError(f'--notify: the command ended with code {process.returncode}. {NOT_TOLD}')
