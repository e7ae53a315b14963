"""How full the disks are that the settings name. No storage that hangs is waited for."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass

from edw.config import Settings

PATIENCE = 2.0  # seconds for a file system to answer; that of a server that is gone may never do


@dataclass(frozen=True)
class Usage:
    """Of the file system that holds a folder: bytes that this user may still write, all bytes, and which one it is."""

    free: int
    total: int
    device: int


class _Question(threading.Thread):
    """Asks one file system. A daemon: a call that hangs in the kernel cannot be broken off."""

    def __init__(self, folder: str) -> None:
        super().__init__(name='space', daemon=True)
        self._folder = folder
        self.answer: Usage | None = None

    def run(self) -> None:
        try:
            found, device = os.statvfs(self._folder), os.stat(self._folder).st_dev
        except OSError:
            return  # it is not on this machine, or is away: nothing can be told of it
        self.answer = Usage(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, device)


_open: dict[str, _Question] = {}  # those that hang, so that there is one thread for each, and not one for each look
_lock = threading.Lock()


def usage(folder: str, patience: float = PATIENCE) -> Usage | None:
    """How full the file system of a folder is; None where there is no such folder, or it does not answer in time."""
    with _lock:
        question = _open.get(folder)
        if question is None or not question.is_alive():
            question = _open[folder] = _Question(folder)
            question.start()
    question.join(patience)
    return question.answer


def folders(settings: Settings) -> dict[str, str]:
    """The folders on this machine whose disks may fill, by name: `raw`, `sps`, and `scratch` for temporary files."""
    named = {'raw': settings.raw, 'sps': settings.sps, 'scratch': tempfile.gettempdir()}
    return {name: folder for name, folder in named.items() if '://' not in folder}
