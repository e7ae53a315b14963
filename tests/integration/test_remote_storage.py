"""Other kinds of URL, on servers of their own: XRootD's, and moto's of S3."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from edw import files
from edw.errors import StepError, TryLater, Unprocessable
from edw.keeping import strays
from edw.keeping.looking import Looker
from edw.storage import remote
from edw.storage.kinds import Absent, Storage
from edw.storage.remote import S3, XRootD, storage_for
from tests.integration import sshd
from tests.integration.copied import CONTENT, LARGE, nothing
from tests.programs import program
from tests.scripts import ROOT

START_LIMIT = 60.0  # seconds
PART = 8 * 1024 * 1024  # bytes of an upload in parts
NAMES = ['a b', "it's", '"quoted"', 'a#b%20d::e', 'ä€𝄞', '-rf', 'x' * 200]
BUCKET = 'edw'
CHECKSUMS = 'xrootd.chksum max 2 '


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        assert process.poll() is None, f'{process.args} ended at once'
        try:
            socket.create_connection(('127.0.0.1', port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f'{process.args} does not answer')


class XRootDServer:
    """A server with its files in `data`."""

    def __init__(self, folder: Path, checksums: str) -> None:
        self.data = folder / 'data'
        self.data.mkdir(parents=True)
        (folder / 'admin').mkdir()
        self.port = free_port()
        self._config = folder / 'xrootd.cfg'
        self._config.write_text(
            f'xrd.port {self.port}\nxrd.network nodnr\nxrootd.export /\noss.localroot {self.data}\n'
            f'all.adminpath {folder}/admin\nall.pidpath {folder}/admin\n{checksums}\n'
        )
        # As root it refuses to run.
        self._user = ['-R', 'nobody'] if os.geteuid() == 0 else []
        for path in (folder, self.data, folder / 'admin'):
            path.chmod(0o777)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f'root://127.0.0.1:{self.port}//'

    def start(self) -> None:
        command = [program('xrootd', package='xrootd-server'), *self._user, '-c', str(self._config)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._config.parent
        )
        wait_for(self.port, self._process)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def xrootd_server(tmp_path: Path, checksums: str) -> Iterator[XRootDServer]:
    pytest.importorskip('XRootD.client', reason='the Python package xrootd is not here', exc_type=ImportError)
    # The server's user reads below it.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == Path.home().owner() and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    server = XRootDServer(tmp_path / 'xrootd', checksums)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def xrootd(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[XRootDServer]:
    with xrootd_server(tmp_path, getattr(request, 'param', f'{CHECKSUMS} md5 adler32')) as server:
        yield server


@contextmanager
def s3_server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    pytest.importorskip('moto.server', reason='the Python package moto is not here')
    command = [sys.executable, '-m', 'moto.server', '-H', '127.0.0.1', '-p', str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield process
        finally:
            process.kill()


@pytest.fixture(scope='module')
def endpoint() -> Iterator[str]:
    port = free_port()
    with s3_server(port):
        requests.put(f'http://127.0.0.1:{port}/{BUCKET}', timeout=30).raise_for_status()
        yield f'http://127.0.0.1:{port}'


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'tester')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'hush')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_CONFIG_FILE', str(tmp_path / 'none'))


@pytest.fixture
def s3(endpoint: str, account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setenv('AWS_ENDPOINT_URL', endpoint)
    storage = S3('s3', BUCKET)
    yield storage
    storage.close()


@pytest.fixture
def root(xrootd: XRootDServer) -> Iterator[XRootD]:
    storage = XRootD('root', f'127.0.0.1:{xrootd.port}')
    yield storage
    storage.close()


@pytest.fixture(params=['root', 's3'])
def storage(request: pytest.FixtureRequest) -> Storage:
    """One of each kind. Paths begin with //, as XRootD has them."""
    chosen: Storage = request.getfixturevalue(request.param)
    return chosen


def test_any_name_there_and_back(storage: Storage, source: Path, tmp_path: Path) -> None:
    storage.check_folder('//a/b')
    storage.check_folder('//a/b')
    for name in NAMES:
        assert storage.size(f'//a/b/{name}') is None
        storage.put(source, '//a/b/part', nothing)
        storage.rename('//a/b/part', f'//a/b/{name}')
        assert storage.size('//a/b/part') is None and storage.size(f'//a/b/{name}') == len(CONTENT)
        assert storage.begin(f'//a/b/{name}') == CONTENT[:1]
        assert storage.md5(f'//a/b/{name}') == files.md5_of(source)
        back = tmp_path / 'back'
        storage.get(f'//a/b/{name}', back, nothing)
        assert back.read_bytes() == CONTENT
        back.unlink()
        storage.remove(f'//a/b/{name}')
        assert storage.size(f'//a/b/{name}') is None


def test_what_is_in_a_folder(storage: Storage, source: Path) -> None:
    slash = '/' if isinstance(storage, S3) else '//'  # s3fs lists nothing whose key begins with /
    storage.check_folder(f'{slash}l/m')
    for name in ('x', 'm/y'):
        storage.put(source, f'{slash}l/{name}', nothing)
    assert sorted(storage.names(f'{slash}l')) == ['m', 'x']
    with pytest.raises(Absent):
        storage.names(f'{slash}none')


def test_what_a_move_left_there_is_found_once_it_is_old(storage: Storage, source: Path) -> None:
    folder = '/left' if isinstance(storage, S3) else '//left'
    storage.check_folder(folder)
    part = f'{folder}/{files.temporary_name()}'
    for path in (part, f'{folder}/x.root'):
        storage.put(source, path, nothing)
    looker = Looker()
    url = storage._name(folder)  # type: ignore[attr-defined]
    assert strays.Strays([url], looker).left(time.time()) == []  # it is being written, perhaps
    later = time.time() + strays.LEFT_OVER + 60
    (found,) = strays.Strays([url], looker).left(later)
    assert (found.file, found.size, found.what) == (storage._name(part), len(CONTENT), strays.PART)  # type: ignore[attr-defined]
    assert abs(found.changed - time.time()) < 3600
    for there in (url, f'{url}/none'):
        told = strays.Strays([there], looker)
        told.left(later)
        assert told.unread == {}
    looker.close()


def test_a_copy_to_here_goes_on_where_it_stopped(storage: Storage, large: Path, tmp_path: Path) -> None:
    progress: list[int] = []
    storage.check_folder('//c')
    storage.put(large, '//c/x', progress.append)
    assert sum(progress) == LARGE
    for part in (large.read_bytes()[:1000], b'x' * (LARGE + 1)):
        (tmp_path / 'back').write_bytes(part)
        progress.clear()
        storage.get('//c/x', tmp_path / 'back', progress.append)
        assert sum(progress) == LARGE and (tmp_path / 'back').read_bytes() == large.read_bytes()


def test_what_is_not_there_is_no_fault_of_the_place(storage: Storage, source: Path, tmp_path: Path) -> None:
    storage.check_folder('//d')
    storage.put(source, '//d/old', nothing)
    storage.put(source, '//d/new', nothing)
    asked = [
        lambda: storage.get('//d/none', tmp_path / 'back', nothing),
        lambda: storage.md5('//d/none'),
        lambda: storage.rename('//d/none', '//d/other'),
        lambda: storage.rename('//d/new', '//d/old'),
        lambda: storage.put(tmp_path / 'none', '//d/x', nothing),
        lambda: storage.size('//d'),
    ]
    for ask in asked:
        with pytest.raises(StepError) as error:
            ask()
        assert not isinstance(error.value, TryLater), error.value
    assert storage.size('//d/old') == storage.size('//d/new') == len(CONTENT)


@pytest.mark.parametrize('xrootd', ['', f'{CHECKSUMS} adler32', f'{CHECKSUMS} md5'], indirect=True)
def test_xrootd_with_and_without_checksums(xrootd: XRootDServer, root: XRootD, source: Path) -> None:
    root.put(source, '//x', nothing)
    assert root.md5('//x') == files.md5_of(source)
    assert root._md5_there('//x') in (None, files.md5_of(source))
    # A server that keeps checksums looks at the time of the file, in seconds, whether they are still right.
    (xrootd.data / 'x').write_bytes(CONTENT[:-1] + b'?')
    os.utime(xrootd.data / 'x', (time.time() + 10,) * 2)
    assert root.md5('//x') == files.md5_of(xrootd.data / 'x') != files.md5_of(source)


def test_xrootd_that_stops_in_the_middle(
    xrootd: XRootDServer, root: XRootD, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0

    def stop(more: int) -> None:
        nonlocal done
        done += more
        if done > LARGE // 2:
            xrootd.stop()

    monkeypatch.setitem(remote.XROOTD_WINDOWS, 'ConnectionWindow', 1)
    with pytest.raises(TryLater, match=rf'127\.0\.0\.1:{xrootd.port}//x: '):
        root.put(large, '//x', stop)
    part = (xrootd.data / 'x').stat().st_size
    assert 0 < part < LARGE
    with pytest.raises(TryLater, match=rf'127\.0\.0\.1:{xrootd.port}//x: '):
        root.size('//x')
    xrootd.start()
    progress: list[int] = []
    root.put(large, '//x', progress.append)
    assert progress[0] == part and (xrootd.data / 'x').read_bytes() == large.read_bytes()


def test_xrootd_with_a_full_disk(xrootd: XRootDServer, root: XRootD, source: Path, large: Path) -> None:
    small = xrootd.data / 'small'
    small.mkdir()
    mount = [program('mount', package='mount'), '-t', 'tmpfs', '-o', 'size=1m,mode=777', 'none', str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('this machine lets nobody mount a file system')
    try:
        with pytest.raises(TryLater, match=r'127\.0\.0\.1:\d+//small/x: .*no space left'):
            root.put(large, '//small/x', nothing)
        root.remove('//small/x')
        root.put(source, '//small/x', nothing)
        assert (small / 'x').read_bytes() == CONTENT
    finally:
        xrootd.stop()
        subprocess.run(['umount', str(small)], check=True)


def test_xrootd_has_no_question_marks_in_names(root: XRootD) -> None:
    with pytest.raises(Unprocessable, match='no files with'):
        root.size('//a?b')


def test_s3_says_the_md5_of_what_came_in_one_part_alone(s3: S3, source: Path, large: Path) -> None:
    s3.put(source, '/one', nothing)
    assert s3._md5_there('/one') == files.md5_of(source)
    # What s3fs does by itself from 100 MB on.
    s3._system.put_file(str(large), f'{BUCKET}/many', chunksize=PART)
    assert s3._md5_there('/many') is None
    assert s3.md5('/many') == files.md5_of(large)


def test_s3_with_a_key_of_kms_is_read_back(s3: S3, source: Path) -> None:
    s3._system.call_s3(
        'put_object', Bucket=BUCKET, Key='kms', Body=CONTENT, ServerSideEncryption='aws:kms', SSEKMSKeyId='key'
    )
    assert s3._md5_there('/kms') is None and s3.md5('/kms') == hashlib.md5(CONTENT).hexdigest()


def test_s3_makes_no_bucket(s3: S3, source: Path) -> None:
    other = S3('s3', 'missing')
    other.check_folder('/a')
    with pytest.raises(StepError, match='s3://missing/a/x: ') as error:
        other.put(source, '/a/x', nothing)
    assert not isinstance(error.value, TryLater)


def test_s3_that_is_away(account: None, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    port = free_port()
    monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://127.0.0.1:{port}')
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '1')
    storage = S3('s3', BUCKET)
    with s3_server(port):
        requests.put(f'http://127.0.0.1:{port}/{BUCKET}', timeout=30).raise_for_status()
        storage.put(source, '/x', nothing)
    for ask in (lambda: storage.size('/x'), lambda: storage.put(source, '/x', nothing)):
        with pytest.raises(TryLater, match=f's3://{BUCKET}/x: .*127.0.0.1:{port}'):
            ask()


def test_a_kind_that_nobody_knows_or_has_no_package_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StepError, match='gopher:// is no kind of URL'):
        storage_for('gopher://host/x').size('/x')
    code = (
        'import sys; sys.modules["s3fs"] = sys.modules["fsspec_xrootd"] = None\n'
        'from edw.errors import StepError; from edw.storage.remote import storage_for\n'
        'for url in ("s3://b/x", "root://h//x"):\n'
        '    try: storage_for(url).size("/x")\n'
        '    except StepError as error: print(error)\n'
    )
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert 's3:// needs a package that is not here: Install s3fs' in said
    assert 'root:// needs a package that is not here: install fsspec-xrootd' in said


def test_a_thread_has_its_own_storage_and_closes_it_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    (tmp_path / 'sshd').mkdir()
    seen: list[Storage] = []
    children: list[psutil.Process] = []

    def work() -> None:
        storage = storage_for(f'{server.url}{source}')
        assert storage is storage_for(f'{server.url}/another') and storage.size(str(source)) == len(CONTENT)
        seen.append(storage)
        children.extend(process for process in psutil.Process().children() if process.name() == 'ssh')

    with sshd.server(program('sshd', package='openssh-server'), tmp_path / 'sshd', tmp_path / 'home') as server:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(storage) for storage in seen}) == 3 and children
        assert psutil.wait_procs(children, timeout=START_LIMIT)[1] == []
