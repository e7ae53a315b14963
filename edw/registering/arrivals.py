"""Files that are finished in a folder, as the operating system tells of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler

# inotify tells what other systems do not: that a file was closed by who wrote it.
TOLD = sys.platform == 'linux'


class Arrivals:
    """Tells the names of files that are closed after writing, or renamed into place, from its making until its end.

    Of Linux alone, and not of what other machines do on a network's file system.
    """

    def __init__(self, folder: Path, on_file: Callable[[str], object]) -> None:
        """`on_file` is called in a thread of its own. Raises OSError where the system cannot tell of this folder."""
        # Here, because it needs Linux.
        from watchdog.observers.inotify import InotifyObserver

        # Full events: a rename from outside the folder is told as one, and not as a file that somebody begins to write.
        self._observer = InotifyObserver(generate_full_events=True)
        self._observer.schedule(_Names(folder, on_file), str(folder), event_filter=[FileClosedEvent, FileMovedEvent])
        self._observer.start()

    def are_told(self) -> bool:
        """Whether it still tells of files; not after the folder was deleted, even if there is another of its name."""
        return any(emitter.is_alive() for emitter in self._observer.emitters)

    def end(self) -> None:
        """Tell of nothing more."""
        self._observer.stop()
        self._observer.join()


class _Names(FileSystemEventHandler):
    """Hands on the names of files in the folder itself."""

    def __init__(self, folder: Path, on_file: Callable[[str], object]) -> None:
        self._folder = str(folder)
        self._on_file = on_file

    def on_closed(self, event: FileSystemEvent) -> None:
        """A file was closed after writing."""
        self._tell(event.src_path)

    def on_moved(self, event: FileSystemEvent) -> None:
        """A file was renamed: in the folder, into it, or out of it."""
        self._tell(event.dest_path)

    def _tell(self, path: bytes | str) -> None:
        folder, name = os.path.split(os.fsdecode(path))
        if folder == self._folder:
            self._on_file(name)
