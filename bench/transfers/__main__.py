"""Copies over SSH beside scp and rsync: one large file and many small ones, both ends on this machine.

    python -m bench.transfers [--folder FOLDER] [--large MB] [--small FILES] [--rounds N]

Starts an sshd of its own, which must be installed. `verified` is with an md5 of what arrived, on the side where it
arrived; the suite's `put` always flushes what it wrote to disk, which scp and rsync do not: hence `scp, sync`.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench.report import rates
from edw import files
from edw.storage.sftp import Sftp
from edw.storage.ssh import address_of
from tests.integration import sshd
from tests.programs import SYSTEM

MB = 1_000_000
Figures = defaultdict[str, list[float]]


def main() -> None:
    """Measure, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', default=tempfile.gettempdir(), help='where the files are, both here and there')
    parser.add_argument('--large', type=int, default=512, help='MB of the large file')
    parser.add_argument('--small', type=int, default=2_000, help='number of files of 1 MB')
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    program = shutil.which('sshd', path=os.pathsep.join([os.environ.get('PATH', os.defpath), *SYSTEM]))
    if program is None:
        raise SystemExit('sshd is not here: install openssh-server')
    with tempfile.TemporaryDirectory(prefix='edw-bench-', dir=args.folder) as name:
        base = Path(name)
        (base / 'sshd').mkdir()
        with sshd.server(program, base / 'sshd', base / 'home') as server:
            for title, count, size in (('one file', 1, args.large), ('small files', args.small, 1)):
                measure(server, base, f'{title}: {count} of {size} MB, MB/s', count, size * MB, args.rounds)


def measure(server: sshd.Server, base: Path, title: str, count: int, size: int, rounds: int) -> None:
    """Time every way in turn, so that whatever else the machine does hits all of them."""
    source, target = base / 'source', base / 'target'
    source.mkdir()
    for number in range(count):
        (source / f'{number:05}').write_bytes(os.urandom(size))
    names = sorted(file.name for file in source.iterdir())
    host, port = f'{getpass.getuser()}@127.0.0.1', str(server.port)
    storage = Sftp(address_of(server.url))
    tables: defaultdict[str, Figures] = defaultdict(lambda: defaultdict(list))

    def timed(table: str, way: str, action: Callable[[], object], fresh: bool = True) -> None:
        if fresh:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            os.sync()
        started = time.perf_counter()
        action()
        tables[table][way].append(count * size / MB / (time.perf_counter() - started))

    def run(*command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def scp(get: bool) -> None:
        here, there = (f'{host}:{source}/.', str(target)) if get else (f'{source}/.', f'{host}:{target}')
        run('scp', '-q', '-r', '-P', port, here, there)

    def rsync(get: bool, *options: str) -> None:
        here, there = (f'{host}:{source}/', f'{target}/') if get else (f'{source}/', f'{host}:{target}/')
        run('rsync', '-r', '--whole-file', *options, '-e', f'ssh -p {port}', here, there)

    def scp_flushed() -> None:
        scp(get=False)
        run('sync', '-f', str(target))

    def md5_there() -> None:
        run('ssh', '-p', port, host, f'md5sum {target}/*')

    def md5_here() -> None:
        for name in names:
            files.md5_of(target / name)

    def ours(get: bool, verified: bool) -> None:
        for name in names:
            if get:
                storage.get(f'{source}/{name}', target / name, lambda more: None)
            else:
                storage.put(source / name, f'{target}/{name}', lambda more: None)
            if verified:
                assert storage.size(f'{target}/{name}') == size
                _ = files.md5_of(target / name) if get else storage.md5(f'{target}/{name}')

    try:
        for _ in range(rounds):
            for get, verb in ((True, 'get'), (False, 'put')):
                md5 = md5_here if get else md5_there
                timed(verb, 'scp', lambda get=get: scp(get))
                if shutil.which('rsync'):
                    timed(verb, 'rsync', lambda get=get: rsync(get))
                if not get:
                    timed(verb, 'scp, sync', scp_flushed)
                timed(verb, 'suite', lambda get=get: ours(get, verified=False))
                timed(f'{verb}, verified', 'scp, md5sum', lambda get=get, md5=md5: (scp(get), md5()))
                timed(f'{verb}, verified', 'suite', lambda get=get: ours(get, verified=True))
            timed('already there', 'ssh md5sum', md5_there, fresh=False)
            if shutil.which('rsync'):
                timed('already there', 'rsync --checksum', lambda: rsync(False, '--checksum'), fresh=False)
            timed('already there', 'suite', lambda: [storage.md5(f'{target}/{name}') for name in names], fresh=False)
    finally:
        storage.close()
    for table, figures in tables.items():
        rates(f'{title}, {table}', figures)
    shutil.rmtree(source)
    shutil.rmtree(target)


if __name__ == '__main__':
    main()
