"""Moving a data file from where acquisition wrote it to where it is processed; paths or URLs on either side."""

from __future__ import annotations

import errno
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from edw import files
from edw.errors import StepError, Unprocessable
from edw.redact import redact

LONGEST_NAME = 255  # bytes that most file systems take

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transfer:
    """A file that is in its place: `file` (path or URL), the `hostname` it is on, its md5, and what it took."""

    file: str
    hostname: str
    md5sum: str
    bytes: int
    seconds: float
    copied: bool

    @property
    def log(self) -> str:
        """One line for the process entry."""
        if not self.copied:
            return f'{self.bytes} bytes were already there, with the right md5'
        rate = self.bytes / 1e6 / max(self.seconds, 1e-6)
        return f'{self.bytes} bytes in {self.seconds:.3f} s, {rate:.1f} MB/s'


def transfer(source: str, folder: str, md5sum: str) -> Transfer:
    """Copy the file `source` into `folder`, under its own name, if its md5 is `md5sum`.

    The copy is made under a temporary name and renamed when it is complete and checked. A file that is
    there already is left alone if its md5 is right, and replaced if it is not, so that a transfer that was
    broken off at any point can be done again. The source stays where it is.

    Raises Unprocessable for a source that is no absolute path or URL, StepError for everything that failed.
    """
    name = PurePosixPath(urlsplit(source).path if is_url(source) else source).name
    if not name or name == '..' or not (is_url(source) or source.startswith('/')):
        raise Unprocessable(f'{redact(source)!r} is not the absolute path or URL of a file')
    target = f'{folder.rstrip("/")}/{name}'
    started = time.perf_counter()
    try:
        copied = _copy(source, target, md5sum)
        size = _file_system(target)[0].info(_file_system(target)[1])['size']
    except StepError:
        raise
    # File systems are other people's packages: each has errors of its own, and none of them is a bug of ours.
    except Exception as error:
        reason = 'No such file' if isinstance(error, FileNotFoundError) else getattr(error, 'strerror', None) or error
        if len(os.fsencode(name)) > LONGEST_NAME:
            reason = f'{reason}. Its name is long, {files.name_size(PurePosixPath(target))}'
        raise StepError(f'{redact(source)} cannot be moved to {redact(folder)}: {reason}') from error
    hostname = urlsplit(target).hostname if is_url(target) else None
    seconds = time.perf_counter() - started
    return Transfer(target, hostname or socket.gethostname(), md5sum, size, seconds, copied)


@contextmanager
def local_copy(location: str) -> Iterator[Path]:
    """A local path to read a file from: itself where it is local, else a copy for the time of the block."""
    if not is_url(location):
        yield Path(location)
        return
    with tempfile.TemporaryDirectory(prefix='edw-') as folder:
        try:
            system, path = _file_system(location)
            copy = Path(folder) / PurePosixPath(path).name
            system.get_file(path, str(copy))
        # File systems are other people's packages, each with errors of its own.
        except Exception as error:
            raise StepError(f'{redact(location)} cannot be read: {error}') from error
        yield copy


def is_url(location: str) -> bool:
    """Whether a location is a URL, rather than a path."""
    return '://' in location


def _copy(source: str, target: str, md5sum: str) -> bool:
    """False where the file was already there."""
    target_system, target_path = _file_system(target)
    if _exists(target_system, target_path):
        with target_system.open(target_path, 'rb') as stream:
            if files.md5_of_stream(stream) == md5sum:
                return False
        log.warning('%s is there already with another md5: it is replaced', redact(target))
    parent = str(PurePosixPath(target_path).parent)
    try:
        target_system.makedirs(parent, exist_ok=True)
    except OSError as error:
        raise StepError(f'the folder {parent} cannot be made: {error.strerror or error}') from error
    if isinstance(target_system, LocalFileSystem):
        source_system, source_path = _file_system(source)
        with files.replacing(Path(target_path)) as temporary:
            source_system.get_file(source_path, str(temporary))
            _check(source, temporary, source_system.info(source_path)['size'], md5sum)
        return True
    with local_copy(source) as local:
        _check(source, local, local.stat().st_size, md5sum)
        _put(target_system, local, target_path)
    return True


def _exists(system: Any, path: str) -> bool:
    """Whether a file is there. Unlike `exists` of fsspec, to which whatever fails says that it is not.

    SFTP has no other word than Failure for a name that is too long: it is heard before the file is sent for nothing.
    """
    try:
        system.info(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # of which `replacing` says more
            raise
        return False
    return True


def _check(source: str, copy: Path, size: int, md5sum: str) -> None:
    if copy.stat().st_size != size:
        raise StepError(f'{redact(source)} has {size} bytes, but {copy.stat().st_size} arrived')
    found = files.md5_of(copy)
    if found != md5sum:
        raise StepError(f'{redact(source)} has the md5 {found}, but its document says {md5sum}')


def _put(system: Any, local: Path, target_path: str) -> None:
    """Send a file to another machine under a temporary name, then rename it."""
    target = PurePosixPath(target_path)
    temporary = str(target.with_name(files.temporary_name()))
    try:
        system.put_file(str(local), temporary)
        arrived = system.info(temporary)['size']
        if arrived != local.stat().st_size:
            raise StepError(f'{local} has {local.stat().st_size} bytes, but {arrived} arrived')
        system.mv(temporary, target_path)
    except BaseException:
        if system.exists(temporary):
            system.rm_file(temporary)
        raise


def _file_system(location: str) -> tuple[Any, str]:
    """The file system of a location, and the path on it.

    Made anew each time: a kept SFTP connection would have been closed by the server at the next file.
    """
    if not is_url(location):
        return LocalFileSystem(), location
    options = {'host_key_policy': known_hosts_policy()} if urlsplit(location).scheme in ('sftp', 'ssh') else {}
    system, path = fsspec.core.url_to_fs(location, skip_instance_cache=True, **options)
    return system, path


def known_hosts_policy() -> Any:
    """A paramiko policy that accepts the hosts of ~/.ssh/known_hosts; fsspec's default accepts any."""
    import paramiko

    class KnownHosts(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
            known = Path('~/.ssh/known_hosts').expanduser()
            if not known.exists() or not paramiko.HostKeys(str(known)).check(hostname, key):
                raise paramiko.SSHException(
                    f'the key of host {hostname} is not in {known}. Log in to it once with ssh, and compare the key.'
                )

    return KnownHosts()
