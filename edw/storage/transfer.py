"""Moving a file from one place to another: never half, never unverified, never over another file."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edw import config, files
from edw.errors import MD5_DIFFERS, NAME_IN_USE, SIZE_DIFFERS, StepError, TryLater, Unprocessable
from edw.redact import redact
from edw.storage import blame, local, places
from edw.storage.kinds import Absent, Denied, Exists, Storage
from edw.storage.local import Local
from edw.storage.places import Place
from edw.storage.remote import storage_for

LARGE = 100_000_000  # bytes of a file whose progress is logged
STEPS = 10  # lines of it
MOST_LOOKS = 10  # at a target that comes and goes
SCRATCH = 'edw-copy-'  # how names of folders in [data] scratch begin
SCRATCH_AGE = 60.0  # seconds; between its making and the lock on it a folder is nobody's

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transfer:
    """A file that is in its place: `file` (path or URL), the `hostname` it is on, its md5, and what it took."""

    file: str
    hostname: str
    md5sum: str
    bytes: int
    seconds: float
    copied: bool
    aside: str  # where the file is that was in the way; empty: none was

    @property
    def log(self) -> str:
        """One line for the process entry."""
        aside = f'; set aside what was there, as {redact(self.aside)}' if self.aside else ''
        if not self.copied:
            return f'{self.bytes} bytes were already there, with the right md5{aside}'
        rate = self.bytes / 1e6 / max(self.seconds, 1e-6)
        return f'{self.bytes} bytes in {self.seconds:.3f} s, {rate:.1f} MB/s{aside}'


def transfer(source: str, target: str, md5sum: str) -> Transfer:
    """Copy the file `source` to `target`, each a path or URL, if its md5 is `md5sum`. The source stays where it is.

    `target_in` says what a target is called. The copy is made under a temporary name, and renamed when it is complete,
    checked and flushed to disk. One that broke off goes on where it stopped. A target that is there already with the
    right md5 is left alone; with another one it is set aside, never replaced.

    Raises Unprocessable for a source or target that is no absolute path or URL of a file, or has too long a name;
    TryLater where a place is away, full, or not to be written to; StepError for what fails with this file.
    """
    source_place, target_place = places.parse(source), places.parse(target)
    md5sum = md5sum.strip().lower()  # as check_files.py takes it
    started = time.perf_counter()
    with blame.said(f'{redact(source)} cannot be moved to {redact(target_place.beside("").location)}'):
        copied, size, aside = _bring(source_place, target_place, md5sum)
    seconds = time.perf_counter() - started
    return Transfer(target_place.location, target_place.hostname, md5sum, size, seconds, copied, aside)


@contextmanager
def local_copy(location: str, md5sum: object = None) -> Iterator[Path]:
    """A local path to read a file from: itself where it is local, else a copy for the time of the block.

    Copies are made in `[data] scratch`. `md5sum` is what the entry that left the file has; anything but a string is
    none. Raises Unprocessable for a file here with another md5, StepError for a copy with one, and else as `transfer`.
    """
    place = places.parse(location)
    with contextlib.ExitStack() as stack:
        with blame.said(f'{redact(location)} cannot be read'), blame.while_disk_is_there(place):
            path = Path(place.path) if place.is_local else _fetched(place, stack)
            found = md5sum
            if isinstance(md5sum, str):
                md5sum = md5sum.strip().lower()
                with blame.reading(Local(), Place('', '', str(path))):
                    found = Local().md5(str(path))
        if found != md5sum:
            # A copy may have gone wrong on its way; a file that lies here is what it is.
            kind = Unprocessable if place.is_local else StepError
            raise kind(f'{redact(location)} has the md5 {found}, but the entry that left it says {md5sum}', MD5_DIFFERS)
        with blame.away(f'{redact(location)} cannot be read'), blame.while_disk_is_there(place):
            yield path


@contextmanager
def new_file(target: str) -> Iterator[Path]:
    """A temporary path, whose file becomes `target`, a path or URL, when the block ends without an error.

    As `edw.files.replacing`, but a file that is there is set aside, not replaced: another document may name it.
    Raises as `transfer` does.
    """
    place = places.parse(target)
    with contextlib.ExitStack() as stack:
        with blame.said(f'{redact(target)} cannot be written'):
            if place.is_local:
                files.check_name(Path(place.path))
                temporary = stack.enter_context(local.part(Path(place.path)))
            else:
                temporary = _scratch(stack) / 'new'
        with blame.away(f'{redact(target)} cannot be written'):
            yield temporary
        with blame.said(f'{redact(target)} cannot be written'), blame.while_folder_is_there(place):
            md5sum = local.flushed_md5(temporary)
            if place.is_local:
                _put_in_place(Local(), temporary.name, place, md5sum)
            else:
                _bring(Place('', '', str(temporary)), place, md5sum)


def _bring(source: Place, target: Place, md5sum: str) -> tuple[bool, int, str]:
    """Whether the file was copied, its size in bytes, and where the file is that was in the way."""
    storage = _storage(target)
    with blame.in_folder_of(target):
        size = storage.size_in_folder(target.path)
    if size is not None and _md5_there(storage, target) == md5sum:
        _check_case(storage, target)
        return False, size, ''
    part = places.part_name(target.name, md5sum)
    if not target.is_local:
        temporary, size = _send(source, target.beside(part), storage, md5sum)
        return True, size, _put_in_place(storage, temporary.name, target, md5sum)
    with blame.while_folder_is_there(target), local.part(Path(target.path), part) as path:
        size = _receive(source, path, md5sum)
        return True, size, _put_in_place(storage, path.name, target, md5sum)


def _receive(source: Place, temporary: Path, md5sum: str) -> int:
    """Copy a file to here, flush it, and check it; returns its size."""
    storage = _storage(source)
    size = blame.size_of(storage, source)
    if not source.is_local:
        local.check_room(temporary.parent, size - temporary.stat().st_size, redact(source.location))
    while True:
        begun = temporary.stat().st_size
        with blame.reading(storage, source):
            storage.get(source.path, temporary, _progress(source, size))
        arrived, found = temporary.stat().st_size, local.flushed_md5(temporary)
        if found == md5sum:
            return arrived
        if not begun:
            break
        # What was left of an earlier copy may be what is wrong: a crash leaves zeros, and a source may be new.
        log.info('%s: the part that was there is of no use, beginning again', redact(source.location))
        os.truncate(temporary, 0)
    raise _wrong(source, size, arrived, found, md5sum)


def _send(source: Place, temporary: Place, storage: Storage, md5sum: str) -> tuple[Place, int]:
    """Copy a file to another machine, and check it there; returns where it is there, and its size."""
    with contextlib.ExitStack() as stack:
        path = Path(source.path) if source.is_local else _fetched(source, stack)
        size = blame.size_of(Local(), Place('', '', str(path)))
        while True:
            with blame.in_folder_of(temporary), blame.reading(Local(), Place('', '', str(path))):
                try:
                    begun = storage.put(path, temporary.path, _progress(source, size))
                except Denied:
                    if storage.size(temporary.path) is None:
                        raise
                    # What another user's listener has begun. If it may not be written beside it either, that is said.
                    temporary = temporary.beside(files.temporary_name())
                    begun = storage.put(path, temporary.path, _progress(source, size))
            arrived, found = storage.flushed_md5(temporary.path)
            if found == md5sum:
                return temporary, arrived
            storage.remove(temporary.path)
            if not begun:
                break
            log.info('%s: the part that was there is of no use, beginning again', redact(source.location))
    raise _wrong(source, size, arrived, found, md5sum)


def _wrong(source: Place, size: int, arrived: int, found: str, md5sum: str) -> StepError:
    name = redact(source.location)
    if arrived != size:
        return StepError(f'{name} has {size} bytes, but {arrived} arrived', SIZE_DIFFERS)
    return StepError(f'{name} has the md5 {found}, but its document says {md5sum}', MD5_DIFFERS)


def _put_in_place(storage: Storage, part: str, target: Place, md5sum: str | None) -> str:
    """Give a finished file its name; returns where the file is that was in the way, or nothing."""
    aside = ''
    for _ in range(MOST_LOOKS):
        if storage.size(target.path) is not None:
            found = _md5_there(storage, target)
            if found is None:
                continue
            if found == md5sum:  # somebody else has done the same meanwhile
                _check_case(storage, target)
                storage.remove(target.beside(part).path)
                return aside
            aside = _set_aside(storage, target, found) or aside
        try:
            with blame.in_folder_of(target):
                storage.rename(target.beside(part).path, target.path)
        except Exists:
            continue  # it came since it was looked for, and may be gone again
        return aside
    raise StepError(f'{redact(target.location)} is being written by somebody else', NAME_IN_USE)


def _md5_there(storage: Storage, target: Place) -> str | None:
    """The md5 of a file that was there a moment ago; None where somebody has set it aside since."""
    try:
        return storage.md5(target.path)
    except (FileNotFoundError, Absent):
        return None


def _set_aside(storage: Storage, target: Place, md5sum: str) -> str:
    """Give another name to a file that is in the way, with this md5; returns its location, or nothing if it is gone."""
    _check_name(storage, target)
    number = 0
    while storage.size((aside := target.beside(places.aside_name(target.name, md5sum, number))).path) is not None:
        number += 1
    try:
        storage.rename(target.path, aside.path)
    except (FileNotFoundError, Absent):
        return ''  # somebody else has set it aside
    except Exists:
        return ''  # somebody else is setting it aside: where links are used, it has both names for a moment
    found = storage.md5(aside.path)
    if found != md5sum:
        # Somebody else has set it aside, and put the right one there, since its md5 was read: back with that.
        _put_back(storage, aside, target, found)
        return ''
    log.warning(
        '%s was there already with another md5: it is set aside as %s', redact(target.location), redact(aside.location)
    )
    return aside.location


def _put_back(storage: Storage, aside: Place, target: Place, md5sum: str) -> None:
    """Give a file with this md5 its name again, or remove it where others have brought the same meanwhile."""
    for _ in range(MOST_LOOKS):
        try:
            storage.rename(aside.path, target.path)
        except Exists:
            there = _md5_there(storage, target)
            if there == md5sum:
                storage.remove(aside.path)
            elif there is None:
                continue
        return


def _check_name(storage: Storage, target: Place) -> None:
    """Raises StepError where the file that is in the way is another document's, which only differs in case or form.

    On file systems that take `Run1` for `run1` (CIFS, VFAT, macOS) its document would be left without.
    """
    try:
        is_listed = target.name in storage.names(target.folder)
    except Absent:
        return  # a kind of storage that has no folders
    # Looked at twice: a file that others put there since the first list was read has its own name.
    if not is_listed and storage.size(target.path) is not None and target.name not in storage.names(target.folder):
        raise StepError(
            f'{redact(target.location)}: a file of another name is there, which this file system takes for the same '
            '(upper and lower case, or forms of one letter)',
            NAME_IN_USE,
        )


def _check_case(storage: Storage, target: Place) -> None:
    """The same of a file that has the right bytes, which two documents may have, without a list of a large folder.

    Where upper and lower case make a difference there is none of the other name, as a rule.
    """
    # Of ASCII letters alone: the file system does the same with all others, and the name gets no longer.
    swapped = ''.join(char.swapcase() if char.isascii() else char for char in target.name)
    try:
        is_there = storage.size(target.beside(swapped).path) is not None
    except TryLater:
        raise
    except StepError:  # a folder, or a link that leads nowhere
        is_there = True
    if is_there:
        _check_name(storage, target)


def _storage(place: Place) -> Storage:
    """Its connections are kept, for the next file."""
    return Local() if place.is_local else storage_for(place.location)


def _fetched(place: Place, stack: contextlib.ExitStack) -> Path:
    """A copy of a file of another machine, which is removed with the stack."""
    folder = _scratch(stack)
    storage = _storage(place)
    size = blame.size_of(storage, place)
    local.check_room(folder, size, redact(place.location))
    copy = folder / 'copy'  # its own name may be one that this file system does not take
    with blame.reading(storage, place):
        storage.get(place.path, copy, _progress(place, size))
    if copy.stat().st_size != size:
        raise StepError(f'{redact(place.location)} has {size} bytes, but {copy.stat().st_size} arrived', SIZE_DIFFERS)
    return copy


def _scratch(stack: contextlib.ExitStack) -> Path:
    """A new folder in `[data] scratch`, which is removed with the stack."""
    settings = config.current.get(None)
    scratch = settings.scratch if settings else ''
    try:
        scratch = scratch or tempfile.gettempdir()
        _sweep_scratch(scratch)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch)))
        # As long as it is held, others know that somebody is at it.
        held = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, held)
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(held, fcntl.LOCK_SH)
        return folder
    except OSError as error:
        where = scratch or 'the temporary folder of the system'
        raise TryLater(f'{where}, [data] scratch, cannot be used: {error.strerror}') from error


def _sweep_scratch(scratch: str) -> None:
    """Remove what processes that were killed have left there: copies as large as the files."""
    before = time.time() - SCRATCH_AGE
    with os.scandir(scratch) as entries:
        found = [
            entry.path for entry in entries if entry.name.startswith(SCRATCH) and entry.is_dir(follow_symlinks=False)
        ]
    for path in found:
        # Another user's, or gone meanwhile, or held.
        with contextlib.suppress(OSError):
            number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(number).st_mtime < before and os.fstat(number).st_uid == os.geteuid():
                    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(number)


def _progress(source: Place, size: int) -> Callable[[int], None]:
    """What is told of bytes that have been copied; logs a line for each tenth of a large file."""
    done = lines = 0

    def progress(number: int) -> None:
        nonlocal done, lines
        done += number
        if size > LARGE and done * STEPS // size > lines:
            lines = done * STEPS // size
            log.debug('%s: %d of %d MB', redact(source.location), done // 1_000_000, size // 1_000_000)

    return progress
