"""The storage of a URL: SFTP by `edw.storage.sftp`, all else by fsspec and the package that it names for the kind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edw.errors import StepError, TryLater, Unprocessable
from edw.redact import redact
from edw.storage import places
from edw.storage.kinds import (
    Absent,
    Denied,
    Exists,
    HostAway,
    NoFile,
    Progress,
    Storage,
    Unreadable,
    local_errors,
    local_file,
    read_errors,
)
from edw.storage.sftp import Sftp
from edw.storage.ssh import address_of, errno_in

PIECE = 8 * 1024 * 1024  # bytes read or written at once
XROOTD_LIMIT = 60  # seconds for one answer
# Seconds for a connection. By itself the client tries for ten minutes, and then not at all for half an hour.
XROOTD_WINDOW = 15
XROOTD_WINDOWS = {'ConnectionWindow': XROOTD_WINDOW, 'StreamErrorWindow': 0, 'ConnectionRetry': 1}
XROOTD_PACKAGE = 'fsspec-xrootd'

# Of other people's packages, by name: none of them is imported before it is needed.
AWAY_NAMES = frozenset(
    {
        'ClientConnectorError',
        'ConnectTimeoutError',
        'ConnectionClosedError',
        'ConnectionError',
        'EndpointConnectionError',
        'HTTPClientError',
        'NoCredentialsError',
        'PartialCredentialsError',
        'ReadTimeoutError',
        'ServerDisconnectedError',
        'ServerTimeoutError',
        'Timeout',
        'TokenRetrievalError',
    }
)
# What XRootD's client says: https://xrootd.web.cern.ch/doc/dev56/xrdcl.pdf
HOST_AWAY_WORDS = re.compile(
    r'\[FATAL\](?! Invalid address)|Operation expired|Socket (?:error|timeout|disconnected)|Invalid session'
)
AWAY_WORDS = re.compile(
    # S3 and what speaks like it
    r'SlowDown|ServiceUnavailable|InternalError|RequestTimeout|StorageFull|QuotaExceeded|InsufficientCapacity'
    # XRootD's servers (kXR_): IOError, NoMemory, NoSpace, noserver, overQuota, Overloaded, fsReadOnly, noReplicas,
    # AuthFailed, ReqTimedOut, TimerExpired
    r'|\[30(?:07|08|09|14|21|24|25|29|30|34|35)\]'
)
XROOTD_ABSENT = '[3011]'  # kXR_NotFound
DENIED_WORDS = re.compile(r'AccessDenied|\[3010\]')  # of S3, and kXR_NotAuthorized


def storage_for(url: str) -> Storage:
    """The storage that a URL is on, kept for this thread until its end. Raises Unprocessable for what is no URL."""
    place = places.parse(url)
    key = os.getpid(), place.scheme, place.authority
    kept = _threads.storages
    if key not in kept:
        kept[key] = KINDS.get(place.scheme, Remote)(place.scheme, place.authority)
    return kept[key]


class Remote:
    """Files of a kind that fsspec knows; read back to be checked, for want of anything better."""

    def __init__(self, scheme: str, authority: str) -> None:
        self._scheme, self._authority = scheme, authority
        self._opened: Any = None
        self._prefix = ''

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            with self._told(path):
                found = self._system.info(self._of(path))
        except Absent:
            return None
        if found['type'] == 'directory':
            raise NoFile(f'{self._name(path)} is a folder')
        return int(found['size'])

    def size_in_folder(self, path: str) -> int | None:
        """The same, after which a file may be put there."""
        if (size := self.size(path)) is None:
            self.check_folder(path.rpartition('/')[0] or '/')
        return size

    def names(self, path: str) -> list[str]:
        """What is in a folder."""
        with self._told(path):
            listed = self._system.ls(self._of(path), detail=False)
        return [name.rstrip('/').rpartition('/')[2] for name in listed]

    def modified(self, path: str) -> float | None:
        """When a file was last written to, in seconds since the epoch, where the package can tell."""
        with self._told(path):
            try:
                found = self._system.modified(self._of(path))
            except NotImplementedError:
                return None
            return float(found if isinstance(found, (int, float)) else found.timestamp())  # seconds, of XRootD

    def begin(self, path: str) -> bytes:
        """The first byte of a file."""
        with self._told(path), self._reading(path) as stream:
            return bytes(stream.read(1))

    def canonical(self, path: str) -> str:
        """The path as it is: these kinds of storage tell nothing of links."""
        return path

    def md5(self, path: str) -> str:
        """By the server's own means where it has the md5 of the whole file; else by reading back."""
        with self._told(path, reads=True):
            return self._md5_there(path) or self._read_back(path)

    def flushed_md5(self, path: str) -> tuple[int, str]:
        """Bytes and md5: what can be flushed there was flushed when it was put."""
        return self.size(path) or 0, self.md5(path)

    def get(self, path: str, target: Path, progress: Progress) -> None:
        """Copy to a local file, from where it ends on."""
        with self._told(path, reads=True), self._reading(path) as stream, local_file(target, 'ab') as local:
            start = local.tell()
            if start > stream.size:
                local.truncate(0)
                start = 0
            if start:
                progress(start)
                stream.seek(start)
            while data := stream.read(PIECE):
                progress(len(data))
                while data:
                    with local_errors(target):
                        data = data[local.write(data) :]

    def put(self, source: Path, path: str, progress: Progress) -> int:
        """Copy a local file there, always from its beginning: these kinds of storage keep no part of a file."""
        with self._told(path), local_file(source, 'rb') as stream:
            self._system.put_file(str(source), self._of(path))
            progress(os.fstat(stream.fileno()).st_size)
        return 0

    def rename(self, path: str, new: str) -> None:
        """Rename a file. That there is no `new` is asked before: these kinds of storage have no better way."""
        if self.size(new) is not None:
            raise Exists(f'{self._name(path)} is not renamed: {new} is there already')
        with self._told(path):
            self._system.mv(self._of(path), self._of(new))

    def remove(self, path: str) -> None:
        """Delete a file."""
        with self._told(path):
            self._system.rm_file(self._of(path))

    def check_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        with self._told(path):
            self._system.makedirs(self._of(path), exist_ok=True)

    def close(self) -> None:
        """Let go of the connections, which the package closes."""
        self._opened = None

    def _md5_there(self, path: str) -> str | None:
        """The md5 of the whole file, if the server has it."""
        return None

    def _options(self) -> dict[str, Any]:
        return {}

    @property
    def _system(self) -> Any:
        if self._opened is None:
            kind = _class_of(self._scheme)
            example = f'{self._scheme}://{self._authority}/x'
            options = {**kind._get_kwargs_from_urls(example), **self._options()}
            self._prefix = kind._strip_protocol(example).removesuffix('x').removesuffix('/')
            self._opened = kind(skip_instance_cache=True, use_listings_cache=False, **options)
        return self._opened

    def _of(self, path: str) -> str:
        """The path as fsspec has it: with the bucket, or the whole URL, before it."""
        _ = self._system
        return self._prefix + path

    def _name(self, path: str) -> str:
        return redact(f'{self._scheme}://{self._authority}{path}')

    def _reading(self, path: str) -> Any:
        return self._system.open(self._of(path), 'rb', cache_type='none', block_size=PIECE)

    def _read_back(self, path: str) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        with self._reading(path) as stream:
            while data := stream.read(PIECE):
                digest.update(data)
        return digest.hexdigest()

    @contextlib.contextmanager
    def _told(self, path: str, reads: bool = False) -> Iterator[None]:
        """Errors of other people's packages as ours."""
        try:
            yield
        except StepError:
            raise
        except FileNotFoundError as error:
            raise Absent(f'{self._name(path)}: No such file') from error
        # Each package has errors of its own, and none of them is a bug of ours.
        except Exception as error:
            text = redact(str(error) or type(error).__name__)
            if XROOTD_ABSENT in text:
                raise Absent(f'{self._name(path)}: No such file') from error
            kind = _kind_of(error, text)
            raise (Unreadable if reads and kind is TryLater else kind)(f'{self._name(path)}: {text}') from error


class S3(Remote):
    """Objects. An ETag is the md5 of an object that was sent in one part, if no key of a customer or of KMS is used.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """

    def check_folder(self, path: str) -> None:
        """There are none. A bucket that is missing is a wrong name, more likely than one to be made."""

    def _md5_there(self, path: str) -> str | None:
        bucket, _, key = self._of(path).partition('/')
        head = self._system.call_s3('head_object', Bucket=bucket, Key=key)
        encrypted = head.get('ServerSideEncryption') not in (None, 'AES256') or head.get('SSECustomerAlgorithm')
        tag = head.get('ETag', '').strip('"')
        return tag if re.fullmatch('[0-9a-f]{32}', tag) and not encrypted else None


class XRootD(Remote):
    """XRootD servers, which can be asked for a checksum; most have adler32 alone, and are read back."""

    def put(self, source: Path, path: str, progress: Progress) -> int:
        """Copy a local file there, from where the part that is there ends on; returns how many bytes that has."""
        have = self.size(path)
        client: Any = importlib.import_module('XRootD.client')
        with self._told(path), local_file(source, 'rb') as stream, contextlib.ExitStack() as at_end:
            if have is not None and have > os.fstat(stream.fileno()).st_size:
                self._system.rm_file(self._of(path))
                have = None
            flags = client.flags.OpenFlags.NEW if have is None else client.flags.OpenFlags.UPDATE
            there = client.File()
            _checked(there.open(f'root://{self._authority}/{self._of(path)}', flags, timeout=XROOTD_LIMIT))
            # Whatever fails, the server would keep it open for writing, and refuse the next who comes.
            at_end.callback(there.close, timeout=XROOTD_LIMIT)
            position = have or 0
            if position:
                progress(position)
                stream.seek(position)
            while data := _piece(stream, source):
                _checked(there.write(data, position, timeout=XROOTD_LIMIT))
                position += len(data)
                progress(len(data))
            _checked(there.sync(timeout=XROOTD_LIMIT))
            at_end.pop_all()
            _checked(there.close(timeout=XROOTD_LIMIT))
        return have or 0

    def _options(self) -> dict[str, Any]:
        client: Any = importlib.import_module('XRootD.client')
        for name, value in XROOTD_WINDOWS.items():
            if f'XRD_{name.upper()}' not in os.environ:
                client.EnvPutInt(name, value)
        return {'timeout': XROOTD_LIMIT}

    def _of(self, path: str) -> str:
        # Everything behind it is no part of a name in this protocol, and cannot be quoted.
        if '?' in path:
            raise Unprocessable(f'{self._name(path)}: XRootD has no files with ? in their names')
        return super()._of(path)

    def _md5_there(self, path: str) -> str | None:
        try:
            algorithm, value = self._system.checksum(f'{self._of(path)}?cks.type=md5')
        except OSError:
            return None  # it has no checksums at all; what else is wrong is met again when it is read
        return value if algorithm == 'md5' else None


KINDS: dict[str, Callable[[str, str], Storage]] = {
    'sftp': lambda scheme, authority: Sftp(address_of(f'{scheme}://{authority}')),
    'ssh': lambda scheme, authority: Sftp(address_of(f'{scheme}://{authority}')),
    's3': S3,
    's3a': S3,
    'root': XRootD,
}


class _Kept(threading.local):
    """What a thread keeps: closed when the thread ends, or the process."""

    def __init__(self) -> None:
        self.storages: dict[tuple[int, str, str], Storage] = {}
        self.owner = _Owner()
        weakref.finalize(self.owner, _close_all, self.storages)


class _Owner:
    """Is gone when its thread is."""


def _close_all(storages: dict[tuple[int, str, str], Storage]) -> None:
    for (process, _, _), storage in storages.items():
        # After a fork the connection is the parent's.
        if process == os.getpid():
            storage.close()


def _class_of(scheme: str) -> Any:
    # Imported here: it takes a tenth of the start of every script, most of which only ever see local files.
    import fsspec
    from fsspec.registry import known_implementations

    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        hint = XROOTD_PACKAGE if scheme == 'root' else known_implementations.get(scheme, {}).get('err', error)
        wanted = f'install {hint}' if scheme == 'root' else hint
        raise StepError(f'{scheme}:// needs a package that is not here: {wanted}') from error
    except ValueError:
        raise StepError(f'{scheme}:// is no kind of URL that fsspec knows, with the packages that are here') from None


def _piece(stream: BinaryIO, path: Path) -> bytes:
    with local_errors(path), read_errors(path):
        return stream.read(PIECE)


def _checked(answer: tuple[Any, Any]) -> None:
    status = answer[0]
    if not status.ok:
        raise OSError(status.message)


def _kind_of(error: Exception, text: str) -> type[StepError]:
    if {kind.__name__ for kind in type(error).__mro__} & AWAY_NAMES or HOST_AWAY_WORDS.search(text):
        return HostAway
    busy = isinstance(error, OSError) and error.errno == errno.EBUSY
    if places.is_away(error) or busy or AWAY_WORDS.search(text) or errno_in(text) in places.AWAY:
        return TryLater
    return Denied if isinstance(error, PermissionError) or DENIED_WORDS.search(text) else StepError


_threads = _Kept()
