"""Files over SFTP: one kept connection, checksums by the server itself, copies that go on where they stopped."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from edw import files
from edw.errors import FILE_MISSING, NAME_TOO_LONG, SIZE_DIFFERS, StepError, TryLater, Unprocessable
from edw.storage import sftp_protocol as protocol
from edw.storage.kinds import (
    MARKER,
    Absent,
    Denied,
    Exists,
    HostAway,
    NoFile,
    Progress,
    Unreadable,
    local_errors,
    local_file,
    making,
    read_errors,
)
from edw.storage.places import AWAY
from edw.storage.sftp_protocol import ANSWER_LIMIT, Attributes, Client, ConnectionLost, Refused, RefusedData
from edw.storage.ssh import Address, Session, errno_in, quoted

SLOWEST_MD5 = 1_000_000  # bytes/s at which md5sum is still waited for: it says nothing meanwhile
NOT_FOUND = 127  # exit code of a shell: no such program
PROBE = 1024 * 1024  # bytes that are written to hear why a server could not write

T = TypeVar('T')


class Sftp:
    """Files on one server. For one thread: answers go to whoever asked on the same connection."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._session: Session | None = None

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            found = self._do(path, lambda session: session.client.attributes(_encoded(path)))
        except Absent:
            return None
        return self._size_of(path, found)

    def size_in_folder(self, path: str) -> int | None:
        """The same, after which a file may be put there. Raises as `check_folder`, which it asks about meanwhile."""
        folder = path.rpartition('/')[0] or '/'
        there, marker = self._do(
            path, lambda session: session.client.attributes_of_each(_encoded(path), _encoded(f'{folder}/{MARKER}'))
        )
        if isinstance(there, Attributes):
            return self._size_of(path, there)
        if there.code != protocol.NO_SUCH_FILE:
            return self.size(path)  # which tells what is wrong
        if isinstance(marker, Refused):
            self.check_folder(folder)
        return None

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        return [os.fsdecode(name) for name in self._do(path, lambda session: session.client.names(_encoded(path)))]

    def modified(self, path: str) -> float | None:
        """When a file was last written to, in seconds since the epoch, as the server has it."""
        return self._do(path, lambda session: session.client.attributes(_encoded(path))).modified

    def begin(self, path: str) -> bytes:
        """The first byte of a file."""
        return self._do(path, lambda session: _begin(session.client, path))

    def canonical(self, path: str) -> str:
        """The path without symbolic links, as the server has it."""
        return os.fsdecode(self._do(path, lambda session: session.client.real_path(_encoded(path))))

    def md5(self, path: str) -> str:
        """By md5sum there, in the same login; else by reading back."""

        def md5(session: Session) -> str:
            size = session.client.attributes(_encoded(path)).size
            return self._md5_there(session, path, size) or _md5_read_back(session.client, path)

        return self._do(path, md5)

    def flushed_md5(self, path: str) -> tuple[int, str]:
        """Bytes and md5 of a file that is flushed meanwhile."""

        def md5(session: Session) -> tuple[int, str]:
            client = session.client
            with client.opened(_encoded(path), protocol.OPEN_READ) as handle, client.flushing(handle) as found:
                md5sum = self._md5_there(session, path, found.size)
            return found.size, md5sum or _md5_read_back(client, path)

        return self._do(path, md5, write=True)

    def get(self, path: str, target: Path, progress: Progress) -> None:
        """Copy to a local file, from where it ends on."""
        self._do(path, lambda session: _get(session.client, path, target, progress))

    def put(self, source: Path, path: str, progress: Progress) -> int:
        """Copy a local file there, from where the part that is there ends on; returns how many bytes that has."""
        return self._do(path, lambda session: _put(session.client, source, path, progress), write=True)

    def rename(self, path: str, new: str) -> None:
        """Rename a file, never over another."""

        turns = 0

        def rename(session: Session) -> None:
            nonlocal turns
            turns += 1
            try:
                session.client.rename(_encoded(path), _encoded(new))
            except Refused as refused:
                there = _is_there(session.client, new)
                # A connection can break between the rename and its answer: then it is asked for a second time.
                if there and refused.code == protocol.NO_SUCH_FILE and turns > 1:
                    return
                if not there and session.client.is_link(_encoded(new)):
                    raise StepError(
                        f'{self._address}: {new} is a link to a file that is not there', FILE_MISSING
                    ) from None
                if there and refused.code == protocol.FAILURE:
                    raise Exists(f'{self._address}: {path} is not renamed: {new} is there already') from None
                raise

        self._do(path, rename, write=True)

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._do(path, lambda session: session.client.remove(_encoded(path)), write=True)

    def check_folder(self, path: str) -> None:
        """Raises TryLater where it is not there, or empty."""
        try:
            # What is asked first spares the list of a folder with a hundred thousand files.
            is_used = self._do(
                path,
                lambda session: (
                    _is_there(session.client, f'{path}/{MARKER}') or bool(session.client.names(_encoded(path), most=1))
                ),
            )
        except Absent:
            way_out = f'If its disk is mounted, make it: {self._address.command(making(path))}'
            raise TryLater(f'{self._address}: the folder {path} is not there. {way_out}') from None
        if not is_used:
            way_out = f'If it is a new one: {self._address.command(making(path))}'
            raise TryLater(f'{self._address}: the folder {path} is empty: is its disk mounted? {way_out}')

    def close(self) -> None:
        """End the connection. The next call makes a new one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _size_of(self, path: str, found: Attributes) -> int:
        # A FIFO that somebody opens to read it waits for a writer, and the server with it.
        if not found.may_be_file:
            raise NoFile(f'{self._address}: {path} is no regular file')
        return found.size

    def _do(self, path: str, action: Callable[[Session], T], write: bool = False) -> T:
        """Do something over the connection, and once more over a new one if it broke."""
        second = False
        while True:
            if self._session is None:
                self._session = Session(self._address)
            session = self._session
            try:
                return action(session)
            except ConnectionLost as lost:
                reason = session.login.last_words() or str(lost)
                self.close()
                if second:
                    raise HostAway(f'{self._address}: the connection broke: {reason}') from lost
                second = True
            except Refused as refused:
                raise self._explained(session, refused, path, write) from refused
            except StepError:
                raise
            except BaseException:
                # Answers that nobody waited for would be taken for those of the next request.
                self.close()
                raise

    def _explained(self, session: Session, refused: Refused, path: str, write: bool) -> StepError:
        """SFTP has few words: a full disk and a stale mount are both "Failure". A shell there knows better ones."""
        if refused.code == protocol.NO_SUCH_FILE:
            return Absent(f'{self._address}: {path}: No such file or directory')
        if refused.code == protocol.PERMISSION_DENIED:
            return Denied(f'{self._address}: {path}: Permission denied')
        number, reason = None, str(refused)
        try:
            folder = _lowest_folder(session.client, path) if write else None
            if folder is not None and session.client.free(_encoded(folder)) == 0:
                number = errno.ENOSPC
            elif (shell := session.shell()) is not None:
                _, said = shell.run(_probe(path, folder))
                number = errno_in(said)
                reason = said.strip() or reason
        except (ConnectionLost, Refused) as error:
            self.close()
            return HostAway(f'{self._address}: {path}: {reason}, and then: {error}')
        if number in AWAY:
            return (TryLater if write else Unreadable)(f'{self._address}: {path}: {os.strerror(number)}')
        if number == errno.ENAMETOOLONG or refused.code == protocol.BAD_MESSAGE:
            long = files.name_size(PurePosixPath(path))
            return Unprocessable(f'{self._address}: {path}: {os.strerror(errno.ENAMETOOLONG)}, {long}', NAME_TOO_LONG)
        if not isinstance(refused, RefusedData):
            return StepError(f'{self._address}: {path}: {reason}')
        return (TryLater if write else Unreadable)(f'{self._address}: {path}: {reason}')

    def _md5_there(self, session: Session, path: str, size: int) -> str | None:
        shell = session.shell()
        if shell is None:
            return None
        limit = ANSWER_LIMIT + size / SLOWEST_MD5
        # Its input, not its argument: it would escape some names in what it prints.
        status, said = shell.run(b'md5sum < %s' % quoted(_encoded(path)), limit)
        found = re.match(r'[0-9a-f]{32}\b', said)
        if status == 0 and found:
            return found[0]
        number = errno_in(said)
        if number in AWAY:
            raise Unreadable(f'{self._address}: {path}: {os.strerror(number)}')
        if status == NOT_FOUND:
            session.do_without_shell()
        return None


def _encoded(path: str) -> bytes:
    return os.fsencode(path)


def _is_there(client: Client, path: str) -> bool:
    try:
        client.attributes(_encoded(path))
    except Refused:
        return False
    return True


def _md5_read_back(client: Client, path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with client.opened(_encoded(path), protocol.OPEN_READ) as handle:
        client.read(handle, 0, client.attributes_of(handle).size, digest.update)
    return digest.hexdigest()


def _begin(client: Client, path: str) -> bytes:
    read = bytearray()
    with client.opened(_encoded(path), protocol.OPEN_READ) as handle:
        client.read(handle, 0, 1, read.extend)
    return bytes(read)


def _get(client: Client, path: str, target: Path, progress: Progress) -> None:
    with client.opened(_encoded(path), protocol.OPEN_READ) as handle, local_file(target, 'ab') as stream:
        size = client.attributes_of(handle).size
        start = stream.tell()
        if start > size:
            stream.truncate(0)
            start = 0
        if start:
            progress(start)

        def sink(data: memoryview) -> None:
            while data:
                with local_errors(target):
                    written = stream.write(data)
                progress(written)
                data = data[written:]

        client.read(handle, start, size, sink)
        now, copied = client.attributes_of(handle).size, os.fstat(stream.fileno()).st_size
        if not size == now == copied:
            raise StepError(f'{path} changed while it was read: it had {size} bytes, and then {now}', SIZE_DIFFERS)


def _put(client: Client, source: Path, path: str, progress: Progress) -> int:
    with local_file(source, 'rb') as stream, _opened_to_go_on(client, path) as (handle, start):
        if start > os.fstat(stream.fileno()).st_size:
            client.truncate(handle)
            start = 0
        if start:
            progress(start)
        stream.seek(start)

        def data(count: int) -> bytes:
            with local_errors(source), read_errors(source):
                return stream.read(count)

        client.write(handle, start, data, progress)
        return start


@contextmanager
def _opened_to_go_on(client: Client, path: str) -> Iterator[tuple[bytes, int]]:
    """A handle to write, and how many bytes are there. Most files are new, and need not be asked for those."""
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(client.opened(_encoded(path), protocol.OPEN_WRITE | protocol.OPEN_NEW))
            start = 0
        except Refused:
            flags = protocol.OPEN_WRITE | protocol.OPEN_CREATE
            handle = stack.enter_context(client.opened(_encoded(path), flags))
            start = client.attributes_of(handle).size
        yield handle, start


def _lowest_folder(client: Client, path: str) -> str:
    """Of the folders above a path the lowest that is there."""
    parent = PurePosixPath(path).parent
    while parent.parent != parent and not _is_there(client, str(parent)):
        parent = parent.parent
    return str(parent)


def _probe(path: str, folder: str | None) -> bytes:
    """A command that fails as the server did when it was to read a file, or to write into a folder."""
    if folder is None:
        return b'ls -ld %s > /dev/null && head -c 1 %s > /dev/null' % ((quoted(_encoded(path)),) * 2)
    other = quoted(_encoded(f'{folder}/{files.temporary_name()}'))
    return b'head -c %d /dev/zero > %s; rm -f %s' % (PROBE, other, other)
