"""What all scripts share on the command line: options, log, and how an expected error ends them."""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from edw import __version__
from edw.config import LAST_PORT, LONGEST, MOST, MOST_WORKERS
from edw.errors import EdwError, SettingsError, Unavailable
from edw.redact import redact

LOOPBACK = '127.0.0.1'
BELOW = '    '  # of what stands below a command in a script's help
COMMAND = re.compile(r'\w+\.py\b')
INTERRUPTED = 130  # exit code of a script that Ctrl-C ended, as of a shell


def parser(description: str | None, *, reads_settings: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every script has; `--config` where it reads settings."""
    # An option is written out: what is the beginning of one only today would be that of two when another comes.
    made = argparse.ArgumentParser(
        description=_fitted(description or '', shutil.get_terminal_size().columns),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument('--version', action='version', version=f'edw {__version__}')
    if reads_settings:
        made.add_argument('--config', metavar='FILE', help='settings file (default: edw.ini beside the scripts)')
    return made


def _fitted(description: str, width: int) -> str:
    """A script's docstring on lines of `width`; what a command does stands below it where there is no room beside."""
    return '\n\n'.join(_fitted_block(block, width) for block in description.split('\n\n'))


def _fitted_block(block: str, width: int) -> str:
    if max(map(len, block.splitlines()), default=0) <= width:
        return block
    if not COMMAND.match(block):
        return textwrap.fill(block, width, break_on_hyphens=False)
    lines = []
    for entry in re.split(r'\n(?=\S)', block):
        command, _, said = entry.partition('  ')
        said = ' '.join(said.split())
        lines += [command, *textwrap.wrap(said, width, initial_indent=BELOW, subsequent_indent=BELOW)]
    return '\n'.join(lines)


def count(text: str) -> int:
    """Type of an option that is a whole number, 1 to MOST."""
    return _whole(text, 1, MOST)


def workers(text: str) -> int:
    """Type of an option that is a number of workers, 1 to MOST_WORKERS."""
    return _whole(text, 1, MOST_WORKERS)


def port(text: str) -> int:
    """Type of an option that is a port; 0 takes a free one."""
    return _whole(text, 0, LAST_PORT)


def seconds(text: str) -> float:
    """Type of an option that is a time in seconds, more than 0, LONGEST at most."""
    value = _number(text)
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of seconds, more than 0 and {LONGEST:g} at most')
    return value


def number_of(what: str, most: float) -> Callable[[str], float]:
    """Type of an option that is a number of `what`, 0 to `most`."""

    def checked(text: str) -> float:
        value = _number(text)
        if not 0 <= value <= most:
            raise argparse.ArgumentTypeError(f'{text!r} is not a number of {what}, 0 to {most:g}')
        return value

    return checked


def text_without(problem_of: Callable[[str], str | None]) -> Callable[[str], str]:
    """Type of an option that is a text, but for one with a problem."""

    def checked(text: str) -> str:
        if problem := problem_of(text):
            raise argparse.ArgumentTypeError(problem)
        return text

    return checked


def moment(text: str) -> float:
    """Type of an option that is a time here, as seconds since the epoch."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f'{text!r} is no time like 2026-01-31 or 2026-01-31T14:00') from None


def address(text: str) -> tuple[str, int]:
    """Type of an option that is a port, of this machine alone, or HOST:PORT. An IPv6 address stands in [brackets]."""
    name, _, number = text.rpartition(':')
    try:
        at = port(number)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f'{text!r} is not [HOST:]PORT, with a port from 0 to {LAST_PORT}') from None
    return host(name.removeprefix('[').removesuffix(']')) or LOOPBACK, at


def host(text: str) -> str:
    """Type of an option that is an address or the name of a host."""
    try:
        text.encode('idna')  # as looking it up does, which would raise this
    except UnicodeError:
        raise argparse.ArgumentTypeError(f'{text!r} can be no name of a host') from None
    return text


def add_asking(made: argparse.ArgumentParser, done: str) -> None:
    """Add the options of a script that shows what would be `done`, and asks: `--yes` and `--dry-run`."""
    asking = made.add_mutually_exclusive_group()
    asking.add_argument('--yes', action='store_true', help='do not ask; for scripts')
    asking.add_argument('--dry-run', action='store_true', help=f'only show what would be {done}')


def check_asking(arguments: argparse.Namespace, to: str) -> None:
    """Raises SettingsError where nobody is there to be asked, and neither `--yes` nor `--dry-run` was given."""
    if not (arguments.dry_run or arguments.yes or sys.stdin.isatty()):
        raise SettingsError(f'There is no terminal to ask at. Give --yes to {to}, or --dry-run to look only.')


def is_confirmed(arguments: argparse.Namespace, question: str, done: str) -> bool:
    """Whether `--yes` was given, or somebody at the terminal says so; else it is said that nothing was `done`."""
    if arguments.yes:
        return True
    print(f'{question}? [y/N] ', end='', flush=True)
    if sys.stdin.readline().strip().lower() in ('y', 'yes'):
        return True
    print(f'nothing was {done}')
    return False


def on_stop(stop: Callable[[], object]) -> None:
    """Have Ctrl-C and `kill` call `stop`; the second time they end the script, without waiting for anything."""

    def stopped(number: int, frame: object) -> None:
        stop()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)


def _number(text: str) -> float:
    """Not a number for what is none: it fails each comparison."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole(text: str, least: int, most: int) -> int:
    # The length first: Python refuses to read numbers of thousands of digits, in words of its own.
    if not text.isdecimal() or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from {least} to {most}')
    return int(text)


def ending(work: Callable[[], int | None]) -> int:
    """Run a script's work; returns its exit code, an expected error printed without a traceback.

    Output that cannot be written never breaks work off. That its reader, such as `head`, has seen enough is no error;
    anything else, such as a full disk, is said at the end, and the code is not 0.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` cleans up as Ctrl-C does
    _make_streams_safe()
    try:
        return max(work() or 0, _finish_output())
    except EdwError as error:
        sys.stdout.flush()
        print(redact(f'error: {error}'), file=sys.stderr)
        if isinstance(error, Unavailable) and error.way_out:
            print(error.way_out, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ended:  # of argparse
        if _finish_output() and not ended.code:
            ended.code = EdwError.exit_code
        raise


def output_error() -> OSError | None:
    """Why standard output could not be written to; None where it could. For what prints until it is told to stop."""
    return _output.error if _output is not None else None


class _Output(io.FileIO):
    """A standard stream that drops all that comes after an error, and remembers that.

    To raise it here would break work off at any line that is printed, or at the interpreter's end.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


_output: _Output | None = None  # standard output, in a process that is a script


def _finish_output() -> int:
    """The exit code as far as output goes; says why it could not be written."""
    sys.stdout.flush()
    error = output_error()
    if error is None or isinstance(error, BrokenPipeError):
        return 0
    print(f'error: standard output cannot be written to: {error.strerror}', file=sys.stderr)
    return EdwError.exit_code


def _make_streams_safe() -> None:
    """Let no stream end a script: not one that is closed or full, nor characters that its encoding does not have."""
    global _output
    for name in ('stdin', 'stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            # Closed when the script was started. Its number, the lowest that is free, is taken here, or the next file
            # or connection would get it, and what a child process prints.
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, 'r' if name == 'stdin' else 'w', encoding='utf-8'))  # noqa: SIM115
        elif not isinstance(stream, io.TextIOWrapper):
            continue  # somebody's who calls a script in a program of his own
        elif name == 'stdin':
            stream.reconfigure(errors='replace')
        elif stream is not getattr(sys, f'__{name}__'):
            stream.reconfigure(errors='backslashreplace')
        else:
            stream.flush()
            raw = _Output(stream.fileno(), 'wb', closefd=False)
            made = io.TextIOWrapper(
                # As Python does it where it is told not to buffer.
                cast(io.BufferedWriter, raw) if stream.write_through else io.BufferedWriter(raw),
                stream.encoding,
                'backslashreplace',
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, made)
            if name == 'stdout':
                _output = raw
