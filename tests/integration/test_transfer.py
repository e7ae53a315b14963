"""Files moved for real: locally, and over SFTP to a real sshd."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edw import files
from edw.errors import NAME_IN_USE, StepError, TryLater, Unprocessable
from edw.storage import local
from edw.storage.local import MARKER
from edw.storage.places import part_name
from edw.transfer import Transfer, local_copy, make_new_folder, new_file, target_in, transfer
from tests import disks
from tests.integration import sshd
from tests.programs import program
from tests.scripts import ROOT

CONTENT = bytes(range(256)) * 2000
MD5 = '55d76a1ba0dd2b2e2ab5e9a0f4d9d8e0'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / 'raw'
    folder.mkdir()
    file = folder / 'x.root'
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def sps(tmp_path: Path) -> Path:
    folder = tmp_path / 'sps'
    make_new_folder(folder)
    return folder


def move(source: Path | str, folder: Path | str, md5sum: str | None = None, doc_id: str = 'x') -> Transfer:
    """As move_to_sps does it."""
    target = target_in(str(folder), doc_id, str(source))
    return transfer(str(source), target, md5sum or files.md5_of(source))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name != MARKER)


def test_a_copy_under_the_documents_name(source: Path, sps: Path) -> None:
    moved = move(source, sps, doc_id='ma22a000_000')
    assert moved.file == str(sps / 'ma22a000_000.root') and Path(moved.file).read_bytes() == CONTENT
    assert moved.md5sum == files.md5_of(moved.file) and moved.bytes == len(CONTENT) and moved.copied
    assert f'{len(CONTENT)} bytes in ' in moved.log and 'MB/s' in moved.log and 'aside' not in moved.log
    assert source.read_bytes() == CONTENT
    assert names(sps) == ['ma22a000_000.root']


def test_files_of_one_base_name_stay_two_files(tmp_path: Path, sps: Path) -> None:
    moved = {}
    for run in ('a', 'b'):
        file = tmp_path / 'store' / run / 'data.root'
        file.parent.mkdir(parents=True)
        file.write_text(run)
        moved[run] = move(file, sps, doc_id=f'run_{run}').file
    assert {run: Path(file).read_text() for run, file in moved.items()} == {'a': 'a', 'b': 'b'}


def test_what_is_there_is_left_if_right_and_set_aside_if_wrong(
    source: Path, sps: Path, caplog: pytest.LogCaptureFixture
) -> None:
    move(source, sps)
    inode = (sps / 'x.root').stat().st_ino
    again = move(source, sps)
    assert not again.copied and 'already there' in again.log and (sps / 'x.root').stat().st_ino == inode
    for content in (b'half', b'other', b'half'):
        (sps / 'x.root').write_bytes(content)
        moved = move(source, sps)
        assert moved.copied and Path(moved.aside).read_bytes() == content
        assert files.md5_of(moved.aside) in moved.aside and moved.aside in moved.log and moved.aside in caplog.text
        assert (sps / 'x.root').read_bytes() == CONTENT
    assert len(names(sps)) == 4


def test_what_cannot_be_replaced_is_not_set_aside(source: Path, sps: Path) -> None:
    (sps / 'x.root').write_bytes(b'of another document')
    with pytest.raises(StepError, match='document says'):
        move(source, sps, MD5)
    assert names(sps) == ['x.root'] and (sps / 'x.root').read_bytes() == b'of another document'


@pytest.fixture
def caseless(tmp_path: Path) -> Iterator[Path]:
    """A folder of a disk to which upper and lower case are one."""
    folder = tmp_path / 'caseless'
    folder.mkdir()
    if reason := disks.mount_without_case(tmp_path / 'disk', folder):
        pytest.skip(reason)
    (folder / MARKER).touch()
    yield folder
    disks.unmount(folder)


@pytest.mark.parametrize('other', [CONTENT, b'other'], ids=['the same bytes', 'other bytes'])
def test_ids_that_differ_in_case_do_not_share_a_file_where_it_makes_no_difference(
    source: Path, caseless: Path, other: bytes
) -> None:
    moved = move(source, caseless, doc_id='Run1')
    source.write_bytes(other)
    with pytest.raises(StepError, match='upper and lower case'):
        move(source, caseless, doc_id='run1')
    with pytest.raises(StepError, match='upper and lower case'), new_file(str(caseless / 'run1.root')) as result:
        result.write_bytes(other)
    assert names(caseless) == ['Run1.root'] and Path(moved.file).read_bytes() == CONTENT
    source.write_bytes(CONTENT)
    assert not move(source, caseless, doc_id='Run1').copied


@pytest.mark.parametrize('other', [CONTENT, b'other'], ids=['the same bytes', 'other bytes'])
def test_of_two_at_once_whose_ids_differ_in_case_one_has_the_name(
    source: Path, caseless: Path, tmp_path: Path, other: bytes
) -> None:
    (tmp_path / 'other.root').write_bytes(other)
    sources = {'Run': source, 'run': tmp_path / 'other.root'}
    for turn in range(10):

        def act(doc_id: str, turn: int = turn) -> Transfer | StepError:
            try:
                return move(sources[doc_id], caseless, doc_id=f'{doc_id}{turn}')
            except StepError as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(act, sources))
        (moved,) = [one for one in done if isinstance(one, Transfer)]
        (refused,) = [one for one in done if isinstance(one, StepError)]
        assert refused.kind == NAME_IN_USE
        assert Path(moved.file).name in names(caseless) and files.md5_of(moved.file) == moved.md5sum
    assert len(names(caseless)) == 10


def test_an_md5_in_capital_letters_is_the_same(source: Path, sps: Path) -> None:
    md5 = f' {files.md5_of(source).upper()}'
    moved = move(source, sps, md5)
    assert moved.md5sum == files.md5_of(source)
    with local_copy(moved.file, md5):
        pass


def test_a_link_in_the_way_is_set_aside_and_its_file_stays(source: Path, sps: Path, tmp_path: Path) -> None:
    other = tmp_path / 'other'
    other.write_bytes(b'other')
    (sps / 'x.root').symlink_to(other)
    moved = move(source, sps)
    assert other.read_bytes() == b'other' and Path(moved.aside).is_symlink()
    assert not Path(moved.file).is_symlink() and Path(moved.file).read_bytes() == CONTENT
    (sps / 'y.root').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(StepError, match='a link to a file that is not there'):
        move(source, sps, doc_id='y')


def test_a_folder_that_takes_no_file_is_the_places_fault_here_and_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    with sshd.running(program('sshd', package='openssh-server'), tmp_path, tmp_path / 'home') as url:
        for folder in ('/sys/kernel', f'{url}/sys/kernel'):
            with pytest.raises(TryLater, match=r'the folder .*/sys/kernel.* cannot be .*Permission denied'):
                move(source, folder)


def test_a_finished_transfer_does_not_need_its_source_again(source: Path, sps: Path) -> None:
    md5 = files.md5_of(source)
    move(source, sps)
    source.unlink()
    assert not move(source, sps, md5).copied


def test_wrong_md5_leaves_nothing(source: Path, sps: Path) -> None:
    with pytest.raises(StepError, match=f'{files.md5_of(source)}, but its document says {MD5}'):
        move(source, sps, MD5)
    assert names(sps) == []


@pytest.mark.parametrize(
    ('location', 'says'),
    [
        ('/nowhere/x.root', 'No such file'),
        ('gopher://host/x.root', 'gopher'),
        ('sftp://me:hush@127.0.0.1:1/x.root', '127.0.0.1:1: no login'),
    ],
)
def test_sources_that_cannot_be_read(sps: Path, location: str, says: str) -> None:
    with pytest.raises(StepError, match=says) as error:
        move(location, sps, MD5)
    assert 'hush' not in str(error.value)
    assert names(sps) == []


@pytest.mark.parametrize('kind', ['folder', 'pipe'])
def test_sources_that_are_no_files(sps: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'x.root'
    path.mkdir() if kind == 'folder' else os.mkfifo(path)
    with pytest.raises(StepError, match=f'{path} .*no regular file'):
        move(path, sps, MD5)
    assert names(sps) == []


def test_colons_and_hashes_in_a_path_are_no_url(tmp_path: Path, sps: Path) -> None:
    source = tmp_path / 'a::b#c?d%20e f\n\'".root'
    source.write_bytes(CONTENT)
    assert Path(move(source, sps).file).read_bytes() == CONTENT


@pytest.mark.parametrize('doc_id', ['x' * 250, 'ä' * 125])
def test_a_name_as_long_as_the_file_system_takes(source: Path, sps: Path, doc_id: str) -> None:
    (sps / f'{doc_id}.root').write_bytes(b'half')
    moved = move(source, sps, doc_id=doc_id)
    assert Path(moved.file).read_bytes() == CONTENT and Path(moved.file).stem == doc_id
    assert Path(moved.aside).read_bytes() == b'half'


def test_a_source_with_a_name_that_no_file_system_takes(sps: Path) -> None:
    with pytest.raises(Unprocessable, match='File name too long, 305 bytes in a path of'):
        move(f'/{"x" * 300}.root', sps, MD5)


@pytest.mark.parametrize('size', [0, 1, 20_000_000])
@pytest.mark.parametrize('there', [0, 1, 10_000_000, 20_000_000, 30_000_000])
def test_a_copy_that_broke_off_goes_on(tmp_path: Path, sps: Path, size: int, there: int) -> None:
    source = tmp_path / 'x.root'
    source.write_bytes(os.urandom(size))
    part = sps / part_name('x.root', files.md5_of(source))
    part.write_bytes((source.read_bytes() + bytes(there))[:there])
    inode = part.stat().st_ino
    moved = move(source, sps)
    assert Path(moved.file).read_bytes() == source.read_bytes() and names(sps) == ['x.root']
    assert Path(moved.file).stat().st_ino == inode


def test_a_part_that_is_of_no_use_is_not_gone_on_with(source: Path, sps: Path) -> None:
    """As a crash of the machine leaves it: the size is there, the content is not."""
    part = sps / part_name('x.root', files.md5_of(source))
    part.write_bytes(CONTENT[:1000] + bytes(100_000))
    assert Path(move(source, sps).file).read_bytes() == CONTENT and names(sps) == ['x.root']


def test_a_part_that_is_another_name_of_a_file_in_its_place_is_not_written_to(source: Path, sps: Path) -> None:
    """As a process leaves it that is killed between giving the file its name and taking the part's away."""
    md5 = files.md5_of(source)
    move(source, sps)
    os.link(sps / 'x.root', sps / part_name('x.root', md5))
    (sps / 'x.root').write_bytes(b'damaged later')
    moved = move(source, sps)
    assert Path(moved.file).read_bytes() == CONTENT and Path(moved.aside).read_bytes() == b'damaged later'
    assert len(names(sps)) == 2


def test_a_killed_copy_leaves_its_part_and_goes_on(tmp_path: Path, sps: Path) -> None:
    source = tmp_path / 'x.root'
    with source.open('wb') as stream:
        stream.truncate(400_000_000)
    code = (
        'import logging, os, signal, sys; from edw.transfer import transfer\n'
        'class Killer(logging.Handler):\n'
        '    def emit(self, record): os.kill(os.getpid(), signal.SIGKILL)\n'
        'logging.getLogger("edw").addHandler(Killer()); logging.getLogger("edw").setLevel(logging.DEBUG)\n'
        'transfer(*sys.argv[1:])\n'
    )
    md5 = files.md5_of(source)
    arguments = [str(source), target_in(str(sps), 'x', str(source)), md5]
    done = subprocess.run([sys.executable, '-c', code, *arguments], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    (part,) = names(sps)
    begun = (sps / part).stat()
    assert part == part_name('x.root', md5) and 40_000_000 <= begun.st_size < 400_000_000
    assert Path(move(source, sps, md5).file).stat().st_ino == begun.st_ino and names(sps) == ['x.root']


def test_a_part_that_another_process_works_on_is_left_to_it(source: Path, sps: Path) -> None:
    md5 = files.md5_of(source)
    with local.part(sps / 'x.root', part_name('x.root', md5)) as part:
        part.write_bytes(b'of a process that is paused')
        assert Path(move(source, sps).file).read_bytes() == CONTENT
        assert part.read_bytes() == b'of a process that is paused'
    assert names(sps) == ['x.root']


def test_many_who_copy_the_same_file_at_once(tmp_path: Path, sps: Path) -> None:
    source = tmp_path / 'x.root'
    source.write_bytes(os.urandom(5_000_000))
    md5 = files.md5_of(source)
    (sps / 'x.root').write_bytes(b'other')
    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(lambda _: move(source, sps, md5), range(24)))
    assert {transfer.file for transfer in moved} == {str(sps / 'x.root')} and files.md5_of(sps / 'x.root') == md5
    asides = [name for name in names(sps) if name != 'x.root']
    assert [(sps / name).read_bytes() for name in asides] == [b'other']


def test_the_progress_of_a_large_file_is_logged(
    tmp_path: Path, sps: Path, caplog: pytest.LogCaptureFixture, source: Path
) -> None:
    caplog.set_level(logging.DEBUG, 'edw')
    move(source, sps)
    assert not caplog.messages
    large = tmp_path / 'large.root'
    with large.open('wb') as stream:
        stream.truncate(200_000_000)
    move(large, sps, doc_id='large')
    assert len(caplog.messages) == 10 and f'{large}: 200 of 200 MB' == caplog.messages[-1]


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = program('sshd', package='openssh-server')
    home = tmp_path / 'home'
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    folder = tmp_path / 'sshd'
    folder.mkdir()
    with sshd.running(server, folder, home) as url:
        yield url


def test_sftp_target(source: Path, sps: Path, sftp: str) -> None:
    folder = f'{sftp}{sps}'
    moved = move(source, folder)
    assert moved.file == f'{folder}/x.root' and moved.hostname == '127.0.0.1' and moved.copied
    assert (sps / 'x.root').read_bytes() == CONTENT
    assert not move(source, folder).copied
    (sps / 'x.root').write_bytes(b'half')
    moved = move(source, folder)
    assert moved.copied and moved.aside.startswith(f'{folder}/x.root.')
    assert [(sps / name).read_bytes() for name in names(sps)] == [CONTENT, b'half']


def test_sftp_names_at_their_limit(tmp_path: Path, source: Path, sps: Path, sftp: str) -> None:
    moved = move(source, f'{sftp}{sps}', doc_id='ä' * 125)
    assert names(sps) == ['ä' * 125 + '.root']
    with local_copy(moved.file) as copy:
        assert copy.read_bytes() == CONTENT
    with pytest.raises(StepError, match='260'):
        move(f'{sftp}/{"x" * 255}.root', f'{sftp}{sps}', MD5)


@pytest.mark.parametrize('name', ['run#1', 'run?1', 'run%231', 'run::1', 'run 1', 'ä', '\'"$(x)`'])
def test_sftp_names_arrive_as_they_are(tmp_path: Path, sps: Path, sftp: str, name: str) -> None:
    (tmp_path / 'run').write_bytes(b'another file')
    source = tmp_path / f'{name}.root'
    source.write_bytes(CONTENT)
    folder = tmp_path / f'to {name}'
    make_new_folder(folder)
    with local_copy(f'{sftp}{source}', files.md5_of(source)) as copy:
        assert copy.read_bytes() == CONTENT
    moved = transfer(f'{sftp}{source}', f'{sftp}{folder}/{name}.root', files.md5_of(source))
    assert (folder / f'{name}.root').read_bytes() == CONTENT and moved.file == f'{sftp}{folder}/{name}.root'


def test_sftp_source(source: Path, sps: Path, sftp: str) -> None:
    moved = move(f'{sftp}{source}', sps, files.md5_of(source))
    assert Path(moved.file).read_bytes() == CONTENT
    with pytest.raises(StepError, match='No such file'):
        move(f'{sftp}/nowhere/x.root', sps, MD5)
    with pytest.raises(StepError, match='document says'):
        move(f'{sftp}{source}', f'{sftp}{sps}', MD5, 'y')
    assert names(sps) == ['x.root']
    with local_copy(f'{sftp}{source}') as copy:
        assert copy.read_bytes() == CONTENT
    assert not copy.exists()


def test_sftp_to_a_host_that_nobody_vouches_for(source: Path, sftp: str, tmp_path: Path) -> None:
    (tmp_path / 'home' / '.ssh' / 'known_hosts').write_text('')
    with pytest.raises(StepError, match=r'not in .*known_hosts'):
        move(source, f'{sftp}{tmp_path}/sps')
    assert not (tmp_path / 'sps').exists()
