"""inotify(7): what Linux tells of folders, by the calls of its C library."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# From <sys/inotify.h>.
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
Q_OVERFLOW = 0x4000
IGNORED = 0x8000
ONLYDIR = 0x01000000
ISDIR = 0x40000000

LIMITS = {  # what the system's own words hide
    errno.ENOSPC: 'no further inotify watch can be had (fs.inotify.max_user_watches)',
    errno.EMFILE: 'no further inotify instance can be had (fs.inotify.max_user_instances)',
}

HEADER = struct.Struct('iIII')  # struct inotify_event without its name: wd, mask, cookie, len
BUFFER = 1024 * 1024  # bytes of events read at once


class Event(NamedTuple):
    """An event of a watch; `name` is that of a file in the folder that is watched."""

    watch: int  # -1 for Q_OVERFLOW
    mask: int
    name: str


class Inotify:
    """Watches on folders, and their events."""

    def __init__(self) -> None:
        """Raises OSError where no further one can be had: EMFILE, fs.inotify.max_user_instances."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._wake_reader, self._wake = os.pipe2(os.O_CLOEXEC)

    def add(self, folder: Path, mask: int) -> int:
        """Watch a folder; returns the number of the watch, which is that of the folder and not of its name.

        Raises OSError; ENOSPC where the system allows no further watch.
        """
        return self._checked(self._libc.inotify_add_watch(self._handle, os.fsencode(folder), ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """Watch a folder no longer; one that the system has let go itself is no error."""
        self._libc.inotify_rm_watch(self._handle, watch)

    def events(self) -> Iterator[list[Event]]:
        """Wait for events, until `end`, which another thread calls."""
        poller = select.poll()
        for handle in (self._handle, self._wake_reader):
            poller.register(handle, select.POLLIN)
        while not any(handle == self._wake_reader for handle, _ in poller.poll()):
            yield list(_parsed(os.read(self._handle, BUFFER)))

    def end(self) -> None:
        """Have `events` end."""
        os.write(self._wake, b'.')

    def close(self) -> None:
        """Give all watches back; after `events` has ended."""
        for handle in (self._handle, self._wake_reader, self._wake):
            os.close(handle)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, LIMITS.get(number) or os.strerror(number))
        return result


def _parsed(read: bytes) -> Iterator[Event]:
    at = 0
    while at < len(read):
        watch, mask, _, length = HEADER.unpack_from(read, at)
        at += HEADER.size
        yield Event(watch, mask, os.fsdecode(read[at : at + length].rstrip(b'\0')))
        at += length
