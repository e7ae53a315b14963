"""Whose fault it is that something with a file failed: the file's, or that of the place where it lies.

The first is an attempt of its document. For the second the step waits (`TryLater`), and no attempt is counted.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from edw import files
from edw.errors import NAME_TOO_LONG, UNREADABLE, StepError, TryLater, Unprocessable
from edw.redact import redact
from edw.storage import local, places
from edw.storage.kinds import Absent, Denied, NoFile, Storage, Unreadable
from edw.storage.local import Local
from edw.storage.places import Place

NEIGHBOURS = 3  # other files that are read, to see whether one alone cannot be


def size_of(storage: Storage, place: Place) -> int:
    """Bytes of a file. Raises FileNotFoundError where there is none, TryLater where its disk is not there either."""
    size = storage.size(place.path)
    if size is not None:
        return size
    if (empty := _empty_above(storage, place.folder)) is not None:
        raise TryLater(f'{empty} is empty; is its disk mounted?')
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _empty_above(storage: Storage, folder: str) -> str | None:
    """Of the folders above a file that is not there the lowest that is, if it is empty: as a disk's mount point is."""
    while True:
        try:
            return None if storage.names(folder) else folder
        except (Absent, FileNotFoundError, NotADirectoryError):
            if folder == '/':
                return None
            folder = str(PurePosixPath(folder).parent)
        except (StepError, OSError):
            return None


@contextmanager
def reading(storage: Storage, place: Place) -> Iterator[None]:
    """The block reads a file: where others beside it can be read, it is that file's fault, and not its disk's."""
    try:
        yield
    except Unreadable as error:
        if not _can_read_another(storage, place):
            raise
        raise StepError(f'{error}; other files of its folder can be read', UNREADABLE) from None


def _can_read_another(storage: Storage, place: Place) -> bool:
    looked_at = 0
    with contextlib.suppress(StepError, OSError):
        for name in storage.names(place.folder):
            if name == place.name or name.startswith('.'):
                continue
            with contextlib.suppress(StepError, OSError):
                if storage.size(place.beside(name).path):  # of an empty one nothing is read from a disk
                    looked_at += 1
                    if storage.begin(place.beside(name).path):
                        return True
            if looked_at >= NEIGHBOURS:
                break
    return False


@contextmanager
def in_folder_of(target: Place) -> Iterator[None]:
    """What this user may not do in the folder that files are put into is no fault of one of them."""
    try:
        yield
    except (Denied, PermissionError) as error:
        raise TryLater(f'the folder {redact(target.beside("").location)} cannot be used: Permission denied') from error
    except Absent as error:
        raise TryLater(f'{error}: its folder was removed meanwhile') from error


@contextmanager
def while_disk_is_there(source: Place) -> Iterator[None]:
    """That a file here is missing is not its fault where its disk is: unmounted before the block, or in it."""
    try:
        yield
    except Exception as error:
        if source.is_local and places.is_missing(error):
            with contextlib.suppress(FileNotFoundError, NoFile):
                size_of(Local(), source)
        raise


@contextmanager
def while_folder_is_there(target: Place) -> Iterator[None]:
    """What cannot be found any more because the folder that files are put into was removed is no fault of theirs."""
    try:
        yield
    except FileNotFoundError:
        if target.is_local:
            local.check_folder(Path(target.folder))
        raise


@contextmanager
def said(what: str) -> Iterator[None]:
    """Makes the errors of a block those that a listener knows."""
    try:
        yield
    except StepError:
        raise
    # Storage is other people's packages: each has errors of its own, and none of them is a bug of ours.
    except Exception as error:
        file = getattr(error, 'filename', None)
        if (reason := places.is_away(error)) is not None:
            raise TryLater(f'{what}: {f"{file}: " if file else ""}{reason}') from error
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        if getattr(error, 'errno', None) == errno.ENAMETOOLONG:
            size = f', {files.name_size(PurePosixPath(os.fsdecode(file)))}' if file else ''
            raise Unprocessable(f'{what}: {reason}{size}', NAME_TOO_LONG) from error
        raise StepError(f'{what}: {reason}', places.kind_of(error)) from error


@contextmanager
def away(what: str) -> Iterator[None]:
    """Makes a TryLater of what a block of somebody else raises because a place is away, and leaves all else."""
    try:
        yield
    except Exception as error:
        reason = None if isinstance(error, StepError) else places.is_away(error)
        if reason is None:
            raise
        raise TryLater(f'{what}: {reason}') from error
