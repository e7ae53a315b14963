"""Which files of a folder are data files, and what else there is."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from edw.errors import EdwError
from edw.registering import names, runs
from edw.registering.contents import State
from edw.storage.places import is_url

# What is passed over, in the singular and the plural of the summary.
FOLDER = 'folder', 'folders'
HIDDEN_FOLDER = 'hidden folder', 'hidden folders'
LINKED_FOLDER = 'link to a folder', 'links to folders'
HIDDEN = 'hidden file', 'hidden files'
NOWHERE = 'link that leads nowhere', 'links that lead nowhere'
TWICE = 'link to a file that is here itself', 'links to files that are here themselves'
COPIES = 'folder of copies ([data] sps)', 'folders of copies ([data] sps)'
ANALYSED = 'analysed file', 'analysed files'
MARK = 'mark', 'marks'
UNMATCHED = 'file of another name', 'files of other names'
NO_FILE = 'device, FIFO or socket', 'devices, FIFOs and sockets'
Kind = tuple[str, str]


@dataclass(frozen=True)
class Selection:
    """Which files are data files: those whose names match one of the patterns, as the shell has them.

    Where acquisition writes marks, a file is finished when its mark, of this pattern, is there.
    """

    patterns: tuple[str, ...] = (f'*{names.ROOT_ENDING}',)
    recursive: bool = False
    done_mark: str | None = None
    run: str | None = None  # of all files
    run_pattern: str | None = None  # which tells the run of a file, as `names.run_in` has it
    copies: Path | None = None  # where the first step puts them: real path of a folder that is not looked into

    @property
    def is_run_marked(self) -> bool:
        """Whether a mark says that a whole run is finished, and not a file."""
        return '{run}' in (self.done_mark or '')

    @property
    def has_own_runs(self) -> bool:
        """Whether runs are named in another way than acquisition does it."""
        return self.run is not None or self.run_pattern is not None

    def run_of(self, path: Path) -> str | None:
        """The run of a file; None where nothing tells it."""
        if self.run is not None:
            return self.run
        if self.run_pattern is not None:
            return names.run_in(path, self.run_pattern)
        return runs.run_of(names.id_of(path.name))

    def chooses(self, name: str) -> bool:
        """Whether a file of this name is a data file: none that is hidden, or that the analysis writes."""
        if name.startswith('.') or name.endswith(names.DERIVED):
            return False
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class DataFile:
    """A data file as it was at a look."""

    path: Path
    real: Path  # where its name leads to: links are followed
    is_link: bool
    state: State
    mtime: float  # seconds since the epoch
    run: str | None

    @property
    def doc_id(self) -> str:
        """Id of its document. It is of the name that it has here, which in some stores is the only one that tells."""
        return names.id_of(self.path.name)


@dataclass
class Found:
    """What is in a folder."""

    files: list[DataFile] = field(default_factory=list)
    unmarked: list[Path] = field(default_factory=list)  # data files without their mark
    failed: dict[Path, str] = field(default_factory=dict)  # what could not be looked at
    passed: Counter[Kind] = field(default_factory=Counter)


def copies_beside(folder: Path, sps: str) -> Path | None:
    """The folder that the first step copies files to; None where `folder` is, or is in, that one."""
    if is_url(sps):
        return None
    copies, real = Path(os.path.realpath(sps)), Path(os.path.realpath(folder))
    return None if copies == real or copies in real.parents else copies


def look(folder: Path, selection: Selection) -> Found:
    """Look through a folder, which may be a link. Raises EdwError where there is none, or none that can be read.

    Links to files are followed, wherever they lead; links to folders are not, so that none leads in a circle.
    """
    found = Found()
    pending: list[tuple[Path, Path]] = []
    try:
        _look_at(folder, folder.resolve(), selection, found, pending)
    except FileNotFoundError:
        raise EdwError(f'{folder}: no such folder') from None
    except NotADirectoryError:
        raise EdwError(f'{folder}: is not a folder') from None
    except (OSError, RuntimeError) as error:  # RuntimeError: of `resolve`, for a link in a circle
        raise EdwError(f'{folder}: cannot be read: {getattr(error, "strerror", None) or error}') from None
    while pending:
        path, real = pending.pop()
        try:
            _look_at(path, real, selection, found, pending)
        except FileNotFoundError:
            pass  # deleted, or renamed, since its own folder was read: no part of the folder any more
        except OSError as error:
            found.failed[path] = f'{path}: cannot be looked at: {error.strerror or error}'
    own = {file.real for file in found.files if not file.is_link}
    names_of_their_own = [file for file in found.files if not (file.is_link and file.real in own)]
    if twice := len(found.files) - len(names_of_their_own):
        found.passed[TWICE] = twice
    found.files = sorted(names_of_their_own, key=lambda file: file.path)
    return found


def data_file(path: Path, selection: Selection) -> DataFile | None:
    """The data file of this path; None where there is none, or none that can be reached."""
    if not selection.chooses(path.name):
        return None
    try:
        there = path.stat()
        if not stat.S_ISREG(there.st_mode) or selection.copies in (path.parent.resolve() / path.name).parents:
            return None
        return _described(path, path.resolve(), path.is_symlink(), there, selection)
    except (OSError, RuntimeError):
        return None


def _look_at(folder: Path, real: Path, selection: Selection, found: Found, pending: list[tuple[Path, Path]]) -> None:
    # Not glob, to which a folder that nobody may read is an empty one.
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    present = {entry.name for entry in listed}
    mark_of = {}
    if selection.done_mark is not None:
        mark_of = {
            name: names.mark_of(selection.done_mark, name, selection.run_of(folder / name))
            for name in present
            if selection.chooses(name)
        }
    marks = set(mark_of.values())
    for entry in listed:
        path = folder / entry.name
        try:
            there = entry.stat()
        except OSError as error:
            if entry.is_symlink():
                found.passed[NOWHERE] += 1
            elif not isinstance(error, FileNotFoundError):  # that one was deleted since
                found.failed[path] = f'{path}: cannot be looked at: {error.strerror or error}'
            continue
        if stat.S_ISDIR(there.st_mode):
            kind = COPIES if real / entry.name == selection.copies else _kind_of_folder(entry)
            if kind == FOLDER and selection.recursive:
                pending.append((path, real / entry.name))
            else:
                found.passed[kind] += 1
        elif (other := _kind_of_file(entry.name, there, selection, marks)) is not None:
            found.passed[other] += 1
        elif selection.done_mark is not None and mark_of[entry.name] not in present:
            found.unmarked.append(path)
        else:
            target = Path(os.path.realpath(path)) if entry.is_symlink() else real / entry.name
            found.files.append(_described(path, target, entry.is_symlink(), there, selection))


def _kind_of_folder(entry: os.DirEntry[str]) -> Kind:
    if entry.name.startswith('.'):
        return HIDDEN_FOLDER
    return LINKED_FOLDER if entry.is_symlink() else FOLDER


def _kind_of_file(name: str, there: os.stat_result, selection: Selection, marks: set[str | None]) -> Kind | None:
    """Why a file is passed over; None for a data file."""
    if name.startswith('.'):
        return HIDDEN
    if name in marks:
        return MARK
    if not stat.S_ISREG(there.st_mode):
        return NO_FILE
    if name.endswith(names.DERIVED):
        return ANALYSED
    return None if selection.chooses(name) else UNMATCHED


def _described(path: Path, real: Path, is_link: bool, there: os.stat_result, selection: Selection) -> DataFile:
    run = selection.run_of(path)
    if run is None and not selection.has_own_runs:
        run = names.id_of(path.name)  # a run of its own
    return DataFile(path, real, is_link, State.of(there), there.st_mtime, run)


def listed(passed: Counter[Kind]) -> str:
    """What was passed over, for a summary: `2 folders, 1 hidden file`."""
    return ', '.join(f'{number} {kind[number != 1]}' for kind, number in sorted(passed.items()))
