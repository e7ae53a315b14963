"""What a location is, how a document's file is called, and which errors mean that a place is away."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote

from edw.errors import DENIED, FILE_MISSING, NAME_TOO_LONG, NO_PATH, Unprocessable
from edw.redact import redact

LONGEST_NAME = 255  # bytes that most file systems take
PLAIN = '_-+=,'  # kept in names, beside letters and digits: of no meaning to shells, URLs, ROOT or fsspec
# All behind the host is the path, as it stands. urlsplit would take a part of it for a query or a fragment, and drop
# newlines; fsspec would take `::` for a chain.
URL = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)', re.DOTALL)
ASIDE = re.compile(r'.*\.[0-9a-f]{32}(\.\d+)?\.aside', re.DOTALL)
SSH = ('sftp', 'ssh')
CONTROL = re.compile(r'[\x00-\x1f\x7f]')

FULL = {errno.ENOSPC, errno.EDQUOT}
AWAY = FULL | {
    errno.EIO,
    errno.EROFS,  # a file system that had errors is mounted again so
    errno.ESTALE,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOMEDIUM,
    errno.EREMOTEIO,
    errno.ENOTCONN,  # a FUSE file system whose process died
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENETRESET,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.EMFILE,  # of this machine: too many open files, no memory
    errno.ENFILE,
    errno.ENOMEM,
}


@dataclass(frozen=True)
class Place:
    """Where a file is. Nothing in it is ever parsed again."""

    scheme: str  # of a URL, in small letters; empty: a path on this machine
    authority: str  # of a URL: [USER[:PASSWORD]@]HOST[:PORT], or a bucket
    path: str  # as the storage knows it; begins with /

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, or mounted here."""
        return not self.scheme

    @property
    def location(self) -> str:
        """The path or URL, as documents have it."""
        return self.path if self.is_local else f'{self.scheme}://{self.authority}{self.path}'

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition('/')[2]

    @property
    def folder(self) -> str:
        """The path of the folder that it is in."""
        return self.path.rpartition('/')[0] or '/'

    @property
    def hostname(self) -> str:
        """The machine that has it."""
        if self.is_local:
            return socket.gethostname()
        host = self.authority.rpartition('@')[2]
        return re.sub(r':\d*$', '', host).strip('[]') or socket.gethostname()

    def beside(self, name: str) -> Place:
        """Another name in the same folder."""
        return replace(self, path=f'{self.path.rpartition("/")[0]}/{name}')


def is_url(location: str) -> bool:
    """Whether a location is a URL, rather than a path."""
    return URL.match(location) is not None


def parse(location: str) -> Place:
    """The place of a file. Raises Unprocessable for what is no absolute path and no URL, or has no name of a file."""
    if match := URL.fullmatch(location):
        scheme, authority, path = match[1].lower(), match[2], match[3]
        if scheme == 'file' and authority in ('', 'localhost'):
            scheme, authority = '', ''
    else:
        scheme, authority, path = '', '', location
    place = Place(scheme, authority, path)
    if not path.startswith('/') or place.name in ('', '.', '..') or scheme == 'file':
        raise Unprocessable(f'{redact(location)!r} is not the absolute path or URL of a file', NO_PATH)
    if scheme in SSH and path.startswith('/~'):
        raise Unprocessable(f'{redact(location)!r}: ~ is the name of a file, not a home; give the whole path', NO_PATH)
    if '\0' in path or (scheme and CONTROL.search(location)):
        raise Unprocessable(f'{redact(location)!r} holds a control character, which no such name can have', NO_PATH)
    try:
        os.fsencode(location)
    except UnicodeEncodeError:
        raise Unprocessable(f'{redact(location)!r} holds half a character, which no name can have', NO_PATH) from None
    return place


def target_in(folder: str, doc_id: str, original: str, number: int = 1) -> str:
    """Where a document's file belongs: in `folder`, named by the document's id and the ending of its original.

    `folder` is a path or URL, `original` the location of the original or an ending like `.amp.root`. Documents with
    different ids get different names, whatever their originals are called, and a plain id stands in the name as it is.
    `number` is that of the pass: the second one has ID.2.amp.root, so that what the first one left stays as it is.
    Raises Unprocessable for a name that is too long, and for what is no location.
    """
    ending = original if original.startswith('.') else PurePosixPath(parse(original).name).suffix
    numbered = quoted(doc_id) + (f'.{number}' if number > 1 else '')
    name = numbered + ''.join(f'.{quoted(part)}' for part in ending.split('.')[1:])
    size = len(os.fsencode(name))
    if size > LONGEST_NAME:
        raise Unprocessable(
            f'{name}: the name of a file of document {doc_id!r} is too long, {size} bytes', NAME_TOO_LONG
        )
    return f'{folder.rstrip("/")}/{name}'


def quoted(text: str) -> str:
    """A document's id, or part of it, as part of a file's name, from which `urllib.parse.unquote` makes it again.

    Letters, digits and PLAIN stay; the bytes of all else are written %2F. So is the dot: what stands before the first
    one of a name is the document's, and `a.amp` with the ending `.root` is not `a` with `.amp.root`.
    """
    # File systems that normalise names would make one file of two ids that differ in nothing else.
    kept = unicodedata.is_normalized('NFC', text)
    return ''.join(
        char
        if char in PLAIN or (char.isalnum() and (kept or char.isascii()))
        else ''.join(f'%{byte:02X}' for byte in char.encode('utf-8', 'surrogatepass'))
        for char in text
    )


def part_name(name: str, md5sum: str) -> str:
    """The name of a copy in the making: the same for the same file and checksum, so that it is found again."""
    return f'.edw-{hashlib.sha256(f"{name}/{md5sum}".encode("utf-8", "surrogatepass")).hexdigest()[:32]}.part'


def aside_name(name: str, md5sum: str, number: int) -> str:
    """The name under which a file is kept that was in the way, by its md5; `number` counts those with the same one."""
    ending = f'.{md5sum}{f".{number}" if number else ""}.aside'
    kept = os.fsencode(name)[: LONGEST_NAME - len(ending)].decode(errors='ignore')
    return kept + ending


def owner_of_aside(name: str) -> str | None:
    """The id of the document, as far as the name tells, of a file that was set aside; None for other names."""
    return unquote(name.partition('.')[0]) if ASIDE.fullmatch(name) else None


def is_away(error: BaseException) -> str | None:
    """Why a place is away, if that is what an error, or what caused it, means; None if it is about one file."""
    for cause in _causes(error):
        number = getattr(cause, 'errno', None)
        # Without a number: of programs that speak of what the system told them in their own words.
        if number in AWAY or (number is None and isinstance(cause, (ConnectionError, TimeoutError))):
            return getattr(cause, 'strerror', None) or str(cause) or type(cause).__name__
    return None


def is_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that no room is left."""
    return any(getattr(cause, 'errno', None) in FULL for cause in _causes(error))


def is_missing(error: BaseException) -> bool:
    """Whether an error, or what caused it, is that there is no such file."""
    return any(isinstance(cause, FileNotFoundError) for cause in _causes(error))


def kind_of(error: BaseException) -> str:
    """The kind of a failure that an error of the system, or what caused it, means; nothing for all others."""
    if is_missing(error):
        return FILE_MISSING
    return DENIED if any(isinstance(cause, PermissionError) for cause in _causes(error)) else ''


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
