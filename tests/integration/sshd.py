"""A real sshd on loopback, with a key and known hosts of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

START_LIMIT = 10.0  # seconds


@contextlib.contextmanager
def running(sshd: str, folder: Path, home: Path) -> Iterator[str]:
    """Start the program `sshd`; gives `sftp://USER@127.0.0.1:PORT`. `home` gets the key and the known host."""
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
        'PermitRootLogin yes\nSubsystem sftp internal-sftp\n'
    )
    if os.geteuid() == 0:
        Path('/run/sshd').mkdir(exist_ok=True)  # sshd's own folder for privilege separation
    with open(folder / 'sshd.log', 'wb') as log:
        process = subprocess.Popen([sshd, '-D', '-e', '-f', config], stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait_for_banner(port, process)
        yield f'sftp://{getpass.getuser()}@127.0.0.1:{port}'
    finally:
        process.terminate()
        process.wait()


def _wait_for_banner(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        assert process.poll() is None, 'sshd ended at once'
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', port)) as connection:
            assert connection.recv(4) == b'SSH-'
            return
        time.sleep(0.02)
    raise AssertionError('sshd does not answer')
