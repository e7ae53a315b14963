"""Small disks of a test's own, really mounted, and somebody else who fills them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.programs import program
from tests.scripts import wait_until

CASELESS = 16 * 1024 * 1024  # bytes of a disk of exFAT

# Takes what room there is, and what others give back, until it is killed.
FILL = """
import sys, time
with open(sys.argv[1], 'wb', buffering=0) as stream:
    while True:
        try:
            stream.write(bytes(1 << 18))
        except OSError:
            time.sleep(0.002)
"""


def mount(folder: Path, size: str) -> str:
    """Mount a file system in memory on a folder; returns why that is not allowed, or nothing."""
    if shutil.which('mount') is None:
        return 'there is no mount (Debian package mount)'
    command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'edw-test', str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f'this user may mount no file system: {done.stderr.strip()}' if done.returncode else ''


def mount_without_case(image: Path, folder: Path) -> str:
    """Mount exFAT, to which `A` and `a` are one name, on a folder; returns why that is not allowed, or nothing."""
    make = program('mkfs.exfat', package='exfatprogs')
    program('mount.exfat-fuse', package='exfat-fuse')
    with image.open('wb') as stream:
        stream.truncate(CASELESS)
    subprocess.run([make, str(image)], check=True, capture_output=True)
    command = [program('mount', package='mount'), '-t', 'exfat-fuse', '-o', 'loop', str(image), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f'this user may mount no file of a disk here: {done.stderr.strip()}' if done.returncode else ''


def unmount(folder: Path) -> None:
    """The same backwards, whoever has files open in it."""
    subprocess.run(['umount', '--lazy', str(folder)], capture_output=True, check=True)


def bind(folder: Path, to: Path) -> None:
    """Mount what is in one folder on another one, too."""
    subprocess.run(['mount', '--bind', str(folder), str(to)], check=True)


def free(folder: Path) -> int:
    """Bytes that are free on its disk."""
    return shutil.disk_usage(folder).free


class Filler:
    """Somebody else whose file takes all room that is left on a disk."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / 'of-somebody-else'
        self._process = subprocess.Popen([sys.executable, '-c', FILL, str(self._file)], stdout=subprocess.DEVNULL)
        wait_until(lambda: free(folder) == 0)

    def remove(self) -> None:
        """Give the room back."""
        self._process.kill()
        self._process.wait()
        self._file.unlink(missing_ok=True)

    def __enter__(self) -> Filler:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()
