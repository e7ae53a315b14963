"""Files on this machine, or on what is mounted here."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

from edw import files
from edw.errors import FILE_MISSING, StepError, TryLater
from edw.storage import places
from edw.storage.kinds import MARKER, Exists, NoFile, making, read_errors, source_file

AT_ONCE = 16 * 1024 * 1024  # bytes that the kernel copies between two words of progress
SMALL = 4 * 1024 * 1024  # bytes; a thread for less costs more than it saves
# The system's words for: not between these two file systems, or not in this container.
CANNOT_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY}
WHICH = {errno.EIO, errno.ESTALE, errno.EREMOTEIO}  # of one of the two; reading and writing by oneself tells of which
AT_FDCWD, RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h
CANNOT_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


class Local:
    """Storage that the system has mounted."""

    def size(self, path: str) -> int | None:
        """Bytes; None where there is no file. Raises StepError for what is no file, or leads nowhere."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if os.path.islink(path):
                raise StepError(f'{path} is a link to a file that is not there', FILE_MISSING) from None
            return None
        if not stat.S_ISREG(found.st_mode):
            raise NoFile(f'{path} is no regular file')
        return found.st_size

    def size_in_folder(self, path: str) -> int | None:
        """The same, after which a file may be put there."""
        if (size := self.size(path)) is None:
            check_folder(Path(path).parent)
        return size

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        return os.listdir(path)

    def modified(self, path: str) -> float | None:
        """When a file was last written to, in seconds since the epoch."""
        return os.stat(path).st_mtime

    def begin(self, path: str) -> bytes:
        """The first byte of a file, from its disk."""
        with source_file(Path(path)) as stream, read_errors(Path(path)):
            if hasattr(os, 'posix_fadvise'):
                os.posix_fadvise(stream.fileno(), 0, 1, os.POSIX_FADV_DONTNEED)
            return stream.read(1)

    def canonical(self, path: str) -> str:
        """The path without symbolic links."""
        return os.path.realpath(path)

    def md5(self, path: str) -> str:
        """In hexadecimal, by reading it."""
        with source_file(Path(path)) as stream, read_errors(Path(path)):
            return files.md5_of_stream(stream)

    def flushed_md5(self, path: str) -> tuple[int, str]:
        """Bytes and md5 of a file that is flushed to disk meanwhile."""
        return os.stat(path).st_size, flushed_md5(Path(path))

    def get(self, path: str, target: Path, progress: Callable[[int], None]) -> None:
        """Copy to another file here; goes on where `target` already has a part."""
        copy(Path(path), target, progress)

    def put(self, source: Path, path: str, progress: Callable[[int], None]) -> int:
        """Copy another file to here; goes on where `path` already has a part, of as many bytes as are returned."""
        begun = self.size(path) or 0
        copy(source, Path(path), progress)
        return begun

    def rename(self, path: str, new: str) -> None:
        """Raises Exists where there is a `new` already: it is never replaced."""
        try:
            if _renamed_at_once(path, new):
                flush_folder(Path(new).parent)
                return
            # Unlike a rename, which replaces what came into being since somebody looked.
            os.link(path, new, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EEXIST or (error.errno in CANNOT_LINK and os.path.lexists(new)):
                raise Exists(f'{new} is there already') from None
            if error.errno not in CANNOT_LINK:
                raise
            _rename_under_lock(path, new)
        else:
            os.unlink(path)
        flush_folder(Path(new).parent)

    def remove(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def check_folder(self, path: str) -> None:
        """Raises TryLater where it cannot be used."""
        check_folder(Path(path))

    def close(self) -> None:
        """Nothing is kept open."""


def _renamed_at_once(path: str, new: str) -> bool:
    """Rename without replacing, in one go (renameat2(2)); False where the system or the file system cannot.

    With a link and its removal a file has two names for a moment, in which others set it aside, too. Raises OSError.
    """
    rename = getattr(_c_library(), 'renameat2', None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(new), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), path)


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _rename_under_lock(path: str, new: str) -> None:
    """Rename where the system has nothing that does not replace (exFAT): no other process of this machine meanwhile.

    Raises Exists, and OSError.
    """
    folder = os.open(Path(new).parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        if os.path.lexists(new):
            raise Exists(f'{new} is there already')
        os.rename(path, new)
    finally:
        os.close(folder)


def check_folder(folder: Path) -> None:
    """Raises TryLater for a folder that is not there, or empty: see `Storage.check_folder`."""
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        reason = places.is_away(error) or error.strerror
        way_out = f'If its disk is mounted, make it: {making(str(folder))}' if error.errno == errno.ENOENT else ''
        raise TryLater(f'the folder {folder} cannot be used: {reason}. {way_out}'.strip()) from error
    if empty:
        raise TryLater(f'the folder {folder} is empty: is its disk mounted? If it is a new one: {making(str(folder))}')


def make_new_folder(folder: Path) -> None:
    """Make a folder of data files that is not there yet. Raises OSError."""
    if not os.path.lexists(folder):
        folder.mkdir(parents=True)
        (folder / MARKER).touch()


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raises TryLater where there is not as much room in a folder, in bytes, as `what` needs."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    # Some network file systems do not know how large they are.
    if found.f_blocks and needed > free:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise TryLater(f'{folder}: {full.strerror}: {what} needs {needed} bytes more, and {free} are free') from full


def copy(source: Path, target: Path, progress: Callable[[int], None]) -> None:
    """Copy a file, by the kernel where that can; goes on where `target` already has a part. `progress` gets bytes.

    File systems that can share blocks between files (XFS, Btrfs), or copy on their server (NFS 4.2), do that.
    Raises OSError, TryLater where there is not enough room, and Unreadable.
    """
    with source_file(source) as reader, _opened_to_go_on(target) as writer:
        size, done = os.fstat(reader.fileno()).st_size, os.fstat(writer.fileno()).st_size
        if done > size:
            writer.truncate(0)
            done = 0
        check_room(target.parent, size - done, str(source))
        progress(done)
        done += _copied_by_the_kernel(reader.fileno(), writer.fileno(), done, size, progress)
        reader.seek(done)
        writer.seek(done)
        while chunk := _read(reader, source):
            rest = memoryview(chunk)
            while rest:
                rest = rest[writer.write(rest) :]
            progress(len(chunk))


def _read(reader: FileIO, source: Path) -> bytes:
    with read_errors(source):
        return reader.read(files.CHUNK)


def flushed_md5(path: Path) -> str:
    """The md5 of a file that was just written, which is flushed to disk meanwhile. Raises OSError."""
    with open(path, 'rb', buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size < SMALL:
            os.fsync(stream.fileno())
            return files.md5_of_stream(stream)
        with ThreadPoolExecutor(1) as pool:
            flushed = pool.submit(os.fsync, stream.fileno())
            md5sum = files.md5_of_stream(stream)
            flushed.result()
        return md5sum


def flush_folder(folder: Path) -> None:
    """Flush a folder to disk, so that a name in it outlives a crash."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def part(target: Path, name: str | None = None) -> Iterator[Path]:
    """A file beside `target` for its making: what a copy that broke off has left under `name`, or a new one.

    One with a name is kept when the block raises, if going on makes sense: the place was away, or the process is ended.
    Not if the disk is full, whose room it would hold. Another process that makes the same file gets another part.
    """
    try:
        path, number = _opened_part(target, name)
    except PermissionError as error:
        raise TryLater(f'the folder {target.parent} cannot be written to: {error.strerror}') from error
    keep = False
    try:
        yield path
    except BaseException as error:
        away = isinstance(error, TryLater) or places.is_away(error) is not None
        ended = not isinstance(error, Exception)
        has_begun = os.fstat(number).st_size > 0
        keep = name is not None and has_begun and (ended or (away and not places.is_full(error)))
        raise
    finally:
        if not keep:
            _discard(path, number)
        os.close(number)


def _opened_part(target: Path, name: str | None) -> tuple[Path, int]:
    if name is not None:
        path = target.with_name(name)
        if (number := _locked(path)) is not None:
            return path, number
    path = target.with_name(files.temporary_name())
    return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _locked(path: Path) -> int | None:
    """A file, made if need be, that nobody else has locked; None where somebody has, or where locks are unknown."""
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            return None  # of somebody else's listener; or nobody may write there, and that is said next
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(number)
            # Who had it locked before may have renamed or removed it since it was opened.
            if os.path.samestat(found, os.stat(path)):
                if found.st_nlink == 1:
                    return number
                # A file that is in its place: who put it there was killed before this name of it was gone.
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(number)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                return None
            raise
        os.close(number)


def remove_part(path: Path) -> int:
    """Remove a part that no process is at; returns its bytes. Raises OSError, and StepError where one is at it."""
    number = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StepError(f'{path}: somebody is at it') from error
        size = os.fstat(number).st_size
        _discard(path, number)
        return size
    finally:
        os.close(number)


def _discard(path: Path, number: int) -> None:
    """Remove an open file, unless it has another name by now."""
    # Where it cannot be removed, the place is away, and that has been said.
    with contextlib.suppress(OSError):
        # Under its name there may be one that somebody else has begun since it was renamed.
        if os.path.samestat(os.fstat(number), os.stat(path)):
            path.unlink()


def _copied_by_the_kernel(reader: int, writer: int, start: int, size: int, progress: Callable[[int], None]) -> int:
    """How many bytes, from `start` on, the kernel has copied."""
    done = start
    while done < size:
        try:
            number = os.copy_file_range(reader, writer, min(AT_ONCE, size - done), done, done)
        except OSError as error:
            if error.errno in CANNOT_COPY | WHICH:
                break
            raise
        if not number:  # some file systems say so instead of an error
            break
        done += number
        progress(number)
    return done - start


def _opened_to_go_on(path: Path) -> FileIO:
    # Not for appending, to which the kernel copies nothing.
    return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), 'r+b', buffering=0)
