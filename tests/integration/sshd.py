"""A real sshd on loopback, with a key and known hosts of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import psutil

START_LIMIT = 10.0  # seconds


class Server:
    """An sshd that can be stopped and started again."""

    def __init__(self, command: list[str], log: Path, port: int) -> None:
        self.url = f'sftp://{getpass.getuser()}@127.0.0.1:{port}'
        self.port = port
        self._command, self.log = command, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with open(self.log, 'ab') as log:
            self._process = subprocess.Popen(self._command, stderr=log, stdin=subprocess.DEVNULL)
        _wait_for_banner(self.port, self._process)

    @property
    def pid(self) -> int:
        """Of the process that waits for logins."""
        assert self._process is not None
        return self._process.pid

    def sessions(self) -> list[psutil.Process]:
        """The processes of those who are logged in."""
        return psutil.Process(self.pid).children(recursive=True)

    def kill_sessions(self) -> None:
        """Break all connections: those who are logged in hear nothing of the server any more."""
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """Kill it and all sessions."""
        if self._process is not None:
            sessions = self.sessions() if self._process.poll() is None else []
            self._process.kill()
            self._process.wait()
            for process in sessions:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process = None


@contextlib.contextmanager
def running(sshd: str, folder: Path, home: Path) -> Iterator[str]:
    """Start the program `sshd`; gives `sftp://USER@127.0.0.1:PORT`. `home` gets the key and the known host."""
    with server(sshd, folder, home) as started:
        yield started.url


@contextlib.contextmanager
def server(sshd: str, folder: Path, home: Path, options: str = '', prefix: tuple[str, ...] = ()) -> Iterator[Server]:
    """The same, with lines for its settings, and what to run it with: a program that ends with running another."""
    ssh = home / '.ssh'
    ssh.mkdir(parents=True, mode=0o700)
    for key in (folder / 'host', ssh / 'id_ed25519'):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], check=True)
    authorized = folder / 'authorized_keys'
    authorized.write_bytes((ssh / 'id_ed25519.pub').read_bytes())
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    kind, key = (folder / 'host.pub').read_text().split()[:2]
    (ssh / 'known_hosts').write_text(f'[127.0.0.1]:{port} {kind} {key}\n')
    config = folder / 'sshd_config'
    config.write_text(
        f'ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {authorized}\n'
        f'PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n'
        f'PermitRootLogin yes\nSubsystem sftp internal-sftp\n{options}\n'
    )
    if os.geteuid() == 0:
        Path('/run/sshd').mkdir(exist_ok=True)  # sshd's own folder for privilege separation
    started = Server([*prefix, sshd, '-D', '-e', '-f', str(config)], folder / 'sshd.log', port)
    with mock.patch.dict(os.environ, PATH=_path_with_ssh_of(home)):
        started.start()
        try:
            yield started
        finally:
            started.stop()


def _path_with_ssh_of(home: Path) -> str:
    """A path with an `ssh` that has its files in `home`: it asks the system where they are, and not HOME."""
    path = os.environ['PATH']
    ssh = home / '.ssh'
    (ssh / 'config').write_text(f'IdentityFile {ssh}/id_ed25519\nUserKnownHostsFile {ssh}/known_hosts\n')
    programs = home / 'bin'
    programs.mkdir()
    for name in ('ssh', 'scp'):
        told = programs / name
        told.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {shlex.quote(str(ssh / "config"))} "$@"\n')
        told.chmod(0o755)
    return f'{programs}{os.pathsep}{path}'


def _wait_for_banner(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        assert process.poll() is None, 'sshd ended at once'
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', port)) as connection:
            assert connection.recv(4) == b'SSH-'
            return
        time.sleep(0.02)
    raise AssertionError('sshd does not answer')
