"""SFTP for real: sshd on loopback, stopped and killed, full, busy, without a shell."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from edw import files
from edw.errors import StepError, TryLater, Unprocessable
from edw.storage import sftp_protocol
from edw.storage.kinds import MARKER, Absent, NoFile
from edw.storage.sftp import Sftp
from edw.storage.ssh import address_of
from tests.integration import sshd
from tests.integration.copied import CONTENT, LARGE, nothing
from tests.programs import program
from tests.scripts import ROOT

WAYS = ('ssh', 'paramiko')
ODD_NAMES = [
    'a b',
    "it's",
    '"quoted"',
    'new\nline',
    'a#b?c%20d::e',
    'ä€𝄞',
    '-rf',
    '$(touch x)`touch y`',
    'back\\slash',
    '!h*[a]~',
    'x' * 255,
    'not\udcff-utf8',
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[sshd.Server]:
    home, folder = tmp_path / 'home', tmp_path / 'sshd'
    folder.mkdir()
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    options = getattr(request, 'param', '')
    with sshd.server(program('sshd', package='openssh-server'), folder, home, options) as started:
        yield started


@pytest.fixture
def storage(server: sshd.Server) -> Iterator[Sftp]:
    storage = Sftp(address_of(server.url))
    yield storage
    storage.close()


@pytest.fixture(params=WAYS)
def either(request: pytest.FixtureRequest, server: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sftp]:
    """Both ways to log in."""
    if request.param == 'paramiko':
        monkeypatch.setenv('PATH', '/nowhere')
    storage = Sftp(address_of(server.url))
    yield storage
    storage.close()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / 'there'
    folder.mkdir()
    return folder


def test_any_name(storage: Sftp, source: Path, there: Path, tmp_path: Path) -> None:
    for name in ODD_NAMES:
        assert storage.size(f'{there}/{name}') is None
        storage.put(source, f'{there}/part', nothing)
        storage.rename(f'{there}/part', f'{there}/{name}')
        assert os.listdir(there) == [name]
        assert storage.size(f'{there}/{name}') == len(CONTENT) and storage.begin(f'{there}/{name}') == CONTENT[:1]
        assert storage.md5(f'{there}/{name}') == files.md5_of(source)
        back = tmp_path / 'back'
        storage.get(f'{there}/{name}', back, nothing)
        assert back.read_bytes() == CONTENT
        back.unlink()
        storage.remove(f'{there}/{name}')
        assert os.listdir(there) == []


def test_everything_either_way(either: Sftp, large: Path, there: Path, tmp_path: Path) -> None:
    progress: list[int] = []
    (there / 'a' / 'b c' / 'd').mkdir(parents=True)
    either.put(large, f'{there}/a/b c/d/x', progress.append)
    assert either.flushed_md5(f'{there}/a/b c/d/x') == (LARGE, files.md5_of(large))
    assert sum(progress) == LARGE and either.size(f'{there}/a/b c/d/x') == LARGE
    assert either.md5(f'{there}/a/b c/d/x') == files.md5_of(large)
    either.get(f'{there}/a/b c/d/x', tmp_path / 'back', progress.append)
    assert (tmp_path / 'back').read_bytes() == large.read_bytes() and sum(progress) == 2 * LARGE


def test_what_is_in_a_folder_and_where_a_link_leads(either: Sftp, there: Path, tmp_path: Path) -> None:
    names = [*ODD_NAMES, *(f'{number:04}' * 20 for number in range(500))]  # more than one answer holds
    for name in names:
        (there / name).touch()
    (tmp_path / 'link').symlink_to(there)
    assert sorted(either.names(f'{tmp_path}/link')) == sorted(names)
    assert either.canonical(f'{tmp_path}/link/a b') == f'{there}/a b'
    with pytest.raises(Absent):
        either.names(f'{there}/none')
    (there / 'empty').mkdir()
    assert either.names(f'{there}/empty') == []


@pytest.mark.parametrize('kind', ['FIFO', 'socket', 'folder'])
def test_what_is_no_file_is_not_waited_for(storage: Sftp, source: Path, there: Path, kind: str) -> None:
    path = there / 'x.root'
    if kind == 'folder':
        path.mkdir()
    elif kind == 'FIFO':
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    with pytest.raises(NoFile, match='no regular file'):
        storage.size(str(path))


def test_a_read_only_file_system_there(storage: Sftp, source: Path, there: Path) -> None:
    mount = [program('mount', package='mount'), '-t', 'tmpfs', '-o', 'ro', 'none', str(there)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('this machine lets nobody mount a file system')
    try:
        for ask in (lambda: storage.put(source, f'{there}/x', nothing),):
            with pytest.raises(TryLater, match=r'127\.0\.0\.1:\d+: .*: Read-only file system'):
                ask()
    finally:
        subprocess.run(['umount', str(there)], check=True)


def test_a_folder_that_is_not_there_or_empty_is_away_and_the_way_out_works(
    server: sshd.Server, storage: Sftp, there: Path
) -> None:
    for path, says in ((there, 'is empty: is its disk mounted'), (there / "not th're", 'is not there')):
        with pytest.raises(TryLater, match=f'the folder {path} {says}') as error:
            storage.check_folder(str(path))
        command = str(error.value)[str(error.value).index('ssh ') :]
        assert f'ssh -p {server.port} ' in command
        subprocess.run(['sh', '-c', command], check=True)
        storage.check_folder(str(path))
    (there / MARKER).unlink()
    storage.check_folder(str(there))  # it holds something else


def test_a_link_that_leads_nowhere_is_in_the_way(storage: Sftp, source: Path, there: Path) -> None:
    (there / 'x').symlink_to(there / 'nowhere')
    with pytest.raises(StepError, match='x is a link to a file that is not there') as error:
        storage.rename(str(source), f'{there}/x')
    assert not isinstance(error.value, TryLater) and source.exists()


def test_an_empty_file(storage: Sftp, tmp_path: Path, there: Path) -> None:
    (tmp_path / 'empty').touch()
    storage.put(tmp_path / 'empty', f'{there}/x', nothing)
    assert storage.size(f'{there}/x') == 0 and storage.md5(f'{there}/x') == files.md5_of(tmp_path / 'empty')
    storage.get(f'{there}/x', tmp_path / 'back', nothing)
    assert (tmp_path / 'back').read_bytes() == b''


def test_a_copy_goes_on_where_it_stopped(storage: Sftp, source: Path, there: Path, tmp_path: Path) -> None:
    (there / 'part').write_bytes(CONTENT[:1000])
    (tmp_path / 'back').write_bytes(CONTENT[:7])
    progress: list[int] = []
    storage.put(source, f'{there}/part', progress.append)
    assert progress[0] == 1000 and sum(progress) == len(CONTENT) and (there / 'part').read_bytes() == CONTENT
    progress.clear()
    storage.get(f'{there}/part', tmp_path / 'back', progress.append)
    assert progress[0] == 7 and sum(progress) == len(CONTENT) and (tmp_path / 'back').read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_begun_anew(storage: Sftp, source: Path, there: Path, tmp_path: Path) -> None:
    for part in (there / 'part', tmp_path / 'back'):
        part.write_bytes(b'x' * (len(CONTENT) + 1))
    storage.put(source, f'{there}/part', nothing)
    storage.get(str(source), tmp_path / 'back', nothing)
    assert (there / 'part').read_bytes() == (tmp_path / 'back').read_bytes() == CONTENT


def test_nothing_is_ever_replaced_by_a_rename(storage: Sftp, there: Path) -> None:
    (there / 'new').write_bytes(b'new')
    (there / 'old').write_bytes(b'old')
    with pytest.raises(StepError, match='there already') as error:
        storage.rename(f'{there}/new', f'{there}/old')
    assert not isinstance(error.value, TryLater)
    assert (there / 'old').read_bytes() == b'old' and (there / 'new').read_bytes() == b'new'


def test_what_is_not_there_or_not_allowed_is_no_fault_of_the_place(storage: Sftp, source: Path, there: Path) -> None:
    (there / 'file').touch()
    asked = [
        lambda: storage.get(f'{there}/none', there / 'x', nothing),
        lambda: storage.md5(f'{there}/none'),
        lambda: storage.remove(f'{there}/none'),
        lambda: storage.rename(f'{there}/none', f'{there}/other'),
        lambda: storage.put(source, f'{there}/none/x', nothing),
        lambda: storage.put(source, f'{there}/{"x" * 300}', nothing),
        lambda: storage.size(f'{there}/{"x" * 300}'),
        lambda: storage.size(str(there)),
        lambda: storage.put(source, str(there), nothing),
        lambda: storage.put(there / 'nothing here', f'{there}/x', nothing),
    ]
    for ask in asked:
        with pytest.raises(StepError) as error:
            ask()
        assert not isinstance(error.value, TryLater), error.value
    assert storage.size(f'{there}/file') == 0


@pytest.mark.parametrize('broken', ['killed', 'stopped and started'])
def test_a_copy_goes_on_when_the_connection_breaks_in_the_middle(
    server: sshd.Server, storage: Sftp, large: Path, there: Path, tmp_path: Path, broken: str
) -> None:
    done, breaks = 0, 0

    def break_it(more: int) -> None:
        nonlocal done, breaks
        done += more
        if done > LARGE // 2 and not breaks:
            breaks += 1
            if broken == 'killed':
                server.kill_sessions()
            else:
                server.stop()
                server.start()

    storage.size(str(large))
    storage.put(large, f'{there}/x', break_it)
    assert breaks and (there / 'x').read_bytes() == large.read_bytes()
    done = breaks = 0
    storage.get(f'{there}/x', tmp_path / 'back', break_it)
    assert breaks and (tmp_path / 'back').read_bytes() == large.read_bytes()


def test_a_server_that_stays_away_and_comes_back(server: sshd.Server, storage: Sftp, large: Path, there: Path) -> None:
    done = 0

    def stop(more: int) -> None:
        nonlocal done
        done += more
        if done > LARGE // 2:
            server.stop()

    with pytest.raises(TryLater, match=r'127\.0\.0\.1:\d+: no login: .*Connection refused'):
        storage.put(large, f'{there}/x', stop)
    part = (there / 'x').stat().st_size
    assert 0 < part < LARGE
    with pytest.raises(TryLater, match='Connection refused'):
        storage.size(f'{there}/x')
    server.start()
    progress: list[int] = []
    storage.put(large, f'{there}/x', progress.append)
    assert progress[0] == part and (there / 'x').read_bytes() == large.read_bytes()


def test_a_server_that_says_nothing_any_more(
    server: sshd.Server, storage: Sftp, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_protocol, 'ANSWER_LIMIT', 2)
    assert storage.size(str(source)) == len(CONTENT)
    sessions = server.sessions()
    for process in sessions:
        process.suspend()
    # A new login works: the old connection is given up, and the question asked again.
    assert storage.size(str(source)) == len(CONTENT)
    for process in sessions:
        process.resume()


@pytest.mark.parametrize('server', ['MaxStartups 2'], indirect=True)
def test_a_busy_server_is_logged_in_to_by_one_after_the_other(server: sshd.Server, source: Path) -> None:
    together = threading.Barrier(20)

    def ask(_: int) -> int | None:
        storage = Sftp(address_of(server.url))
        together.wait()
        try:
            return storage.size(str(source))
        finally:
            storage.close()

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(ask, range(20))) == [len(CONTENT)] * 20


@pytest.mark.parametrize('server', ['AllowUsers nobody-of-this-name'], indirect=True)
def test_a_login_that_is_refused(either: Sftp, source: Path) -> None:
    with pytest.raises(TryLater, match=r'127\.0\.0\.1:\d+: no login: .*(Permission denied|Authentication failed)'):
        either.size(str(source))


@pytest.mark.parametrize('known', ['', 'another'])
def test_a_host_that_nobody_vouches_for(either: Sftp, source: Path, tmp_path: Path, known: str) -> None:
    file = tmp_path / 'home' / '.ssh' / 'known_hosts'
    other = (tmp_path / 'home' / '.ssh' / 'id_ed25519.pub').read_text().split()[1]
    file.write_text(known and f'{file.read_text().rsplit(" ", 1)[0]} {other}\n')
    before = file.read_text()
    with pytest.raises(TryLater, match=r'not in .*known_hosts|does not match'):
        either.size(str(source))
    assert file.read_text() == before


@pytest.mark.parametrize('server', ['ForceCommand internal-sftp'], indirect=True)
def test_an_account_for_sftp_alone_is_read_back(storage: Sftp, large: Path) -> None:
    assert storage.flushed_md5(str(large)) == (LARGE, files.md5_of(large))
    assert storage.md5(str(large)) == files.md5_of(large)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / 'small'
    folder.mkdir()
    mount = [program('mount', package='mount'), '-t', 'tmpfs', '-o', 'size=1m', 'none', str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('this machine lets nobody mount a file system')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.parametrize('server', ['', 'ForceCommand internal-sftp'], indirect=True)
def test_a_full_disk_there(storage: Sftp, source: Path, large: Path, small: Path) -> None:
    with pytest.raises(TryLater, match=r'127\.0\.0\.1:\d+: .*: No space left on device'):
        storage.put(large, f'{small}/x', nothing)
    assert os.listdir(small) == ['x']
    storage.remove(f'{small}/x')
    storage.put(source, f'{small}/x', nothing)
    assert (small / 'x').read_bytes() == CONTENT


def test_a_full_disk_here(storage: Sftp, large: Path, small: Path) -> None:
    with pytest.raises(TryLater, match='No space left on device'):
        storage.get(str(large), small / 'x', nothing)
    assert storage.size(str(large)) == LARGE


@pytest.mark.parametrize('change', ['grows', 'is truncated'])
def test_a_file_that_changes_while_it_is_read(storage: Sftp, large: Path, tmp_path: Path, change: str) -> None:
    def change_it(more: int) -> None:
        if change == 'grows':
            with open(large, 'ab') as stream:
                stream.write(b'more')
        else:
            os.truncate(large, 1000)

    with pytest.raises(StepError, match=f'changed while it was read: it had {LARGE} bytes') as error:
        storage.get(str(large), tmp_path / 'back', change_it)
    assert not isinstance(error.value, TryLater)
    assert storage.size(str(large)) == large.stat().st_size


def ssh_processes() -> list[psutil.Process]:
    """Those of this process; of other tests some may be left, whose server is gone."""
    return [process for process in psutil.Process().children() if process.name() == 'ssh']


def test_one_connection_for_all_and_nothing_left_at_the_end(
    server: sshd.Server, either: Sftp, source: Path, there: Path
) -> None:
    me = psutil.Process()
    others, threads = set(ssh_processes()), set(threading.enumerate())
    before = me.num_fds()
    first = 0
    for number in range(50):
        either.put(source, f'{there}/{number}', nothing)
        assert either.md5(f'{there}/{number}') == files.md5_of(source)
        first = first or me.num_fds()
    assert me.num_fds() <= first  # what other tests left may be closed meanwhile
    logins = server.log.read_text().count('Accepted publickey')
    assert logins == 1
    either.close()
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    # Not by the system's count: of a thread that was joined it may still know.
    assert me.num_fds() <= before and set(threading.enumerate()) <= threads
    assert set(ssh_processes()) <= others


def test_a_url_with_a_password_starts_no_program_and_tells_nobody(
    server: sshd.Server, source: Path, there: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Sftp(address_of(server.url.replace('@', ':h%40sh@')))
    others = set(ssh_processes())
    try:
        storage.put(source, f'{there}/x', nothing)
        assert set(ssh_processes()) <= others
        server.stop()
        with pytest.raises(TryLater, match='Unable to connect') as error:
            storage.size(f'{there}/x')
    finally:
        storage.close()
    assert (there / 'x').read_bytes() == CONTENT and 'h@sh' not in f'{error.value} {caplog.text}'


def test_a_disk_with_errors_there(storage: Sftp) -> None:
    # The first page of a process's memory is never there: the system says Input/output error.
    with pytest.raises(TryLater, match=r'127\.0\.0\.1:\d+: /proc/self/mem: Input/output error'):
        storage.md5('/proc/self/mem')


@pytest.mark.parametrize('name', ['a b', 'x' * 90, '50%', '$HOME'])
def test_any_folder_for_temporary_files(
    server: sshd.Server, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / name))
    storage = Sftp(address_of(server.url))
    assert storage.md5(str(source)) == files.md5_of(source)
    storage.close()
    assert len(server.log.read_text().split('Accepted publickey')) == 2


def test_a_killed_process_leaves_no_ssh(server: sshd.Server, source: Path, tmp_path: Path) -> None:
    code = (
        'import sys; from edw.storage.sftp import Sftp; from edw.storage.ssh import address_of\n'
        'storage = Sftp(address_of(sys.argv[1])); storage.md5(sys.argv[2]); print("ready", flush=True); input()'
    )
    command = [sys.executable, '-c', code, server.url, str(source)]
    temporary = tmp_path / 't'
    temporary.mkdir()
    environment = {**os.environ, 'TMPDIR': str(temporary)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == b'ready\n'
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) == 2 and server.sessions()
        process.kill()
    assert psutil.wait_procs([*started, *server.sessions()], timeout=20)[1] == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    'url',
    [
        'sftp://-oProxyCommand=x/y',
        'sftp://-l@host/y',
        'sftp://a;b@host/y',
        'sftp:///y',
        'sftp://host:port/y',
        'sftp://h$(x)/y',
    ],
)
def test_hosts_and_users_that_are_none(url: str) -> None:
    with pytest.raises(Unprocessable):
        address_of(url)
