"""Storage that is away, for real: disks that are full, gone, or may not be written to. Never the document's fault."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.acquisition import write_file
from edw import config, files
from edw.errors import StepError, TryLater
from edw.storage import local
from edw.storage.kinds import NoFile
from edw.storage.local import MARKER, Local
from edw.storage.places import part_name
from edw.storage.remote import storage_for
from edw.transfer import local_copy, make_new_folder, new_file, target_in, transfer
from listen_analysis1 import signal_processing
from tests.scripts import ROOT

SIZE = 200_000_000  # bytes, so that progress is told while there is still a part to come


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a file system of its own, of 256 MB, that is mounted in `tmp_path`."""
    mount_point = tmp_path / 'disk'
    mount_point.mkdir()
    mount(mount_point, 'size=256m')
    make_new_folder(mount_point / 'sps')
    yield mount_point / 'sps'
    subprocess.run(['umount', '--lazy', str(mount_point)], check=False, capture_output=True)


def mount(folder: Path, options: str) -> None:
    command = ['mount', '-t', 'tmpfs', '-o', options, 'edw-test', str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip('there is no mount (Debian package mount)')
    if done.returncode:
        pytest.skip(f'this machine lets this user mount no file system: {done.stderr.strip()}')


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / 'x.root'
    with path.open('wb') as stream:
        stream.truncate(SIZE)
    return path


class Hook(logging.Handler):
    """Does something at the first line of progress, in the middle of a copy."""

    def __init__(self, action: object) -> None:
        super().__init__(logging.DEBUG)
        self.action = action

    def emit(self, record: logging.LogRecord) -> None:
        if self.action and 'MB' in record.getMessage():
            action, self.action = self.action, None
            action()


@pytest.fixture
def in_the_middle() -> Iterator[object]:
    hooks = []
    logger = logging.getLogger('edw')
    before = logger.level

    def add(action: object) -> None:
        hooks.append(Hook(action))
        logger.addHandler(hooks[-1])
        logger.setLevel(logging.DEBUG)

    yield add
    logger.setLevel(before)
    for hook in hooks:
        logger.removeHandler(hook)


def fill(folder: Path) -> None:
    with pytest.raises(OSError, match='No space left'), (folder / 'filler').open('wb', buffering=0) as stream:
        while True:
            stream.write(bytes(1 << 20))


def move(source: Path, folder: Path, md5sum: str) -> str:
    return transfer(str(source), target_in(str(folder), 'x', str(source)), md5sum).file


def test_a_disk_that_is_full_from_the_beginning(source: Path, disk: Path) -> None:
    md5 = files.md5_of(source)
    fill(disk)
    with pytest.raises(TryLater, match=f'{disk}: No space left on device: {source} needs {SIZE} bytes more'):
        move(source, disk, md5)
    assert sorted(os.listdir(disk)) == [MARKER, 'filler']
    (disk / 'filler').unlink()
    assert files.md5_of(move(source, disk, md5)) == md5


def test_a_disk_that_becomes_full_is_given_its_room_back(source: Path, disk: Path, in_the_middle: object) -> None:
    md5 = files.md5_of(source)
    in_the_middle(lambda: fill(disk))
    with pytest.raises(TryLater, match=f'{source} cannot be moved to {disk}/: No space left on device'):
        move(source, disk, md5)
    assert sorted(os.listdir(disk)) == [MARKER, 'filler']
    (disk / 'filler').unlink()
    assert files.md5_of(move(source, disk, md5)) == md5


def test_no_room_for_the_rest_of_a_copy_gives_its_room_back(source: Path, disk: Path) -> None:
    md5 = files.md5_of(source)
    (disk / part_name('x.root', md5)).write_bytes(bytes(1_000_000))
    fill(disk)
    with pytest.raises(TryLater, match='No space left'):
        move(source, disk, md5)
    assert sorted(os.listdir(disk)) == [MARKER, 'filler']


def test_a_disk_without_room_for_one_more_file(tmp_path: Path) -> None:
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount(folder, 'size=64m,nr_inodes=2')
    try:
        (folder / MARKER).touch()
        source = tmp_path / 'x.root'
        source.write_bytes(b'x')
        with pytest.raises(TryLater, match=f'{folder}.*No space left on device'):
            move(source, folder, files.md5_of(source))
    finally:
        subprocess.run(['umount', str(folder)], check=True)


def test_a_disk_that_is_not_mounted(source: Path, disk: Path) -> None:
    md5 = files.md5_of(source)
    subprocess.run(['umount', str(disk.parent)], check=True)
    with pytest.raises(TryLater, match=f'the folder {disk} cannot be used: No such file or directory.*mkdir -p {disk}'):
        move(source, disk, md5)
    with pytest.raises(TryLater, match=f'the folder {disk.parent} is empty: is its disk mounted.*touch'):
        move(source, disk.parent, md5)
    assert os.listdir(disk.parent) == []


def test_a_file_to_be_read_whose_disk_is_unmounted(disk: Path) -> None:
    (disk / 'x.root').write_bytes(b'x')
    with pytest.raises(TryLater, match=f'{disk.parent} is empty; is its disk mounted'), local_copy(f'{disk}/x.root'):
        subprocess.run(['umount', '--lazy', str(disk.parent)], check=True)
        (disk / 'x.root').read_bytes()
    with (
        pytest.raises(TryLater, match=f'{disk.parent} is empty; is its disk mounted'),
        local_copy(f'{disk}/x.root', files.md5_of_stream(io.BytesIO(b'x'))),
    ):
        pass


def test_a_disk_that_is_mounted_read_only(source: Path, disk: Path) -> None:
    md5 = files.md5_of(source)
    subprocess.run(['mount', '-o', 'remount,ro', str(disk.parent)], check=True)
    with pytest.raises(TryLater, match=f'{disk}/.*Read-only file system'):
        move(source, disk, md5)


@pytest.fixture
def nobody() -> Iterator[None]:
    """Without root's rights for the time of a test: root may write and read everywhere."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_a_folder_that_may_not_be_written_to(nobody: None) -> None:
    with pytest.raises(TryLater, match='the folder /usr cannot be written to: Permission denied'):
        move(Path('/etc/hostname'), Path('/usr'), files.md5_of('/etc/hostname'))


def test_a_file_that_may_not_be_read_is_the_documents_fault(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip('needs root, to be somebody else')
    source = Path('/etc/shadow')
    folder = Path('/tmp') / f'edw-{os.getpid()}'
    make_new_folder(folder)
    folder.chmod(0o777)
    os.seteuid(65534)
    try:
        with pytest.raises(StepError, match=f'{source} cannot be moved.*Permission denied') as caught:
            move(source, folder, '0' * 32)
        assert not isinstance(caught.value, TryLater) and os.listdir(folder) == [MARKER]
    finally:
        os.seteuid(0)
        (folder / MARKER).unlink()
        folder.rmdir()


def test_a_folder_that_may_not_be_looked_into_is_the_places_fault(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip('needs root, to be somebody else')
    folder = Path('/tmp') / f'edw-{os.getpid()}'
    make_new_folder(folder)
    folder.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(TryLater, match=f'the folder {folder}/ cannot be used: Permission denied'):
            move(Path('/etc/hostname'), folder, files.md5_of('/etc/hostname'))
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_what_another_users_listener_has_begun_is_passed_by(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip('needs root, to be somebody else')
    folder = Path('/tmp') / f'edw-{os.getpid()}'
    make_new_folder(folder)
    folder.chmod(0o777)
    md5 = files.md5_of('/etc/hostname')
    (folder / part_name('x', md5)).write_bytes(b'of root')
    os.seteuid(65534)
    try:
        assert files.md5_of(move(Path('/etc/hostname'), folder, md5)) == md5
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


@pytest.fixture
def bad(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file that cannot be read: the first page of a process's memory is never there, Input/output error."""
    folder = tmp_path / 'bad'
    folder.mkdir()
    made = []

    def make(name: str) -> Path:
        path = folder / name
        path.touch()
        try:
            subprocess.run(['mount', '--bind', f'/proc/{os.getpid()}/mem', str(path)], check=True, capture_output=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            pytest.skip('this machine lets this user mount nothing')
        made.append(path)
        return path

    yield make
    for path in made:
        subprocess.run(['umount', str(path)], check=True)


def test_one_bad_file_on_a_good_disk_is_its_documents_fault(bad: Callable[[str], Path], disk: Path) -> None:
    path = bad('x.root')
    for ask in (lambda: move(path, disk, '0' * 32), lambda: local_copy(str(path), '0' * 32).__enter__()):
        with pytest.raises(TryLater, match=f'{path}: Input/output error'):
            ask()  # nothing tells it from a bad disk
        (path.parent / 'y.root').write_bytes(b'good')
        with pytest.raises(StepError, match=f'{path}: Input/output error; other files of its folder') as error:
            ask()
        assert not isinstance(error.value, TryLater)
        (path.parent / 'y.root').unlink()
    assert os.listdir(disk) == [MARKER]


def test_a_disk_with_originals_that_is_not_mounted(tmp_path: Path, disk: Path) -> None:
    """A mount point is empty then; a folder that holds others has lost the one file."""
    raw = tmp_path / 'raw'
    raw.mkdir()
    for name in ('x.root', 'run/x.root'):
        with pytest.raises(TryLater, match=f'{raw} is empty; is its disk mounted'):
            move(raw / name, disk, '0' * 32)
    (raw / 'y.root').touch()
    for name in ('x.root', 'run/x.root'):
        with pytest.raises(StepError, match='No such file') as error:
            move(raw / name, disk, '0' * 32)
        assert not isinstance(error.value, TryLater)


def test_a_folder_that_is_removed_in_the_middle(source: Path, disk: Path, in_the_middle: object) -> None:
    md5 = files.md5_of(source)
    in_the_middle(lambda: shutil.rmtree(disk))
    with pytest.raises(TryLater, match=f'the folder {disk} cannot be used: No such file'):
        move(source, disk, md5)


def test_a_fifo_that_takes_the_files_place_is_not_waited_for(
    source: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = Local.size

    def swap(self: Local, path: str) -> int | None:
        found = size(self, path)
        if path == str(source) and found is not None:
            source.unlink()
            os.mkfifo(source)
        return found

    monkeypatch.setattr(Local, 'size', swap)
    with pytest.raises(NoFile, match=f'{source} is no regular file'):
        move(source, disk, '0' * 32)


def test_a_source_on_a_machine_that_is_away_is_kept_in_part(source: Path, disk: Path) -> None:
    """What had come before the connection broke is gone on with."""
    md5 = files.md5_of(source)
    broken = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    with pytest.raises(OSError, match='No route'), local.part(disk / 'x.root', part_name('x.root', md5)) as part:
        part.write_bytes(bytes(1_000_000))
        raise broken
    inode = part.stat().st_ino
    assert Path(move(source, disk, md5)).stat().st_ino == inode


def test_an_analysis_on_a_full_disk(disk: Path) -> None:
    path = disk / 'ma22a000_000.root'
    write_file(path, 30, np.random.default_rng(3))
    fill(disk)
    doc = {'_id': path.stem, 'process': [{'name': 'move_to_sps', 'file': str(path)}]}
    with pytest.raises(TryLater, match=f'{path.stem}.amp.root cannot be written: No space left on device'):
        signal_processing(doc)
    assert sorted(os.listdir(disk)) == [MARKER, 'filler', path.name]
    (disk / 'filler').unlink()
    assert Path(signal_processing(doc)['file']).is_file()


@pytest.fixture
def scratch(disk: Path) -> Iterator[Path]:
    """[data] scratch on the small disk."""
    with config.using(replace(config.load(), scratch=str(disk))):
        yield disk


def test_a_copy_of_another_machines_file_is_made_in_scratch(scratch: Path) -> None:
    put_in_memory(b'x' * 1000)
    with local_copy('memory://host/x.root') as path:
        assert path.is_relative_to(scratch) and path.read_bytes() == b'x' * 1000
    assert os.listdir(scratch) == [MARKER]


def test_room_in_scratch_is_looked_for_before(scratch: Path) -> None:
    put_in_memory(b'x' * 1000)
    fill(scratch)
    with (
        pytest.raises(TryLater, match=r'No space left on device: memory://host/x.root needs 1000 bytes more'),
        local_copy('memory://host/x.root'),
    ):
        pass
    assert sorted(os.listdir(scratch)) == [MARKER, 'filler']


def test_room_for_a_copy_of_another_machines_file_is_looked_for_before(disk: Path) -> None:
    """Else each try would copy as much as there is room for, and take that from everybody else meanwhile."""
    put_in_memory(b'x' * 1000)
    fill(disk)
    with pytest.raises(TryLater, match=f'{disk}: No space left.*memory://host/x.root needs 1000 bytes more, and 0'):
        transfer('memory://host/x.root', f'{disk}/x.root', '0' * 32)
    assert sorted(os.listdir(disk)) == [MARKER, 'filler']


def test_a_scratch_folder_that_is_not_there(tmp_path: Path) -> None:
    put_in_memory(b'x')
    with config.using(replace(config.load(), scratch=str(tmp_path / 'none'))):
        with (
            pytest.raises(TryLater, match=r'none, \[data\] scratch, cannot be used'),
            local_copy('memory://host/x.root'),
        ):
            pass
        with pytest.raises(TryLater, match=r'none, \[data\] scratch'), new_file('memory://host/y.root'):
            pass


def test_no_folder_for_temporary_files_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where all of them are full when a listener starts."""
    put_in_memory(b'x')
    monkeypatch.setattr('tempfile.tempdir', None)
    monkeypatch.setattr('tempfile._candidate_tempdir_list', lambda: ['/nowhere'])
    with pytest.raises(TryLater, match=r'scratch, cannot be used'), local_copy('memory://host/x.root'):
        pass
    with pytest.raises(TryLater, match=r'ssh cannot be started'):
        storage_for('sftp://127.0.0.1:1/x').size('/x')


def test_what_a_killed_process_left_in_scratch_is_removed(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('edw.storage.transfer.SCRATCH_AGE', -1.0)
    code = (
        'import sys; from dataclasses import replace; from edw import config; from edw.transfer import local_copy\n'
        'from tests.integration.test_storage_away import put_in_memory; put_in_memory(b"x" * 1000)\n'
        'with config.using(replace(config.load(), scratch=sys.argv[1])), local_copy("memory://host/x.root") as path:\n'
        '    print(path, flush=True); input()\n'
    )
    command = [sys.executable, '-c', code, str(scratch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        put_in_memory(b'y')
        with local_copy('memory://host/x.root'):
            assert path.read_bytes() == b'x' * 1000
        process.kill()
        process.wait()
        assert path.exists()
        with local_copy('memory://host/x.root'):
            assert not path.parent.exists()
    assert os.listdir(scratch) == [MARKER]


def put_in_memory(content: bytes) -> None:
    """A file of fsspec's own storage in memory, in place of another machine."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem().pipe_file('/host/x.root', content)
