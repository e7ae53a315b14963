"""Logging in over SSH: by OpenSSH's own program, or by paramiko where that is not installed or a URL has a password.

OpenSSH honours all that a site has in ssh_config: jump hosts, Kerberos, agents, certificates. It encrypts outside of
Python, too. Neither asks anything of anybody, and neither accepts a host that is not in known_hosts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from edw.errors import StepError, Unprocessable
from edw.storage.kinds import HostAway
from edw.storage.sftp_protocol import ANSWER_LIMIT, Channel, Client, ConnectionLost

if TYPE_CHECKING:
    import paramiko

CONNECT_LIMIT = 20  # seconds, to connect and to exchange keys
LOGIN_LIMIT = 60.0  # seconds until the session is there; a home on a mount that hangs takes for ever
ALIVE_INTERVAL = 15  # seconds without a word, after which the other end is asked whether it is there
ALIVE_COUNT = 4  # such questions without an answer
LOGINS = 6  # tries to get in where sshd is busy; it drops logins at random then (MaxStartups)
BUSY_PAUSE = 0.25  # seconds before the second of them, doubling
END_LIMIT = 5.0  # seconds for ssh to end by itself
WORDS_LIMIT = 1.0  # seconds for ssh to say why, after its output ended
LONGEST_SOCKET = 80  # bytes of the path of a control socket: 107 fit, and ssh adds some while it makes it

BUSY = re.compile(
    r'kex_exchange_identification|banner|Connection (?:closed|reset) by|Exceeded MaxStartups'
    r'|Not allowed at this time|No existing session|EOFError'
)
NO_SUCH_HOST = re.compile(r'Name or service not known|No address associated|nodename nor servname|not known', re.I)


class Address(NamedTuple):
    """Whom to log in to, and as whom; None is what ssh_config says."""

    host: str
    port: int | None = None
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Without the password, and so in all messages."""
        return self.host if self.port is None else f'{self.host}:{self.port}'

    def command(self, there: str) -> str:
        """What somebody types here to have a command run there."""
        port = '' if self.port is None else f'-p {self.port} '
        user = '' if self.user is None else f'{self.user}@'
        return f'ssh {port}{user}{self.host} {shlex.quote(there)}'


class Login(Protocol):
    """One connection to a server, over which sessions run."""

    def sftp(self) -> Channel:
        """The session for files; the first to be asked for."""
        raise NotImplementedError

    def shell(self) -> Channel:
        """A POSIX shell that reads commands."""
        raise NotImplementedError

    def last_words(self) -> str:
        """What ended the connection, as ssh says it; empty where it says nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """End all sessions and the connection."""
        raise NotImplementedError


def address_of(url: str) -> Address:
    """The server of an sftp:// or ssh:// URL. Raises Unprocessable for what is no host, port or user."""
    try:
        parts = urlsplit(url)
        host, port, user, password = parts.hostname or '', parts.port, parts.username, parts.password
    except ValueError as error:
        raise Unprocessable(f'the URL of a file has no such host: {error}') from None
    user = unquote(user) if user else None
    # ssh_config may hand these to a shell (ProxyCommand, Match exec); and what begins with - is an option.
    if not re.fullmatch(r'\w[\w.:%-]*', host) or (user and not re.fullmatch(r'\w[\w.@+-]*', user)):
        raise Unprocessable(f'{(user or "") + "@" + host!r} is no user and host of an sftp:// URL')
    return Address(host, port, user, unquote(password) if password else None)


class Session:
    """A login with its SFTP client and, where the server gives one, a shell beside it."""

    def __init__(self, address: Address) -> None:
        """Log in. Raises HostAway where that fails, StepError where there is no such host."""
        self.address = address
        self.login, self.client = _logged_in(address)
        self._shell: FarShell | None = None
        self._no_shell = False

    def shell(self) -> FarShell | None:
        """The shell; None for an account that has none, as those for SFTP alone."""
        if self._shell is None and not self._no_shell:
            try:
                self._shell = FarShell(self.login.shell())
            except (ConnectionLost, OSError):
                self._no_shell = True
        return self._shell

    def do_without_shell(self) -> None:
        """It has not the programs it should have, or is gone."""
        if self._shell is not None:
            self._shell.close()
        self._shell, self._no_shell = None, True

    def close(self) -> None:
        """End it."""
        if self._shell is not None:
            self._shell.close()
        self.login.close()


class FarShell:
    """A POSIX shell on the far side, kept for many commands."""

    def __init__(self, channel: Channel) -> None:
        """Raises ConnectionLost where it is no shell."""
        self._channel = channel
        self._mark = secrets.token_hex(16).encode()
        self._read = b''
        try:
            self.run(b'LC_ALL=C; export LC_ALL', LOGIN_LIMIT)
        except BaseException:
            channel.close()
            raise

    def run(self, command: bytes, limit: float = ANSWER_LIMIT) -> tuple[int, str]:
        """The exit code and all output. Raises ConnectionLost, also after `limit` seconds."""
        end = time.monotonic() + limit
        try:
            self._channel.settimeout(limit)
            # The output may have any bytes and no end of line; the mark is none that it could have.
            self._channel.sendall(b'{ %s\n} 2>&1; printf "\\n%%s %%s\\n" %s $?\n' % (command, self._mark))
            while not (found := re.search(rb'(?s)^(.*?)\n%s (\d+)\n' % self._mark, self._read)):
                self._channel.settimeout(max(0.01, end - time.monotonic()))
                chunk = self._channel.recv(65536)
                if not chunk:
                    raise ConnectionLost('the shell has ended')
                self._read += chunk
        except OSError as error:
            raise ConnectionLost(f'no answer of the shell: {error}') from None
        self._read = self._read[found.end() :]
        return int(found[2]), found[1].decode('utf-8', 'replace')

    def close(self) -> None:
        """End the shell."""
        self._channel.close()


class OpenSSH:
    """The program `ssh`: one process holds the connection and the SFTP session, others run over it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._processes: list[subprocess.Popen[bytes]] = []
        self._channels: list[socket.socket] = []
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        folder, name = tempfile.gettempdir(), f'edw-ssh-{secrets.token_hex(8)}'
        # ssh expands %, $ and ~ in it, and splits it at spaces.
        fits = re.fullmatch(r'[A-Za-z0-9_./+-]+', folder) and len(folder) + len(name) < LONGEST_SOCKET
        self._socket = Path(folder if fits else '/tmp', name)

    def sftp(self) -> Channel:
        """The connection's first session: when it ends, all end."""
        return self._start('ControlMaster=yes', '-s', 'sftp')

    def shell(self) -> Channel:
        """Over the same connection."""
        return self._start('ControlMaster=no', '', 'sh')

    def last_words(self) -> str:
        """The last line of what it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._processes[0].wait(WORDS_LIMIT)
        self._errors.seek(0)
        text = self._errors.read().decode('utf-8', 'replace')
        if 'Host key verification failed' in text:
            return _unknown(self._address.host, 'known_hosts')
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ''

    def close(self) -> None:
        """End the processes: by their input's end, or at once where that does not help."""
        for channel in reversed(self._channels):
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
            channel.close()
        for process in reversed(self._processes):
            try:
                process.wait(END_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._errors.close()
        self._socket.unlink(missing_ok=True)

    def _start(self, control: str, flag: str, what: str) -> socket.socket:
        options = [
            control,
            f'ControlPath={self._socket}',
            'ControlPersist=no',
            'BatchMode=yes',
            'StrictHostKeyChecking=yes',
            'UpdateHostKeys=no',
            f'ConnectTimeout={CONNECT_LIMIT}',
            f'ServerAliveInterval={ALIVE_INTERVAL}',
            f'ServerAliveCountMax={ALIVE_COUNT}',
            'ClearAllForwardings=yes',
            'ForwardAgent=no',
            'PermitLocalCommand=no',
            'RemoteCommand=none',
            'RequestTTY=no',
            'LogLevel=ERROR',
        ]
        command = ['ssh', *(part for option in options for part in ('-o', option)), *filter(None, [flag])]
        if self._address.port is not None:
            command += ['-p', str(self._address.port)]
        if self._address.user is not None:
            command += ['-l', self._address.user]
        ours, its = socket.socketpair()
        with its:
            try:
                # A session of its own: Ctrl-C at the terminal is for the listener, which lets callbacks finish.
                process = subprocess.Popen(
                    [*command, '--', self._address.host, what],
                    stdin=its.fileno(),
                    stdout=its.fileno(),
                    stderr=self._errors,
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._processes.append(process)
        self._channels.append(ours)
        return ours


class Paramiko:
    """The same without any program, in Python; it knows nothing of ssh_config."""

    def __init__(self, address: Address) -> None:
        import paramiko

        self._client = paramiko.SSHClient()
        self._client.set_missing_host_key_policy(_known_hosts_policy())
        self._address = address
        self._error = ''

    def sftp(self) -> Channel:
        """Connect, and open the session."""
        try:
            self._client.connect(
                self._address.host,
                self._address.port or 22,
                self._address.user,
                self._address.password,
                timeout=CONNECT_LIMIT,
                banner_timeout=CONNECT_LIMIT,
                auth_timeout=LOGIN_LIMIT,
            )
            channel = self._session()
            channel.invoke_subsystem('sftp')
        # paramiko's own errors, those of sockets, and EOFError, AttributeError and others of connections that end early
        except Exception as error:
            self._error = getattr(error, 'strerror', None) or str(error) or type(error).__name__
            raise ConnectionLost(self._error) from error
        return channel

    def shell(self) -> Channel:
        """Over the same connection."""
        import paramiko

        try:
            channel = self._session()
            channel.exec_command('sh')
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionLost(str(error)) from error
        return channel

    def last_words(self) -> str:
        """The error of connecting."""
        return self._error

    def close(self) -> None:
        """End the connection, and paramiko's thread for it."""
        self._client.close()

    def _session(self) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None:
            raise ConnectionLost('the connection was closed')
        transport.set_keepalive(ALIVE_INTERVAL)
        return transport.open_session(timeout=LOGIN_LIMIT)


def _known_hosts_policy() -> Any:
    """A paramiko policy that accepts the hosts of ~/.ssh/known_hosts."""
    import paramiko

    class KnownHosts(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
            known = Path('~/.ssh/known_hosts').expanduser()
            if not known.exists() or not paramiko.HostKeys(str(known)).check(hostname, key):
                raise paramiko.SSHException(_unknown(hostname, str(known)))

    return KnownHosts()


class _Gate:
    """One login to a server at a time: sshd drops those that are too many at once (MaxStartups), by chance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: tuple[float, StepError] | None = None

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        """Wait for one's turn. Who waited while another failed fails with it: twenty limits would be a long time."""
        came = time.monotonic()
        with self._lock:
            if self._failed is not None and self._failed[0] >= came:
                raise type(self._failed[1])(str(self._failed[1]))
            try:
                yield
            except StepError as error:
                self._failed = time.monotonic(), error
                raise


_gates: defaultdict[tuple[str, int | None], _Gate] = defaultdict(_Gate)


def _logged_in(address: Address) -> tuple[Login, Client]:
    with _gates[address.host, address.port].passing():
        for turn in range(LOGINS):
            if turn:
                # Other processes, and other machines, log in as well: at different times, please.
                time.sleep(random.uniform(0.5, 1) * BUSY_PAUSE * 2 ** (turn - 1))
            try:
                login = _login(address)
            except OSError as error:  # no folder for temporary files, or too many open ones
                raise HostAway(f'{address}: ssh cannot be started: {error.strerror or error}') from error
            try:
                return login, Client(login.sftp(), LOGIN_LIMIT)
            except ConnectionLost as error:
                reason = login.last_words() or str(error)
            except OSError as error:
                login.close()
                raise HostAway(f'{address}: ssh cannot be started: {error.strerror or error}') from error
            except BaseException:
                login.close()
                raise
            login.close()
            if not BUSY.search(reason):
                break
        if NO_SUCH_HOST.search(reason):
            raise StepError(f'{address}: {reason}')
        raise HostAway(f'{address}: no login: {reason}')


def _login(address: Address) -> Login:
    if address.password is None and shutil.which('ssh'):
        return OpenSSH(address)
    return Paramiko(address)


def _unknown(host: str, known: str) -> str:
    return (
        f'the key of host {host} is not in {known}, or is another one there. '
        'Log in to it once with ssh, and compare the key.'
    )


def quoted(path: bytes) -> bytes:
    """A path for a POSIX shell: any bytes but NUL, as they are."""
    return shlex.quote(path.decode('latin-1')).encode('latin-1')


def errno_in(text: str) -> int | None:
    """The error of the system that a program's English message ends with; None where it is none."""
    return next((number for number in errno.errorcode if os.strerror(number) in text), None)
