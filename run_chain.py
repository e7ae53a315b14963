#!/usr/bin/env python3
"""The whole chain in one terminal: the embedded server, the design document, and what the Procfile names.

Each line begins with the name of the process that says it. Ctrl-C ends the processes of the Procfile, and after them
the server; what is in the database stays. A step of your own is one more line in the Procfile.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import local_couchdb
import upload_design
from edw import cli, config
from edw.errors import EdwError, SettingsError

HERE = Path(__file__).resolve().parent
PROCFILE = HERE / 'Procfile'
STOP_TIMEOUT = 20  # seconds for what runs to end after a signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = cli.parser(__doc__)
    parser.add_argument('--dir', type=Path, default=local_couchdb.FOLDER, help='folder of the data (%(default)s)')
    arguments = parser.parse_args(argv)
    settings = config.load(arguments.config)
    if not config.is_loopback(settings.server):
        raise SettingsError(f'{settings.server} is not the embedded server, which this starts. See docs/production.md.')
    if importlib.util.find_spec('honcho') is None:
        raise SettingsError('honcho is not installed: python -m pip install -r requirements-run.txt, as make run does.')
    of_config = ['--config', str(settings.file)]
    # A terminal that is closed ends it as `kill` does.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    again = ['python', 'local_couchdb.py', *of_config]
    start = local_couchdb.prepare(settings, arguments.dir, None, False, again)
    with local_couchdb.running(arguments.dir, start.username, start.password, start.port) as url:
        print(f'embedded server, data in {arguments.dir.resolve()}: {url}/', flush=True)
        upload_design.main(of_config)
        return _run(of_config)


def _run(of_config: list[str]) -> int:
    """Run what the Procfile names until a signal, which is no error, or until one of it ends by itself."""
    from honcho import manager
    from honcho.environ import parse_procfile
    from honcho.printer import Printer

    processes = parse_procfile(PROCFILE.read_text(encoding='utf-8')).processes
    if not processes:
        raise EdwError(f'{PROCFILE}: names no process')
    manager.KILL_WAIT = STOP_TIMEOUT
    found = manager.Manager(Printer(sys.stdout, time_format=''))  # what listeners say has its time
    # The Python of this environment, also where nobody has activated it; lines are to be seen when they are said.
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ.get("PATH", os.defpath)}'
    env = {**os.environ, 'PATH': path, 'PYTHONUNBUFFERED': '1'}
    for name, command in processes.items():
        found.add_process(name, f'exec {command} {shlex.join(of_config)}', env=env, cwd=str(HERE))
    found.loop()
    told_to_end = [manager.SIGNALS[number]['rc'] for number in (signal.SIGINT, signal.SIGTERM)]
    return 0 if found.returncode in told_to_end else int(found.returncode or 1)


if __name__ == '__main__':
    sys.exit(cli.ending(main))
