"""Files that are finished in a folder, or in those below it, as the operating system tells of them."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edw.registering import inotify
from edw.registering.inotify import Event, Inotify

# inotify tells what other systems do not: that a file was closed by who wrote it.
TOLD = sys.platform == 'linux'
MASK = (
    inotify.CLOSE_WRITE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.CREATE | inotify.ONLYDIR
)  # deletion of the folder itself is told by IGNORED, which always comes


@dataclass(frozen=True)
class Finished:
    """A file was closed after writing, or renamed into place."""

    path: Path


@dataclass(frozen=True)
class LookAgain:
    """There may be files that nothing was told of: a folder came, or more happened than the system keeps."""


@dataclass(frozen=True)
class Unwatched:
    """Nothing will be told of a folder, for a reason."""

    folder: Path
    reason: str


Arrival = Finished | LookAgain | Unwatched


class Arrivals:
    """Tells of arrivals from its making until its end.

    Of Linux alone, and not of what other machines do on a network's file system.
    """

    def __init__(self, folder: Path, recursive: bool, tell: Callable[[Arrival], object]) -> None:
        """`tell` is called in a thread of its own. Raises OSError where the system cannot tell of this folder."""
        self._folder = folder
        self._recursive = recursive
        self._tell = tell
        self._paths: dict[int, Path] = {}  # by watch
        self._is_limited = False  # and said so
        self._inotify = Inotify()
        try:
            self._root = self._add(folder)
            self._add_below(folder)
        except OSError:
            self._inotify.close()
            raise
        self._thread = threading.Thread(target=self._listen, name='arrivals', daemon=True)
        self._thread.start()

    def are_told(self) -> bool:
        """Whether it still tells of files; not after the folder was deleted, even if there is another of its name."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Tell of nothing more."""
        self._inotify.end()
        self._thread.join()
        self._inotify.close()

    def _listen(self) -> None:
        for events in self._inotify.events():
            for event in events:
                if event.watch == self._root and event.mask & inotify.IGNORED:
                    return
                self._handle(event)

    def _handle(self, event: Event) -> None:
        if event.mask & inotify.Q_OVERFLOW:
            # Folders may have come and gone, too.
            self._add_below(self._folder)
            self._tell(LookAgain())
            return
        folder = self._paths.get(event.watch)
        if folder is None:
            return  # of a folder that was moved out, before its watch was removed
        path = folder / event.name
        if event.mask & inotify.IGNORED:
            del self._paths[event.watch]
        elif not event.mask & inotify.ISDIR:
            if event.mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO):
                self._tell(Finished(path))
        elif not self._recursive or event.name.startswith('.'):
            pass
        elif event.mask & inotify.MOVED_FROM:
            self._remove(path)
        elif event.mask & (inotify.CREATE | inotify.MOVED_TO):
            self._add_below(path.parent, [path])
            # What was written there before its watch began, nothing tells of.
            self._tell(LookAgain())

    def _add(self, folder: Path) -> int:
        watch = self._inotify.add(folder, MASK)
        self._paths[watch] = folder  # one that was renamed has the watch that it had
        return watch

    def _add_below(self, folder: Path, pending: list[Path] | None = None) -> None:
        """Watch all folders below one, or those of `pending` and all below them."""
        if not self._recursive:
            return
        pending = _folders_in(folder) if pending is None else pending
        while pending:
            path = pending.pop()
            try:
                self._add(path)
            except OSError as error:
                # One that is gone, or that nobody may read, is met, and said, by whoever looks through the folders.
                if error.errno == errno.ENOSPC:
                    if not self._is_limited:
                        self._is_limited = True
                        self._tell(Unwatched(path, error.strerror or str(error)))
                    return
                continue
            # After its watch began, so that no folder falls between the two.
            pending += _folders_in(path)

    def _remove(self, folder: Path) -> None:
        for watch, path in list(self._paths.items()):
            if path == folder or folder in path.parents:
                del self._paths[watch]
                self._inotify.remove(watch)


def _folders_in(folder: Path) -> list[Path]:
    """Those that are looked into: neither hidden ones nor links."""
    try:
        with os.scandir(folder) as entries:
            return [
                folder / entry.name
                for entry in entries
                if not entry.name.startswith('.') and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
