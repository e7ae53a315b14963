"""Which schedulers a listener works with, and what it sends there."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from edw.database.client import Database
from tests.farm.clusters import Cluster, behind
from tests.farm.conftest import STEP, Listen
from tests.farm.slurm import free_port
from tests.farm.test_scheduler_away import untouched
from tests.loops import seed
from tests.programs import program
from tests.scripts import Scripts, wait_until


@pytest.fixture(autouse=True)
def package() -> None:
    pytest.importorskip('distributed', reason='the Python package distributed (requirements-farm.txt) is not here')


@pytest.mark.parametrize(
    ('address', 'words'),
    [
        ('tcp://192.0.2.1:8786', 'whoever reaches a port of Dask runs code there'),
        ('tcp://example.org:8786', '--insecure'),
        ('tls://192.0.2.1:8786', 'tls:// needs certificates'),
        ('tls://127.0.0.1:8786', 'tls:// needs certificates'),
        ('127.0.0.1:8786', 'write tcp://127.0.0.1:8786'),
        ('http://127.0.0.1:8786', 'must be tcp://HOST:PORT'),
        ('tcp://127.0.0.1', 'must be tcp://HOST:PORT'),
        ('tcp://127.0.0.1:port', 'must be tcp://HOST:PORT'),
        (str(STEP), 'this is no file that dask scheduler'),
    ],
)
def test_addresses_that_are_refused(scripts: Scripts, database: Database, address: str, words: str) -> None:
    done = scripts.run(STEP, '--farm', address)
    assert done.returncode == 2 and words in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 2


class Wire:
    """A forwarder that keeps all that goes from its clients to its server."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.seen = bytearray()
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(('127.0.0.1', self._to))
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_kept: bool) -> None:
        try:
            while data := source.recv(65536):
                if is_kept:
                    self.seen += data
                target.sendall(data)
        except OSError:
            pass  # one side has gone, and the other follows
        target.close()


def test_no_secret_is_sent(cluster: Cluster, scripts: Scripts, database: Database) -> None:
    with scripts.config.open('a') as stream:
        stream.write('[dashboard]\ndashboard_password = another-secret-77\n')
    port = free_port()
    with contextlib.closing(Wire(cluster.port)) as to_scheduler, contextlib.closing(Wire(port)) as to_node:
        cluster.start_worker(1, at=behind(port, to_node.port))
        listener = scripts.listen(STEP, '--farm', f'tcp://127.0.0.1:{to_scheduler.port}')
        (doc_id,) = seed(database, 1)
        wait_until(lambda: database.get(doc_id)['process'])
        assert listener.stop() == 0
    assert doc_id.encode() in to_node.seen and database.settings.dbname.encode() in to_node.seen
    for secret in (database.settings.password, 'another-secret-77'):
        assert secret.encode() not in to_node.seen + to_scheduler.seen


def test_a_node_that_anybody_reaches_gets_nothing(cluster: Cluster, listen: Listen, database: Database) -> None:
    port = free_port()
    cluster.start_worker(1, at=behind(port, port, own_address()))
    ids = seed(database, 1)
    listener = listen()
    listener.wait_for('whoever reaches a port of Dask runs code there')
    assert untouched(database, ids)
    assert listener.stop() == 0
    listener = listen('--insecure')
    wait_until(lambda: database.get(ids[0])['process'])
    assert listener.stop() == 0


def own_address() -> str:
    """An address of this machine that others reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.connect(('192.0.2.1', 9))  # nothing is sent
        except OSError:
            pytest.skip('this machine has no address but the loopback')
        return str(udp.getsockname()[0])


def test_certificates(scripts: Scripts, database: Database, cluster: Cluster, tmp_path: Path) -> None:
    openssl = program('openssl', package='openssl')
    key, certificate = tmp_path / 'key.pem', tmp_path / 'certificate.pem'
    subprocess.run(
        [openssl, 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=farm',
         '-keyout', str(key), '-out', str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = {
        'DASK_DISTRIBUTED__COMM__TLS__CA_FILE': str(certificate),
        'DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION': 'True',
    }
    for who in ('SCHEDULER', 'WORKER', 'CLIENT'):
        tls |= {
            f'DASK_DISTRIBUTED__COMM__TLS__{who}__{what}': str(file)
            for what, file in (('KEY', key), ('CERT', certificate))
        }
    cluster.scheduler.kill()
    cluster.scheme = 'tls'
    cluster.start_scheduler(**tls)
    cluster.start_worker(1, **tls)
    (doc_id,) = seed(database, 1)
    assert cluster.address.startswith('tls://')
    listener = scripts.listen(STEP, '--farm', cluster.address, env=cluster.environment(**tls))
    wait_until(lambda: database.get(doc_id)['process'])
    assert listener.stop() == 0
