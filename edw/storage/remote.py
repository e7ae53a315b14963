"""Files of other machines, by fsspec."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from edw import files
from edw.errors import StepError
from edw.storage import places
from edw.storage.kinds import Progress, Storage


class Remote:
    """Files that fsspec knows how to reach; nothing goes on where it stopped."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def size(self, path: str) -> int | None:
        """Bytes; None where there is no file."""
        try:
            return int(self._system.info(path)['size'])
        except FileNotFoundError:
            return None

    def md5(self, path: str) -> str:
        """By reading it back."""
        with self._system.open(path, 'rb') as stream:
            return files.md5_of_stream(stream)

    def get(self, path: str, target: Path, progress: Progress) -> None:
        """Copy to a local file, from the beginning."""
        self._system.get_file(path, str(target))
        progress(target.stat().st_size)

    def put(self, source: Path, path: str, progress: Progress) -> None:
        """Copy a local file there, from the beginning."""
        self._system.put_file(str(source), path)
        progress(source.stat().st_size)

    def rename(self, path: str, new: str) -> None:
        """Raises StepError where there is a `new` already."""
        if self.size(new) is not None:
            raise StepError(f'{new} is there already')
        self._system.mv(path, new)

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._system.rm_file(path)

    def make_folder(self, path: str) -> None:
        """With those above it."""
        try:
            self._system.makedirs(path, exist_ok=True)
        except OSError as error:
            raise StepError(f'the folder {path} cannot be made: {error.strerror or error}') from error

    def close(self) -> None:
        """Nothing is kept."""


def storage_for(url: str) -> Storage:
    """The storage of a URL."""
    place = places.parse(url)
    if len(os.fsencode(place.name)) > places.LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(PurePosixPath(place.path)))
    options = {'host_key_policy': known_hosts_policy()} if place.scheme in ('sftp', 'ssh') else {}
    # Of the server alone: what fsspec makes of a path is not what stands there.
    system, _ = fsspec.core.url_to_fs(f'{place.scheme}://{place.authority}/', skip_instance_cache=True, **options)
    return Remote(system)


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
