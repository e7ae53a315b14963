"""What every kind of storage can do."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Protocol

from edw.errors import DENIED, FILE_MISSING, NAME_IN_USE, NO_FILE, StepError, TryLater
from edw.storage.places import is_away

MARKER = '.edw-storage'  # what a new folder of data files holds, so that it is not empty

# Hears how many bytes more are in their place; those of an earlier copy, on which one goes on, come first.
Progress = Callable[[int], None]


class Storage(Protocol):
    """Files on one server, for one thread.

    A path is what follows the server in the URL, as it is: nothing in it is quoted or has a meaning. All methods raise
    TryLater where the server, or what it keeps its files on, is away: HostAway and Unreadable where that is known. They
    raise StepError for all else that fails: Absent, Denied and NoFile where that is known.
    """

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        raise NotImplementedError

    def size_in_folder(self, path: str) -> int | None:
        """The same of a name that a file is to be put under: raises as `check_folder` where there is none."""
        raise NotImplementedError

    def names(self, path: str) -> list[str]:
        """What is in a folder, in any order."""
        raise NotImplementedError

    def modified(self, path: str) -> float | None:
        """When a file was last written to, in seconds since the epoch by the server's clock; None: it does not say."""
        raise NotImplementedError

    def begin(self, path: str) -> bytes:
        """The first byte of a file, or nothing of an empty one: whether it can be read."""
        raise NotImplementedError

    def canonical(self, path: str) -> str:
        """The path of the same file that no symbolic link is in, where the server tells."""
        raise NotImplementedError

    def md5(self, path: str) -> str:
        """The md5 of the whole file as it is there, in hexadecimal: by the server's own means, or by reading back."""
        raise NotImplementedError

    def flushed_md5(self, path: str) -> tuple[int, str]:
        """Bytes and md5 of a file that was just put there, and that is flushed to disk."""
        raise NotImplementedError

    def get(self, path: str, target: Path, progress: Progress) -> None:
        """Copy to a local file. What `target` holds is taken for the beginning of it: the copy goes on there."""
        raise NotImplementedError

    def put(self, source: Path, path: str, progress: Progress) -> int:
        """Copy a local file there; returns the bytes of the part that was there already, and on which it went on."""
        raise NotImplementedError

    def rename(self, path: str, new: str) -> None:
        """Rename a file. Exists where there is a `new` already: it is never replaced."""
        raise NotImplementedError

    def remove(self, path: str) -> None:
        """Delete a file."""
        raise NotImplementedError

    def check_folder(self, path: str) -> None:
        """Whether files may be put into a folder. Raises TryLater where it is not there, or empty.

        When a disk is not mounted, its mount point is an empty folder on another disk, and a folder within it is not
        there. Files that were put there would fill that disk, and be gone when the right one is mounted over them.
        Kinds of storage that have no mount points make the folder.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the connection. The next call of a method makes a new one."""
        raise NotImplementedError


def making(folder: str) -> str:
    """The command that makes a folder for data files, and says that it is the right one."""
    return f'mkdir -p {shlex.quote(folder)} && touch {shlex.quote(f"{folder}/{MARKER}")}'


class Absent(StepError):
    """There is no such file."""

    kind = FILE_MISSING


class Exists(StepError):
    """There is a file of the new name already."""

    kind = NAME_IN_USE


class Denied(StepError):
    """This user may not do that there."""

    kind = DENIED


class NoFile(StepError):
    """What has this name is a folder, a device, a FIFO or a socket."""

    kind = NO_FILE


class HostAway(TryLater):
    """The whole server is away, and not only what it keeps a file on."""


class Unreadable(TryLater):
    """The data of a file cannot be read: its disk is bad, or a few sectors of it are."""


@contextmanager
def local_errors(path: Path) -> Iterator[None]:
    """Errors of a local file in the block, as ours: apart from those of the server, which may be OSErrors too."""
    try:
        yield
    except OSError as error:
        reason = is_away(error)
        raise (TryLater if reason else StepError)(f'{path}: {reason or error.strerror or error}') from error


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Errors of reading a local file in the block, as Unreadable where it is the disk's."""
    try:
        yield
    except OSError as error:
        if (reason := is_away(error)) is None:
            raise
        raise Unreadable(f'{path}: {reason}') from error


@contextmanager
def local_file(path: Path, mode: str) -> Iterator[BinaryIO]:
    """A local file, unbuffered, with `local_errors` at its opening."""
    with local_errors(path):
        stream = source_file(path) if mode == 'rb' else open(path, mode, buffering=0)  # noqa: SIM115 - closed below
    with stream:
        yield stream  # type: ignore[misc]  # a FileIO is one, as far as it is used here


def source_file(path: Path) -> FileIO:
    """A local file, opened to be read, unbuffered. Raises OSError, and NoFile for what is none."""
    # A FIFO that took the file's name since somebody looked would wait for a writer.
    stream = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb')
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    raise NoFile(f'{path} is no regular file')
