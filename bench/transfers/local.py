"""Moving files beside the programs that are there anyway: `cp`, with the flush and the checksum that are part of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from edw import files
from edw.storage.transfer import transfer
from edw.transfer import make_new_folder

BLOCK = 1_000_000  # random bytes that are written at once

Move = Callable[[dict[Path, str], Path], None]  # files with their md5, and the folder that they are copied to


def _suite(sources: dict[Path, str], folder: Path, workers: int = 1) -> None:
    make_new_folder(folder)

    def move(path: Path) -> None:
        transfer(str(path), f'{folder}/{path.name}', sources[path])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(move, sources))


def _programs(sources: dict[Path, str], folder: Path) -> None:
    """All files in one go: one flush for all of them."""
    folder.mkdir()
    subprocess.run(['cp', *map(str, sources), str(folder)], check=True)
    subprocess.run(['sync', '--file-system', str(folder)], check=True)
    done = subprocess.run(['md5sum', *map(str, folder.iterdir())], check=True, capture_output=True, text=True)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(sources.values())


def _programs_one_by_one(sources: dict[Path, str], folder: Path) -> None:
    """Each file safe before the next one, as a listener has to do it."""
    folder.mkdir()
    for path, md5sum in sources.items():
        target = folder / path.name
        subprocess.run(['cp', str(path), str(target)], check=True)
        subprocess.run(['sync', str(target), str(folder)], check=True)
        done = subprocess.run(['md5sum', str(target)], check=True, capture_output=True, text=True)
        assert done.stdout.split()[0] == md5sum


LOCAL: dict[str, Move] = {
    'suite': _suite,
    'cp, sync, md5sum': _programs,
}
LOCAL_MANY: dict[str, Move] = LOCAL | {
    'suite, 4 workers': partial(_suite, workers=4),
    'programs, one by one': _programs_one_by_one,
}


def measure(number: int, size: int, rounds: int, contenders: dict[str, Move] | None = None) -> dict[str, list[float]]:
    """MB/s of each contender for `number` files of `size` bytes, one figure a round, alternating."""
    contenders = contenders or (LOCAL if number == 1 else LOCAL_MANY)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name:
        sources = sources_in(Path(name), number, size)
        for _ in range(rounds):
            for contender, move in contenders.items():
                os.sync()
                started = time.perf_counter()
                move(sources, Path(name) / 'to')
                found[contender].append(number * size / 1e6 / (time.perf_counter() - started))
                shutil.rmtree(Path(name) / 'to')
    return found


def sources_in(folder: Path, number: int, size: int) -> dict[Path, str]:
    """New files of random bytes, with their md5."""
    sources = {folder / f'{index:05}.root': '' for index in range(number)}
    for path in sources:
        _write(path, size)
        sources[path] = files.md5_of(path)
    return sources


def _write(path: Path, size: int) -> None:
    with path.open('wb') as stream:
        for start in range(0, size, BLOCK):
            stream.write(os.urandom(min(BLOCK, size - start)))
