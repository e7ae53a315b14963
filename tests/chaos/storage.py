"""Where the files of the chaos test come from and go to, and what goes wrong with that."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from edw import files
from edw.storage.local import MARKER
from tests import disks
from tests.disks import Filler
from tests.integration import sshd
from tests.programs import SYSTEM

PER_SECOND = 1_000_000  # bytes of the small disk for each second that the test lasts
LARGE = 8_000_000  # bytes of a file whose copy lasts long enough to be met in the middle
PATIENCE = 3.0  # seconds for a listener to begin with it
LONGEST = 4.0  # seconds that something is away


class Storage:
    """`sps` on a small disk, originals here and behind an sshd, and each of them away for a while.

    Where this user may mount nothing, or sshd is not installed, that is left out, and `without` says so.
    """

    def __init__(self, folder: Path, far: sshd.Server | None, disk: Path | None, without: list[str]) -> None:
        self.raw, self.sps = folder / 'raw', (disk or folder) / 'sps'
        self.raw.mkdir()
        self.sps.mkdir()
        (self.sps / MARKER).touch()
        self.without = without
        self.mislaid: list[str] = []  # ids of documents whose original was out of reach for a while: their own fault
        self._folder, self._far, self._disk = folder, far, disk
        self._mounted = folder / 'mounted'
        self._filler: Filler | None = None
        self._back: dict[str, float] = {}  # what is away, with the monotonic time at which it is back
        if disk is not None:
            self._mounted.mkdir()
            disks.bind(disk, self._mounted)
            self.sps = self._mounted / 'sps'

    @property
    def faults(self) -> dict[str, int]:
        """What can go wrong here, with how often it should."""
        of_disk = {'fill': 2, 'unmount': 2} if self._disk else {'rename': 2}
        return {**of_disk, **({'stop_sshd': 2} if self._far else {})}

    @property
    def is_away(self) -> bool:
        """Whether something does go wrong now."""
        return bool(self._back)

    def original(self, path: Path, by_sftp: bool) -> str:
        """How a document names a file, if sshd is there by a URL."""
        return f'{self._far.url}{path}' if self._far and by_sftp else str(path)

    def begin(self, fault: str, seconds: float) -> bool:
        """Have something go wrong for some seconds, unless it does already."""
        if self._back:
            return False  # one at a time: a full disk cannot be told from one that is not mounted
        if fault == 'fill':
            self._filler = Filler(self._disk)
        elif fault == 'unmount':
            disks.unmount(self._mounted)
        elif fault == 'rename':
            self.sps.rename(self.sps.with_name('renamed'))
        else:
            self._far.stop()
        self._back[fault] = time.monotonic() + seconds
        return True

    def mend(self, now: float) -> None:
        """Mend what was broken for long enough by the time `now`."""
        for fault in [fault for fault, due in self._back.items() if due <= now]:
            del self._back[fault]
            if fault == 'fill':
                self._filler.remove()
            elif fault == 'unmount':
                disks.bind(self._disk, self._mounted)
            elif fault == 'rename':
                self.sps.with_name('renamed').rename(self.sps)
            else:
                self._far.start()

    def copier(self, pids: set[int]) -> int | None:
        """Which of these processes is in the middle of a copy of a large file, if one is within PATIENCE."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                for part in self.sps.glob(files.TEMPORARY):
                    if not LARGE // 100 < part.stat().st_size < LARGE:
                        continue
                    for pid in pids:
                        with contextlib.suppress(psutil.Error):
                            if any(found.path == str(part) for found in psutil.Process(pid).open_files()):
                                return pid
            time.sleep(0.005)
        return None

    def parts(self) -> list[Path]:
        """What was begun and not finished."""
        return list(self.sps.glob(files.TEMPORARY))


@contextmanager
def storage(folder: Path, seconds: float) -> Iterator[Storage]:
    """As much of it as this machine lets this user have."""
    without = []
    with contextlib.ExitStack() as stack:
        disk: Path | None = folder / 'disk'
        disk.mkdir()
        if refusal := disks.mount(disk, str(int(64e6 + PER_SECOND * seconds))):
            without.append(f'a disk that fills and is unmounted: {refusal}')
            disk = None
        else:
            stack.callback(disks.unmount, disk)
        path = ':'.join(SYSTEM)
        program = shutil.which('sshd') or shutil.which('sshd', path=path)
        far = None
        if program is None:
            without.append('an sshd that stops: it is not here (Debian package openssh-server)')
        else:
            (folder / 'sshd').mkdir()
            far = stack.enter_context(sshd.server(program, folder / 'sshd', folder / 'home'))
        made = Storage(folder, far, disk, without)
        if disk is not None:
            stack.callback(lambda: disks.unmount(folder / 'mounted'))
        stack.callback(lambda: made.mend(float('inf')))
        yield made
