"""What a farm's nodes are told of a step: where its callback is, and the settings that callbacks work with, as bytes.

A callback is found by its script's path and its name, as `spawn` of multiprocessing does it: no code is sent. A script
in the suite's own folder is found in that of the node, wherever it is there. Settings go without their secrets, and so
do the documents' database and login: only the listener speaks to the database.
"""

from __future__ import annotations

import functools
import importlib
import json
import operator
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from edw import __version__
from edw.config import OPTIONS, Settings
from edw.engines.callbacks import Callback
from edw.errors import EdwError, SettingsError

PROJECT = Path(__file__).resolve().parent.parent.parent
MAIN = '__main__'
PYTHON = '.'.join(map(str, sys.version_info[:2]))  # another one may lack what a script needs

Order = dict[str, Any]


class WrongNode(EdwError):
    """A node, or the scheduler, has another Python or another version of the suite, or has not the step's script."""


def make(
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
        'settings': {'file': str(settings.file), **without_secrets(settings)},
        'level': level,
        'timeout': timeout,
        'packages': packages,
    }
    return json.dumps(order).encode()


def without_secrets(settings: Settings) -> dict[str, Any]:
    """What stands in the settings, but for passwords and keys, which are empty."""
    return {option.name: '' if option.secret else getattr(settings, option.name) for option in OPTIONS}


def settings_of(order: Order) -> Settings:
    """The settings that callbacks of an order work with."""
    return Settings(**{**order['settings'], 'file': Path(order['settings']['file'])})


def check(order: Order) -> None:
    """Raises WrongNode, with both versions, where this process cannot do what the listener would."""
    for what, here in (('version', __version__), ('python', PYTHON)):
        if order[what] != here:
            named = {'version': 'the suite', 'python': 'Python'}[what]
            raise WrongNode(f'{named} is {here} there and {order[what]} here')
    if not _script(order).exists():
        raise WrongNode(f'there is no script {_script(order)} there')


def callback_of(order: Order) -> Callback:
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


def environment() -> dict[str, str]:
    """The environment of a process that runs callbacks on a node: the suite is on its path."""
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get('PYTHONPATH')])])
    return {**os.environ, 'PYTHONPATH': path}
