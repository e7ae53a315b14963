"""The process on a farm's node in which callbacks run, one after the other, and the order that it is told first.

`python -m edw.engines.child FD PARENT` is started by `edw.engines.node`, which ends it when a callback takes too long
or is not wanted any more. It cannot be one that multiprocessing starts: that would import the main module of its
parent, which is Dask's.

A callback is found by its script's path and its name, as `spawn` of multiprocessing does it: no code is sent. A script
in the suite's own folder is found in that of the node, wherever it is there. Settings go without their secrets, and so
do the documents' database and login: only the listener speaks to the database.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import operator
import os
import runpy
import signal
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from edw import __version__, config, software
from edw.config import OPTIONS, Settings
from edw.engines.callbacks import Callback, describe, run_callback
from edw.engines.processes import SIGNALS_TO_STOP, be_killed_with_parent
from edw.errors import EdwError, SettingsError

READY, UNFIT, LINE, OUTCOME = b'ready', b'unfit', b'line', b'outcome'  # what it says, each with a value as JSON
PROJECT = Path(__file__).resolve().parent.parent.parent
MAIN = '__main__'
PYTHON = '.'.join(map(str, sys.version_info[:2]))  # another one may lack what a script needs

Order = dict[str, Any]


class WrongNode(EdwError):
    """A node has another Python or another version of the suite, or has not the step's script."""


def make_order(
    callback: Callback,
    settings: Settings,
    listener: str,
    level: int,
    timeout: float | None,
    packages: tuple[str, ...] = (),
) -> bytes:
    """The order of one listener. `level` is that of its log, `timeout` in seconds; `packages` are those that it names.

    Raises SettingsError where no other process would find the callback.
    """
    module, name = getattr(callback, '__module__', None), getattr(callback, '__qualname__', '')
    script = getattr(sys.modules.get(str(module)), '__file__', None)
    try:
        is_found = module is not None and operator.attrgetter(name)(sys.modules[module]) is callback
    except (AttributeError, KeyError):
        is_found = False
    if not is_found or script is None:
        raise SettingsError(
            'on a farm the callback must be a function at the top level of its script, '
            f'so that the nodes find it: {callback!r} is not.'
        )
    order = {
        'version': __version__,
        'python': PYTHON,
        'listener': listener,
        'module': module,
        'script': _as_seen_from_the_suite(script),
        'name': name,
        'settings': {'file': str(settings.file), **_without_secrets(settings)},
        'level': level,
        'timeout': timeout,
        'packages': packages,
    }
    return json.dumps(order).encode()


def environment() -> dict[str, str]:
    """The environment of a process that runs callbacks on a node: the suite is on its path."""
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get('PYTHONPATH')])])
    return {**os.environ, 'PYTHONPATH': path}


def main(fd: int, parent: int) -> None:
    """Import the step, and run its callback on each document that comes, until the other end is closed."""
    for number in SIGNALS_TO_STOP:
        signal.signal(number, signal.SIG_IGN)  # for the worker, which ends this process itself
    be_killed_with_parent()
    if os.getppid() != parent:
        return  # it ended before the kernel knew
    connection = socket.socket(fileno=fd)
    said, heard = _Mouth(connection), connection.makefile('rb')
    order = json.loads(heard.readline())
    _log_to(said, order['level'])
    try:
        settings = _settings_of(order)
        config.hide_secrets(settings)
        config.current.set(settings)
        _check(order)
        callback = _callback_of(order)
    except (Exception, SystemExit) as error:
        said.say(
            UNFIT,
            str(error) if isinstance(error, WrongNode) else f'the step cannot be imported there: {describe(error)}',
        )
        return
    packages = tuple(order['packages'])
    software.here(packages)  # as it is now, and not when the first document comes
    said.say(READY, None)
    while line := heard.readline():
        said.say(OUTCOME, asdict(run_callback(callback, json.loads(line), packages)))


class _Mouth:
    """Says things to the worker, from any thread, each in one line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    def say(self, what: bytes, value: Any) -> None:
        with self._lock:
            self._connection.sendall(b'%s %s\n' % (what, json.dumps(value).encode()))


class _Lines(logging.Handler):
    """Sends what is logged to the listener, in whose log it is to stand."""

    def __init__(self, said: _Mouth) -> None:
        super().__init__()
        self._said = said
        self.setFormatter(logging.Formatter())  # the message and the traceback

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._said.say(LINE, [record.name, record.levelno, self.format(record)])
        except Exception:
            self.handleError(record)


def _log_to(said: _Mouth, level: int) -> None:
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines(said)])
    for name in ('edw', 'listener'):
        logging.getLogger(name).setLevel(level)


def _without_secrets(settings: Settings) -> dict[str, Any]:
    """What stands in the settings, but for passwords and keys, which are empty."""
    return {option.name: '' if option.secret else getattr(settings, option.name) for option in OPTIONS}


def _settings_of(order: Order) -> Settings:
    """The settings that callbacks of an order work with."""
    return Settings(**{**order['settings'], 'file': Path(order['settings']['file'])})


def _check(order: Order) -> None:
    """Raises WrongNode, with both versions, where this process cannot do what the listener would."""
    for what, here in (('version', __version__), ('python', PYTHON)):
        if order[what] != here:
            named = {'version': 'the suite', 'python': 'Python'}[what]
            raise WrongNode(f'{named} is {here} there and {order[what]} here')
    if not _script(order).exists():
        raise WrongNode(f'there is no script {_script(order)} there')


def _callback_of(order: Order) -> Callback:
    """Import the step's script, and find the callback in it. Raises whatever the script raises."""
    script = _script(order)
    for folder in (str(PROJECT), str(script.parent)):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    if order['module'] == MAIN:
        sys.argv = [str(script)]
        # As multiprocessing does it: not called __main__ while it runs, so that it starts no listener.
        module = ModuleType('__mp_main__')
        module.__dict__.update(runpy.run_path(str(script), run_name='__mp_main__'))
        sys.modules[MAIN] = sys.modules['__mp_main__'] = module
    else:
        module = importlib.import_module(order['module'])
    found: Callback = functools.reduce(getattr, order['name'].split('.'), module)  # type: ignore[assignment]
    return found


def _as_seen_from_the_suite(script: str) -> str:
    path = Path(script).resolve()
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _script(order: Order) -> Path:
    return PROJECT / str(order['script'])


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
