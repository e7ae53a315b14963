"""Looking at the files that documents name, here and on other machines, and telling a file that is gone from a place
that is away: a mount that is missing has lost no file.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from edw import files
from edw.errors import StepError, TryLater
from edw.keeping.copies import Named
from edw.redact import redact
from edw.storage import places
from edw.storage.kinds import Absent, Denied, HostAway, NoFile, Storage
from edw.storage.places import Place, is_url
from edw.storage.remote import storage_for

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
        self._asked: set[Storage] = set()
        self._away: dict[str, HostAway] = {}  # hosts that were asked in vain, which may take minutes

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
            with self._asking(location) as (storage, place):
                return storage.md5(place.path)
        with reading(Path(location).parent), open(location, 'rb') as stream:
            return md5_from_disk(stream)

    def exists(self, url: str) -> bool:
        """Whether a URL is that of a file. Raises TryLater."""
        with self._asking(url) as (storage, place):
            return storage.size(place.path) is not None

    def names_beside(self, url: str) -> list[str]:
        """What is in the folder of a URL; nothing where that is not there. Raises TryLater."""
        with self._asking(url) as (storage, place), suppress(Absent):
            return storage.names(place.folder)
        return []

    def size_and_age(self, url: str, now: float) -> tuple[int, float] | None:
        """Bytes, and seconds since it was written to; None where there is no file, or nobody knows. Raises TryLater."""
        with self._asking(url) as (storage, place), suppress(Absent):
            size, modified = storage.size(place.path), storage.modified(place.path)
            return None if size is None or modified is None else (size, now - modified)
        return None

    def canonical(self, url: str) -> str:
        """The URL of the same file that no symbolic link is in, where its server tells. Raises TryLater."""
        with self._asking(url) as (storage, place):
            return replace(place, path=storage.canonical(place.path)).location

    def close(self) -> None:
        """Close the connections."""
        for storage in self._asked:
            storage.close()
        self._asked.clear()

    def _remote_state(self, url: str) -> State | None:
        with self._asking(url) as (storage, place):
            size = storage.size(place.path)
            if size is not None:
                return State(size)
            try:
                is_empty = not storage.names(place.folder)
            except Absent:
                raise TryLater(f'{redact(_host_of(place))}: {place.folder} is not there') from None
            if is_empty:
                raise TryLater(f'{redact(_host_of(place))}: {place.folder} is empty; is its disk mounted?')
            return None

    @contextmanager
    def _asking(self, url: str) -> Iterator[tuple[Storage, Place]]:
        place = places.parse(url)
        host = _host_of(place)
        if host in self._away:
            raise self._away[host]
        try:
            storage = storage_for(url)
            self._asked.add(storage)
            yield storage, place
        except HostAway as error:
            self._away[host] = error
            raise
        except NoFile:
            raise StepError('is no regular file') from None
        except Denied as error:
            raise TryLater(f'{redact(host)}: {place.folder}: Permission denied') from error
        except TryLater:
            raise
        except StepError as error:
            raise TryLater(str(error)) from error


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


def _host_of(place: Place) -> str:
    return f'{place.scheme}://{place.authority}'


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
