"""Looking at the files that documents name, here and on other machines, and telling a file that is gone from a place
that is away: a mount that is missing has lost no file.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec

from edw import files
from edw.errors import StepError, TryLater
from edw.keeping.copies import Named
from edw.redact import redact
from edw.storage import places
from edw.storage.places import is_url
from edw.storage.remote import storage_for
from edw.storage.ssh import known_hosts_policy

NO_FILE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class State:
    """A file as it is: of a local one, two that are equal are of the same file, unchanged in between."""

    size: int
    device: int = 0
    inode: int = 0
    modified: int = 0  # nanoseconds since the epoch, as the next one
    changed: int = 0

    @property
    def is_local(self) -> bool:
        """Whether it has an inode to compare."""
        return bool(self.inode)

    def is_same_file(self, other: State) -> bool:
        """Whether both are one file, by whatever names, links or mounts.

        The same storage mounted twice may have two devices. No two files have one inode number and one time of their
        last change, which nobody can set, to the nanosecond.
        """
        if not (self.is_local and other.is_local) or self.inode != other.inode:
            return False
        return self.device == other.device or self.changed == other.changed


def state_of(found: os.stat_result) -> State:
    """The state as the system tells it."""
    return State(found.st_size, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


class Looker:
    """Looks at files; connections to other machines are kept until `close`. Not to be shared between threads."""

    def __init__(self) -> None:
        self._systems: dict[str, Any] = {}  # by scheme and host
        self._away: dict[str, TryLater] = {}  # hosts that were asked in vain, which may take minutes

    def state(self, file: Named) -> State | None:
        """The file's state; None where there is none, though its place is there.

        Raises TryLater where its place is away, with a text that is the same for all files of that place, and StepError
        where the document names no file.
        """
        if is_url(file.location):
            return self._remote_state(file.location)
        if not file.location.startswith('/') or '\0' in file.location:
            raise StepError('is no absolute path or URL')
        path = Path(file.location)
        with reading(path.parent):
            try:
                found = path.stat()
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return None  # no disk has it
                if error.errno not in NO_FILE:
                    raise
            else:
                if not stat.S_ISREG(found.st_mode):
                    raise StepError('is no regular file')
                return state_of(found)
            if (reason := _absence(path.parent)) is not None:
                raise TryLater(reason)
        if file.hostname and not is_this_machine(file.hostname):
            raise TryLater(f'{path.parent}: {file.hostname} knows files there that this machine does not; look there')
        return None

    def md5(self, location: str) -> str:
        """The md5 of every byte, of a local file read from its disk again. Raises as `state`."""
        if is_url(location):
            with self._asking(location):
                return storage_for(location).md5(places.parse(location).path)
        with reading(Path(location).parent), open(location, 'rb') as stream:
            return md5_from_disk(stream)

    def exists(self, url: str) -> bool:
        """Whether a URL is that of a file. Raises TryLater."""
        with self._asking(url) as (system, path):
            try:
                system.info(path)
            except FileNotFoundError:
                return False
            return True

    def canonical(self, url: str) -> str:
        """The URL of the same file that no symbolic link is in, where its server tells. Raises TryLater."""
        with self._asking(url) as (system, path):
            if not hasattr(system, 'ftp'):
                return url
            real: str = system.ftp.normalize(path)
            return f'{_host_of(url)}{real}'

    def close(self) -> None:
        """Close the connections."""
        for system in self._systems.values():
            for name in ('ftp', 'client'):  # of SFTP, whose threads end by nothing else
                if hasattr(system, name):
                    getattr(system, name).close()
        self._systems.clear()

    def _remote_state(self, url: str) -> State | None:
        with self._asking(url) as (system, path):
            try:
                found = system.info(path)
            except FileNotFoundError:
                parent = str(PurePosixPath(path).parent)
                try:
                    is_empty = not system.ls(parent, detail=False)
                except FileNotFoundError:
                    raise TryLater(f'{redact(_host_of(url))}: {parent} is not there') from None
                if is_empty:
                    raise TryLater(f'{redact(_host_of(url))}: {parent} is empty; is its disk mounted?') from None
                return None
        if found.get('type') != 'file' or not isinstance(found.get('size'), int):
            raise StepError('is no regular file')
        return State(found['size'])

    @contextmanager
    def _asking(self, url: str) -> Iterator[tuple[Any, str]]:
        host = _host_of(url)
        if host in self._away:
            raise self._away[host]
        try:
            if host not in self._systems:
                self._systems[host] = self._connected(url)
            system = self._systems[host]
            # As it stands in the URL, in which fsspec would take a part for something else.
            yield system, places.parse(url).path if _is_sftp(url) else system._strip_protocol(url)
        except StepError:
            raise
        # File systems are other people's packages, each with errors of its own.
        except Exception as error:
            raise TryLater(f'{redact(host)}: {_reason(error)}') from error

    def _connected(self, url: str) -> Any:
        options = {'host_key_policy': known_hosts_policy()} if _is_sftp(url) else {}
        try:
            return fsspec.core.url_to_fs(f'{_host_of(url)}/', skip_instance_cache=True, **options)[0]
        except Exception as error:
            host = _host_of(url)
            self._away[host] = TryLater(f'{redact(host)}: {_reason(error)}')
            raise self._away[host] from error


def md5_from_disk(stream: BinaryIO) -> str:
    """The md5 of a whole open file, read from the disk and not from memory, where the system can be told so."""
    _forget(stream)
    stream.seek(0)
    found = files.md5_of_stream(stream)
    _forget(stream)  # whoever reads terabytes should leave others' files in memory
    return found


def is_this_machine(hostname: str) -> bool:
    """Whether it is this machine's name, with or without its domain."""
    return hostname.split('.')[0] == socket.gethostname().split('.')[0]


def _is_sftp(url: str) -> bool:
    return places.parse(url).scheme in ('sftp', 'ssh')


def _host_of(url: str) -> str:
    place = places.parse(url)
    return f'{place.scheme}://{place.authority}'


def _reason(error: Exception) -> str:
    return redact(getattr(error, 'strerror', None) or str(error) or type(error).__name__)


def _forget(stream: BinaryIO) -> None:
    if hasattr(os, 'posix_fadvise'):
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def reading(place: Path | str) -> Iterator[None]:
    """Has what the system says of a file that it cannot read be said of `place`, as TryLater.

    Of its folder, so that it is one line for all files there, or of one file.
    """
    try:
        yield
    except OSError as error:
        raise TryLater(f'{place}: {error.strerror}') from error


def _absence(folder: Path) -> str | None:
    """Why a folder's disk seems to be away; None where the folder is there and holds something.

    An unmounted disk leaves an empty folder, or none where the folder was on it.
    """
    lowest = folder
    while True:
        try:
            with os.scandir(lowest) as entries:
                is_empty = next(entries, None) is None
            break
        except OSError as error:
            if error.errno not in NO_FILE or lowest == lowest.parent:
                raise
            lowest = lowest.parent
    if is_empty:
        return f'{lowest} is empty; is its disk mounted?'
    if lowest == folder:
        return None
    return f'{lowest / folder.relative_to(lowest).parts[0]} is not there'
