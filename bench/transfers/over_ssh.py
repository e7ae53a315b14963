"""Copies over SSH beside scp and rsync, both ends on this machine, with an sshd of its own.

The suite's copies are what a step gets: looked for, copied, flushed to the disk, verified by md5 on the side where they
arrive, and renamed, file by file. scp and rsync do none of it but the copying: hence the rows with `md5sum` and `sync`.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench.transfers.local import sources_in
from edw import files
from edw.storage.transfer import transfer
from edw.transfer import make_new_folder
from tests.integration import sshd
from tests.programs import SYSTEM

Figures = dict[str, list[float]]  # of each contender, one a round


def program() -> str | None:
    """The program sshd; None where it is not installed."""
    return shutil.which('sshd', path=os.pathsep.join([os.environ.get('PATH', os.defpath), *SYSTEM]))


class Ways:
    """How files get from `here` to `there`; one of the two is asked for over SSH."""

    def __init__(self, server: sshd.Server, sources: dict[Path, str], here: Path, there: Path) -> None:
        self._url, self._port = server.url, str(server.port)
        self._host = f'{getpass.getuser()}@127.0.0.1'
        self._sources, self._here, self._there = sources, here, there

    def get(self) -> dict[str, Callable[[], None]]:
        """From the other machine."""
        scp = partial(self._scp, f'{self._host}:{self._here}/.', str(self._there))
        rsync = partial(self._rsync, f'{self._host}:{self._here}/', f'{self._there}/')
        return {
            'scp': scp,
            'rsync': rsync,
            'scp, md5sum': partial(_in_turn, scp, self._md5_here),
            'scp, sync, md5sum': partial(_in_turn, scp, self._sync, self._md5_here),
            **self._suite(self._url, ''),
        }

    def put(self) -> dict[str, Callable[[], None]]:
        """To the other machine."""
        scp = partial(self._scp, f'{self._here}/.', f'{self._host}:{self._there}')
        rsync = partial(self._rsync, f'{self._here}/', f'{self._host}:{self._there}/')
        return {
            'scp': scp,
            'rsync': rsync,
            'scp, md5sum': partial(_in_turn, scp, self._md5_there),
            'scp, sync, md5sum': partial(_in_turn, scp, self._sync_there, self._md5_there),
            **self._suite('', self._url),
        }

    def again(self) -> dict[str, Callable[[], None]]:
        """What is there already is looked at only."""
        return {
            'ssh md5sum': self._md5_there,
            'rsync --checksum': partial(self._rsync, '--checksum', f'{self._here}/', f'{self._host}:{self._there}/'),
            **self._suite('', self._url),
        }

    def _suite(self, source: str, target: str) -> dict[str, Callable[[], None]]:
        def copy(workers: int) -> None:
            def move(path: Path) -> None:
                transfer(f'{source}{path}', f'{target}{self._there}/{path.name}', self._sources[path])

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(move, self._sources))

        workers = (1,) if len(self._sources) == 1 else (1, 4)
        return {'suite' if number == 1 else f'suite, {number} workers': partial(copy, number) for number in workers}

    def _scp(self, *arguments: str) -> None:
        _run('scp', '-q', '-r', '-P', self._port, *arguments)

    def _rsync(self, *arguments: str) -> None:
        _run('rsync', '-r', '--whole-file', '-e', f'ssh -p {self._port}', *arguments)

    def _ssh(self, command: str) -> None:
        _run('ssh', '-p', self._port, self._host, command)

    def _sync(self) -> None:
        _run('sync', '-f', str(self._there))

    def _sync_there(self) -> None:
        self._ssh(f'sync -f {self._there}')

    def _md5_there(self) -> None:
        self._ssh(f'cd {self._there} && md5sum *')

    def _md5_here(self) -> None:
        for path in self._sources:
            assert files.md5_of(self._there / path.name) == self._sources[path]


def measure(sshd_program: str, number: int, size: int, rounds: int) -> dict[str, Figures]:
    """MB/s of each contender for `number` files of `size` bytes, by what is done: one figure a round, alternating."""
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name:
        base = Path(name)
        here, there = base / 'from', base / 'to'
        here.mkdir()
        sources = sources_in(here, number, size)
        (base / 'sshd').mkdir()
        with sshd.server(sshd_program, base / 'sshd', base / 'home') as server:
            ways = Ways(server, sources, here, there)
            for _ in range(rounds):
                for what, contenders in (('get', ways.get()), ('put', ways.put()), ('there already', ways.again())):
                    for contender, act in contenders.items():
                        # Of many files the table is long enough, and each row takes minutes, without rsync.
                        if contender.startswith('rsync') and (number > 1 or not shutil.which('rsync')):
                            continue
                        if what != 'there already':
                            shutil.rmtree(there, ignore_errors=True)
                            make_new_folder(there)
                            os.sync()
                        started = time.perf_counter()
                        act()
                        rate = number * size / 1e6 / (time.perf_counter() - started)
                        found.setdefault(what, {}).setdefault(contender, []).append(rate)
    return found


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _in_turn(*acts: Callable[[], None]) -> None:
    for act in acts:
        act()
