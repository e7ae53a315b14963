"""Files moved for real: locally, over SFTP to a real sshd, onto a full disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edw import files
from edw.errors import StepError, Unprocessable
from edw.transfer import local_copy, transfer
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
    return tmp_path / 'sps'


def test_a_copy_under_its_own_name(source: Path, sps: Path) -> None:
    moved = transfer(str(source), str(sps), files.md5_of(source))
    assert moved.file == str(sps / 'x.root') and Path(moved.file).read_bytes() == CONTENT
    assert moved.md5sum == files.md5_of(moved.file) and moved.bytes == len(CONTENT) and moved.copied
    assert f'{len(CONTENT)} bytes in ' in moved.log and 'MB/s' in moved.log
    assert source.read_bytes() == CONTENT
    assert [file.name for file in sps.iterdir()] == ['x.root']


def test_what_is_there_is_left_if_right_and_replaced_if_wrong(source: Path, sps: Path) -> None:
    md5 = files.md5_of(source)
    transfer(str(source), str(sps), md5)
    inode = (sps / 'x.root').stat().st_ino
    again = transfer(str(source), str(sps), md5)
    assert not again.copied and 'already there' in again.log and (sps / 'x.root').stat().st_ino == inode
    (sps / 'x.root').write_bytes(b'half')
    assert transfer(str(source), str(sps), md5).copied
    assert (sps / 'x.root').read_bytes() == CONTENT


def test_a_finished_transfer_does_not_need_its_source_again(source: Path, sps: Path) -> None:
    md5 = files.md5_of(source)
    transfer(str(source), str(sps), md5)
    source.unlink()
    assert not transfer(str(source), str(sps), md5).copied


def test_wrong_md5_leaves_nothing(source: Path, sps: Path) -> None:
    with pytest.raises(StepError, match=f'{files.md5_of(source)}, but its document says {MD5}'):
        transfer(str(source), str(sps), MD5)
    assert list(sps.iterdir()) == []


def test_wrong_md5_leaves_what_was_there(source: Path, sps: Path) -> None:
    transfer(str(source), str(sps), files.md5_of(source))
    with pytest.raises(StepError):
        transfer(str(source), str(sps), MD5)
    assert (sps / 'x.root').read_bytes() == CONTENT


@pytest.mark.parametrize('location', ['', 'x.root', '/', '/a/..', 'sftp://host', 'sftp://host/'])
def test_what_is_no_file(sps: Path, location: str) -> None:
    with pytest.raises(Unprocessable, match='absolute path or URL'):
        transfer(location, str(sps), MD5)


@pytest.mark.parametrize(
    ('location', 'says'),
    [
        ('/nowhere/x.root', 'No such file'),
        ('gopher://host/x.root', 'gopher'),
        ('sftp://me:hush@127.0.0.1:1/x.root', 'cannot be moved'),
    ],
)
def test_sources_that_cannot_be_read(sps: Path, location: str, says: str) -> None:
    with pytest.raises(StepError, match=says) as error:
        transfer(location, str(sps), MD5)
    assert 'hush' not in str(error.value)
    assert not sps.exists() or list(sps.iterdir()) == []


def test_a_folder_where_a_file_is(source: Path, sps: Path) -> None:
    sps.write_text('not a folder')
    with pytest.raises(StepError, match='cannot be'):
        transfer(str(source), str(sps), files.md5_of(source))


def test_a_folder_that_nobody_may_write_to(source: Path) -> None:
    # Not even root, as whom tests run in containers, makes folders there.
    with pytest.raises(StepError, match='the folder /sys/kernel/edw cannot be made'):
        transfer(str(source), '/sys/kernel/edw', files.md5_of(source))


def test_colons_and_hashes_in_a_path_are_no_url(tmp_path: Path, sps: Path) -> None:
    source = tmp_path / 'a::b#c?d.root'
    source.write_bytes(CONTENT)
    assert Path(transfer(str(source), str(sps), files.md5_of(source)).file).read_bytes() == CONTENT


def test_a_full_disk_leaves_nothing_and_can_be_done_again(source: Path, sps: Path) -> None:
    """On a real file system of 64 kB, in a mount namespace of the test's own."""
    sps.mkdir()
    (sps / 'marker').touch()
    code = (
        'import os, sys; from edw.transfer import transfer\n'
        'source, sps, md5 = sys.argv[1:]\n'
        'try: transfer(source, sps, md5)\n'
        'except Exception as error: print(type(error).__name__, error)\n'
        'print(os.listdir(sps))\n'
    )
    mount = f'mount -t tmpfs -o size=64k none {sps} && exec "$@"'
    command = [program('unshare', package='util-linux'), '--mount', '--map-root-user', 'sh', '-c', mount, 'sh']
    if subprocess.run([*command, 'true'], capture_output=True, check=False).returncode:
        pytest.skip('this machine lets nobody mount a file system of their own')
    arguments = [sys.executable, '-c', code, str(source), str(sps), files.md5_of(source)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, cwd=ROOT)
    error, left = done.stdout.splitlines()
    assert error.startswith('StepError') and 'No space left on device' in error
    assert left == '[]'
    assert transfer(str(source), str(sps), files.md5_of(source)).copied


@pytest.mark.parametrize('name', ['x' * 250 + '.root', 'ä' * 125 + '.root'])
def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path, sps: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes(CONTENT)
    assert Path(transfer(str(source), str(sps), files.md5_of(source)).file).read_bytes() == CONTENT
    assert [file.name for file in sps.iterdir()] == [name]


def test_a_source_with_a_name_that_no_file_system_takes(sps: Path) -> None:
    sps.mkdir()
    with pytest.raises(Unprocessable, match='File name too long, 305 bytes in a path of'):
        transfer(f'/{"x" * 300}.root', str(sps), MD5)


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
    md5 = files.md5_of(source)
    moved = transfer(str(source), f'{sftp}{sps}', md5)
    assert moved.file == f'{sftp}{sps}/x.root' and moved.hostname == '127.0.0.1' and moved.copied
    assert (sps / 'x.root').read_bytes() == CONTENT
    assert not transfer(str(source), f'{sftp}{sps}', md5).copied
    (sps / 'x.root').write_bytes(b'half')
    assert transfer(str(source), f'{sftp}{sps}', md5).copied
    assert [(file.name, file.read_bytes()) for file in sps.iterdir()] == [('x.root', CONTENT)]


def test_sftp_names_at_their_limit(tmp_path: Path, sps: Path, sftp: str) -> None:
    source = tmp_path / ('ä' * 125 + '.root')
    source.write_bytes(CONTENT)
    md5 = files.md5_of(source)
    moved = transfer(str(source), f'{sftp}{sps}', md5)
    assert (sps / source.name).read_bytes() == CONTENT
    with local_copy(moved.file) as copy:
        assert copy.read_bytes() == CONTENT
    with pytest.raises(StepError, match=r'cannot be moved to .*name is long, 260 bytes in a path of'):
        transfer(f'{sftp}/{"x" * 255}.root', f'{sftp}{sps}', md5)
    assert [file.name for file in sps.iterdir()] == [source.name]


def test_sftp_source(source: Path, sps: Path, sftp: str) -> None:
    moved = transfer(f'{sftp}{source}', str(sps), files.md5_of(source))
    assert Path(moved.file).read_bytes() == CONTENT
    with pytest.raises(StepError, match='No such file'):
        transfer(f'{sftp}/nowhere/x.root', str(sps), MD5)
    with pytest.raises(StepError, match='document says'):
        transfer(f'{sftp}{source}', f'{sftp}{sps}/other', MD5)
    assert list((sps / 'other').iterdir()) == []
    with local_copy(f'{sftp}{source}') as copy:
        assert copy.read_bytes() == CONTENT
    assert not copy.exists()


def test_sftp_to_a_host_that_nobody_vouches_for(source: Path, sftp: str, tmp_path: Path) -> None:
    (tmp_path / 'home' / '.ssh' / 'known_hosts').write_text('')
    with pytest.raises(StepError, match=r'not in .*known_hosts'):
        transfer(str(source), f'{sftp}{tmp_path}/sps', files.md5_of(source))
    assert not (tmp_path / 'sps').exists()
