"""What all scripts share on the command line: options, log, and how an expected error ends them."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
from collections.abc import Callable

from edw import __version__
from edw.errors import EdwError
from edw.redact import redact

LOOPBACK = '127.0.0.1'
INTERRUPTED = 130  # exit code of a script that Ctrl-C ended, as of a shell


def parser(description: str | None, *, reads_settings: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every script has; `--config` where it reads settings."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument('--version', action='version', version=f'edw {__version__}')
    if reads_settings:
        made.add_argument('--config', metavar='FILE', help='settings file (default: edw.ini beside the scripts)')
    return made


def count(text: str) -> int:
    """Type of an option that is a whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number, 1 or more')
    return int(text)


def port(text: str) -> int:
    """Type of an option that is a port; 0 takes a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f'{text!r} is not a port, 0 to 65535')
    return int(text)


def seconds(text: str) -> float:
    """Type of an option that is a time in seconds, more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of seconds, more than 0')
    return value


def address(text: str) -> tuple[str, int]:
    """Type of an option that is a port, of this machine alone, or HOST:PORT. An IPv6 address stands in [brackets]."""
    host, _, port = text.rpartition(':')
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f'{text!r} is not [HOST:]PORT, with a port from 0 to 65535')
    return host.removeprefix('[').removesuffix(']') or LOOPBACK, int(port)


def ending(work: Callable[[], int | None]) -> int:
    """Run a script's work; returns its exit code, an expected error printed without a traceback."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` cleans up as Ctrl-C does
    try:
        return work() or 0
    except EdwError as error:
        sys.stdout.flush()
        print(redact(f'error: {error}'), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return INTERRUPTED
