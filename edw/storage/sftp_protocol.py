"""SFTP version 3 over a channel that something else encrypts, with many requests under way at once.

Of our own because of what it does not do: names are bytes and never parsed by a shell, or by a client's own language
of commands; data passes through Python in pieces of 255 kB without threads; and every wait has an end.

https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for its extensions.
"""

from __future__ import annotations

import stat
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

VERSION = 3
PIECE = 32 * 1024  # bytes that every server takes in one request
LARGEST_PIECE = 255 * 1024  # bytes, as OpenSSH's limit; larger ones are no faster
UNDER_WAY = 4 * 1024 * 1024  # bytes asked for or sent before the first answer is waited for
LARGEST_PACKET = 1024 * 1024  # bytes; more is no answer, but what a login script printed
ANSWER_LIMIT = 120.0  # seconds that a server may be silent

INIT, VERSION_IS, OPEN, CLOSE, READ, WRITE = 1, 2, 3, 4, 5, 6
LSTAT, FSTAT, FSETSTAT, OPEN_FOLDER, READ_FOLDER, REMOVE = 7, 8, 10, 11, 12, 13
REAL_PATH, STAT, RENAME = 16, 17, 18
STATUS, HANDLE, DATA, NAMES, ATTRIBUTES, EXTENDED, EXTENDED_REPLY = 101, 102, 103, 104, 105, 200, 201
OPEN_READ, OPEN_WRITE, OPEN_CREATE, OPEN_NEW = 0x1, 0x2, 0x8, 0x28  # OPEN_NEW: create, and refuse what is there
HAS_SIZE, HAS_OWNER, HAS_MODE, HAS_TIMES, HAS_MORE = 0x1, 0x2, 0x4, 0x8, 0x80000000
OK, END_OF_FILE, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = 0, 1, 2, 3, 4, 5


class Channel(Protocol):
    """Where bytes go to the server and come from it: a socket, or paramiko's Channel."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""

    def recv(self, count: int, /) -> bytes:
        """Up to `count` bytes; none at the end."""

    def settimeout(self, seconds: float | None, /) -> None:
        """How long each of these may take, before it raises TimeoutError."""

    def close(self) -> None:
        """End it."""


class ConnectionLost(Exception):
    """The server is not there any more, or silent."""


class Refused(Exception):
    """The server's answer is no; `code` is one of the protocol's few."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text or f'SFTP error {code}')
        self.code = code


class RefusedData(Refused):
    """A file that was opened cannot be read or written: that is no matter of its name or its rights."""


class Attributes(NamedTuple):
    """What is known of a file."""

    size: int
    mode: int  # as the system has it; 0 where the server does not say
    modified: int | None  # seconds since the epoch; None where it does not say

    @property
    def may_be_file(self) -> bool:
        """Whether it is not known to be anything else."""
        return not self.mode or stat.S_ISREG(self.mode)


class Client:
    """One SFTP session. Methods raise Refused and ConnectionLost, after which it is of no use."""

    def __init__(self, channel: Channel, limit: float) -> None:
        """Greet the server, which has `limit` seconds to answer: it may log in meanwhile."""
        self._channel = channel
        self._number = 0
        self._answers: dict[int, tuple[int, bytes]] = {}
        self._unheard: set[int] = set()  # requests whose answers nobody waits for
        channel.settimeout(limit)
        self._send_packet(INIT, struct.pack('>I', VERSION))
        kind, body = self._receive_packet()
        if kind != VERSION_IS:
            raise ConnectionLost('what answers is no SFTP server')
        channel.settimeout(ANSWER_LIMIT)
        self._extensions = set(_strings(body[4:])[::2])
        self._read_piece, self._write_piece = self._pieces()

    def attributes(self, path: bytes) -> Attributes:
        """Of what is at a path, through symbolic links."""
        return _attributes(self._ask(STAT, _string(path), expect=ATTRIBUTES))

    def attributes_of_each(self, *paths: bytes) -> list[Attributes | Refused]:
        """Of what is at several paths, asked for at once."""
        found: list[Attributes | Refused] = []
        for number in [self._send(STAT, _string(path)) for path in paths]:
            try:
                found.append(_attributes(self._answer(number, ATTRIBUTES)))
            except Refused as refused:
                found.append(refused)
        return found

    def is_link(self, path: bytes) -> bool:
        """Whether a symbolic link has this name, wherever it leads."""
        try:
            return stat.S_ISLNK(_attributes(self._ask(LSTAT, _string(path), expect=ATTRIBUTES)).mode)
        except Refused:
            return False

    @contextmanager
    def opened(self, path: bytes, flags: int) -> Iterator[bytes]:
        """A handle for the block. An error of what was written may be told only at the end."""
        body = _string(path) + struct.pack('>II', flags, 0)
        with self._handle(OPEN, body, is_heard=bool(flags & OPEN_WRITE)) as handle:
            yield handle

    def names(self, path: bytes, most: int | None = None) -> list[bytes]:
        """What is in a folder; not much more than `most` of it."""
        found: list[bytes] = []
        with self._handle(OPEN_FOLDER, _string(path)) as handle:
            while most is None or len(found) < most:
                try:
                    listed = _names(self._ask(READ_FOLDER, _string(handle), expect=NAMES))
                except Refused as refused:
                    if refused.code != END_OF_FILE:
                        raise
                    break
                found += [name for name in listed if name not in (b'.', b'..')]
            return found

    def real_path(self, path: bytes) -> bytes:
        """The same without symbolic links, as the server has it."""
        return _names(self._ask(REAL_PATH, _string(path), expect=NAMES))[0]

    @contextmanager
    def _handle(self, kind: int, body: bytes, is_heard: bool = False) -> Iterator[bytes]:
        """A handle for the block. Whether the answer to its closing is heard: to read, it cannot go wrong."""
        handle = _strings(self._ask(kind, body, expect=HANDLE))[0]
        try:
            yield handle
        except ConnectionLost:
            raise
        except Exception:
            with suppress(Refused):
                self._ask(CLOSE, _string(handle))
            raise
        if not is_heard:
            self._unheard.add(self._send(CLOSE, _string(handle)))
            return
        with _of_data():
            self._ask(CLOSE, _string(handle))

    def attributes_of(self, handle: bytes) -> Attributes:
        """Of an open file."""
        return _attributes(self._ask(FSTAT, _string(handle), expect=ATTRIBUTES))

    def truncate(self, handle: bytes) -> None:
        """Make an open file empty."""
        self._ask(FSETSTAT, _string(handle) + struct.pack('>IQ', HAS_SIZE, 0))

    def remove(self, path: bytes) -> None:
        """Delete a file."""
        self._ask(REMOVE, _string(path))

    def rename(self, path: bytes, new: bytes) -> None:
        """Rename. In this version of the protocol that fails where there is a `new`."""
        self._ask(RENAME, _string(path) + _string(new))

    @contextmanager
    def flushing(self, handle: bytes) -> Iterator[Attributes]:
        """Have an open file, whose attributes the block gets, written to the server's disk, while the block runs.

        If the server can do that. What the block asks for over this session is answered after that.
        """
        if b'fsync@openssh.com' not in self._extensions:
            yield self.attributes_of(handle)
            return
        asked = self._send(FSTAT, _string(handle))  # first: it does not wait for the disk
        under_way = deque([(self._send(EXTENDED, _string(b'fsync@openssh.com') + _string(handle)), 0)])
        with self._drained(under_way):
            yield _attributes(self._answer(asked, ATTRIBUTES))
            with _of_data():
                self._answer(under_way.popleft()[0], STATUS)

    def free(self, path: bytes) -> int | None:
        """Bytes that are free where a path is; None if the server cannot say."""
        if b'statvfs@openssh.com' not in self._extensions:
            return None
        numbers = self._ask(EXTENDED, _string(b'statvfs@openssh.com') + _string(path), expect=EXTENDED_REPLY)
        _, fragment, _, _, available, _, _, inodes = struct.unpack_from('>8Q', numbers)
        return int(fragment * available) if inodes else 0

    def read(self, handle: bytes, start: int, end: int, sink: Callable[[memoryview], None]) -> None:
        """Give all bytes from `start` to `end`, in their order, or to the end of the file, to `sink`."""
        under_way: deque[tuple[int, int]] = deque()  # number, length
        asked = given = start
        with self._drained(under_way), _of_data():
            while under_way or asked < end:
                while asked < end and len(under_way) < UNDER_WAY // self._read_piece:
                    length = min(self._read_piece, end - asked)
                    under_way.append((self._read(handle, asked, length), length))
                    asked += length
                number, length = under_way.popleft()
                # What a server gives short is asked for again at once: the pieces behind it wait for their turn.
                while length:
                    try:
                        data = memoryview(self._answer(number, DATA))[4:]
                    except Refused as refused:
                        if refused.code == END_OF_FILE:
                            return  # pieces behind it may have bytes, if somebody goes on writing, but no place
                        raise
                    sink(data)
                    given, length = given + len(data), length - len(data)
                    if length:
                        number = self._read(handle, given, length)

    def write(self, handle: bytes, start: int, source: Callable[[int], bytes], sent: Callable[[int], None]) -> None:
        """Write what `source` gives, from `start` on, until it gives nothing; `sent` hears what is written."""
        under_way: deque[tuple[int, int]] = deque()  # number, length
        position = start
        more = True
        with self._drained(under_way), _of_data():
            while under_way or more:
                while more and len(under_way) < UNDER_WAY // self._write_piece:
                    data = source(self._write_piece)
                    more = bool(data)
                    if more:
                        under_way.append((self._write(handle, position, data), len(data)))
                        position += len(data)
                if under_way:
                    number, length = under_way.popleft()
                    self._answer(number, STATUS)
                    sent(length)

    @contextmanager
    def _drained(self, under_way: deque[tuple[int, int]]) -> Iterator[None]:
        """Take the answers that nobody waits for any more, which would stay in memory else."""
        try:
            yield
        except ConnectionLost:
            raise
        except Exception:
            self._drain(under_way)
            raise
        self._drain(under_way)

    def _drain(self, under_way: deque[tuple[int, int]]) -> None:
        while under_way:
            with suppress(Refused):
                self._answer(under_way.popleft()[0], expect=None)

    def _pieces(self) -> tuple[int, int]:
        """Bytes that the server takes in one request, to read and to write."""
        if b'limits@openssh.com' not in self._extensions:
            return PIECE, PIECE
        numbers = self._ask(EXTENDED, _string(b'limits@openssh.com'), expect=EXTENDED_REPLY)
        _, read, write, _ = struct.unpack_from('>4Q', numbers)
        return min(read or PIECE, LARGEST_PIECE), min(write or PIECE, LARGEST_PIECE)

    def _read(self, handle: bytes, offset: int, length: int) -> int:
        return self._send(READ, _string(handle) + struct.pack('>QI', offset, length))

    def _write(self, handle: bytes, offset: int, data: bytes) -> int:
        return self._send(WRITE, _string(handle) + struct.pack('>QI', offset, len(data)), data)

    def _ask(self, kind: int, body: bytes, expect: int = STATUS) -> bytes:
        return self._answer(self._send(kind, body), expect)

    def _send(self, kind: int, body: bytes, data: bytes = b'') -> int:
        self._number = (self._number + 1) % 2**32
        self._send_packet(kind, struct.pack('>I', self._number) + body, data)
        return self._number

    def _answer(self, number: int, expect: int | None) -> bytes:
        """The answer to a request, without its number. Servers may give them in any order."""
        while number not in self._answers:
            kind, body = self._receive_packet()
            if len(body) < 4:
                raise ConnectionLost('half an answer')
            answered = struct.unpack_from('>I', body)[0]
            if answered in self._unheard:
                self._unheard.remove(answered)
            else:
                self._answers[answered] = kind, body[4:]
        kind, body = self._answers.pop(number)
        if kind == STATUS:
            code = struct.unpack_from('>I', body)[0]
            if code != OK:
                words = _strings(body[4:])
                raise Refused(code, words[0].decode('utf-8', 'replace') if words else '')
        elif expect not in (kind, None):
            raise ConnectionLost(f'an answer of the kind {kind} instead of {expect}')
        return body

    def _send_packet(self, kind: int, body: bytes, data: bytes = b'') -> None:
        packet = struct.pack('>IB', 1 + len(body) + len(data), kind) + body
        try:
            self._channel.sendall(packet + data)
        except TimeoutError:
            raise ConnectionLost('nothing can be sent: the server does not read') from None
        except EOFError:  # paramiko's word, where its own thread has not seen the end of the connection yet
            raise ConnectionLost('the connection was closed') from None
        except OSError as error:
            raise ConnectionLost(error.strerror or str(error)) from None

    def _receive_packet(self) -> tuple[int, bytes]:
        length = struct.unpack('>I', self._receive(4))[0]
        if not 0 < length <= LARGEST_PACKET:
            raise ConnectionLost('what answers is no SFTP server: does a login script print something?')
        packet = self._receive(length)
        return packet[0], packet[1:]

    def _receive(self, count: int) -> bytes:
        chunks = []
        while count:
            try:
                chunk = self._channel.recv(count)
            except TimeoutError:
                raise ConnectionLost('no answer in time') from None
            except OSError as error:
                raise ConnectionLost(error.strerror or str(error)) from None
            if not chunk:
                raise ConnectionLost('the connection was closed')
            chunks.append(chunk)
            count -= len(chunk)
        return b''.join(chunks)


@contextmanager
def _of_data() -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise RefusedData(refused.code, str(refused)) from refused


def _string(text: bytes) -> bytes:
    return struct.pack('>I', len(text)) + text


def _strings(body: bytes) -> list[bytes]:
    found = []
    while len(body) >= 4:
        length = struct.unpack_from('>I', body)[0]
        found.append(body[4 : 4 + length])
        body = body[4 + length :]
    return found


def _attributes(body: bytes) -> Attributes:
    flags = struct.unpack_from('>I', body)[0]
    size = struct.unpack_from('>Q', body, 4)[0] if flags & HAS_SIZE else 0
    mode_at = 4 + 8 * bool(flags & HAS_SIZE) + 8 * bool(flags & HAS_OWNER)
    mode = struct.unpack_from('>I', body, mode_at)[0] if flags & HAS_MODE else 0
    modified = (
        struct.unpack_from('>I', body, mode_at + 4 * bool(flags & HAS_MODE) + 4)[0] if flags & HAS_TIMES else None
    )
    return Attributes(size, mode, modified)


def _names(body: bytes) -> list[bytes]:
    """Of an answer that has for each file its name, a line for people, and its attributes."""
    count, at = struct.unpack_from('>I', body)[0], 4
    found = []
    for _ in range(count):
        name, at = _string_at(body, at)
        _, at = _string_at(body, at)
        found.append(name)
        at = _end_of_attributes(body, at)
    return found


def _string_at(body: bytes, at: int) -> tuple[bytes, int]:
    """The text that begins there, and where it ends."""
    end = at + 4 + int(struct.unpack_from('>I', body, at)[0])
    return body[at + 4 : end], end


def _end_of_attributes(body: bytes, at: int) -> int:
    flags = struct.unpack_from('>I', body, at)[0]
    at += 4 + 8 * bool(flags & HAS_SIZE) + 8 * bool(flags & HAS_OWNER)
    at += 4 * bool(flags & HAS_MODE) + 8 * bool(flags & HAS_TIMES)
    if flags & HAS_MORE:
        more, at = struct.unpack_from('>I', body, at)[0], at + 4
        for _ in range(2 * more):
            _, at = _string_at(body, at)
    return at
