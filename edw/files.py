"""Data files: checksums, and writing so that no half-written file is ever seen under its final name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from io import FileIO
from pathlib import Path, PurePath
from typing import BinaryIO

from edw.errors import NAME_TOO_LONG, Unprocessable

CHUNK = 1024 * 1024  # bytes read at once
MD5_CHUNK = 256 * 1024  # the same for an md5: they stay in the processor's cache
TEMPORARY = '.edw-*.part'  # matches the names of files in the making, and of those that a killed process left


def md5_of(path: str | Path) -> str:
    """The md5 of a local file, in hexadecimal."""
    with open(path, 'rb', buffering=0) as stream:
        return md5_of_stream(stream)


def md5_of_stream(stream: BinaryIO | FileIO) -> str:
    """The md5 of the rest of a stream, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(MD5_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def temporary_name() -> str:
    """A name beside a file for its making: hidden, unlike any other, and no data file to anybody.

    It does not hold the file's own name, which may be as long as the file system takes.
    """
    return f'.edw-{secrets.token_hex(8)}.part'


def name_size(path: PurePath) -> str:
    """How long a path and its name are, for the message that it is too long."""
    # Bytes: that is what file systems count.
    return f'{len(os.fsencode(path.name))} bytes in a path of {len(os.fsencode(path))}'


def check_name(target: Path) -> None:
    """Raises Unprocessable for a name that is too long, and where that of a temporary file beside it would be."""
    for path in (target, target.with_name(temporary_name())):
        try:
            path.lstat()
        except OSError as error:  # all others are met again when it is written, and said then
            if error.errno == errno.ENAMETOOLONG:
                raise Unprocessable(f'{target}: {error.strerror}, {name_size(target)}', NAME_TOO_LONG) from None


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, which becomes `target` when the block ends without an error.

    It is flushed to disk before the rename, and so is the folder after it: a crash leaves the old file or
    the whole new one. Raises Unprocessable, before the block begins, for a name that is too long.
    """
    temporary = target.with_name(temporary_name())
    check_name(target)
    try:
        yield temporary
        with open(temporary, 'rb') as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
