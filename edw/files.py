"""Data files: checksums, and writing so that no half-written file is ever seen under its final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK = 1024 * 1024  # bytes read at once


def md5_of(path: str | Path) -> str:
    """The md5 of a local file, in hexadecimal."""
    with open(path, 'rb') as stream:
        return md5_of_stream(stream)


def md5_of_stream(stream: BinaryIO) -> str:
    """The md5 of the rest of a stream, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def temporary_name(name: str) -> str:
    """A name beside a file for its making: hidden, unlike any other, and no data file to anybody."""
    return f'.{name}.{secrets.token_hex(4)}.part'


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, which becomes `target` when the block ends without an error.

    It is flushed to disk before the rename, and so is the folder after it: a crash leaves the old file or
    the whole new one.
    """
    temporary = target.with_name(temporary_name(target.name))
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
