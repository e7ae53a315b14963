"""Everything goes wrong at once, and afterwards every document has every step exactly once.

Listeners are killed and paused, connections cut, documents edited, the server restarted; a disk fills or is unmounted,
an sshd stops, an original is out of reach; nodes of a farm and its scheduler die. EDW_CHAOS_SECONDS is how long (10,
and until each kind of fault has been there), EDW_CHAOS_SEED repeats the choices of a run that is printed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from edw import config, files
from edw.database import design
from edw.database.client import Database
from edw.errors import Conflict, NotFound, Unavailable
from edw.model.documents import Document
from edw.storage.local import MARKER
from tests.chaos.proxy import Proxy
from tests.chaos.storage import LARGE, LONGEST, Storage, storage
from tests.conftest import Server
from tests.farm.clusters import Cluster
from tests.scripts import ROOT, Process, Scripts, wait_until
from upload_design import DESIGN_FILE

SECONDS = float(os.environ.get('EDW_CHAOS_SECONDS', '10'))
SEED = int(os.environ.get('EDW_CHAOS_SEED', '0')) or secrets.randbelow(2**31)
STEPS = (('one', '0'), ('two', 'one'))
IS_SHORT = SECONDS < 60
LISTENERS = 3 if IS_SHORT else 4  # of each step
OPTIONS = ('--workers', '2')
NODES = 2  # of the farm, on which one listener more of each step works
FIRST_DOCUMENTS = 60 if IS_SHORT else 200
SMALL = 2000  # bytes of most files
POISON = 15  # every so many documents has one that no step can be done on
LEASE = 6.0  # seconds
OF_SERVER = {'kill': 4, 'pause': 2, 'cut': 4, 'edit': 6, 'make_bad': 3, 'make_good': 4, 'add': 3, 'restart_server': 1}
OF_FARM = {'kill_node': 2, 'restart_scheduler': 1}
OF_FILES = {'kill_in_the_middle': 1, 'mislay': 2}
MOST_SECONDS = SECONDS + 120.0  # until each kind of fault has been there
CALM_DOWN = 120.0  # seconds after the last fault, in which everything has to be done


class Chaos:
    """The server behind a proxy, the listeners, and the faults."""

    def __init__(
        self,
        scripts: Scripts,
        database: Database,
        proxy: Proxy,
        storage: Storage,
        folder: Path,
        port: int | None,
        farm: Cluster | None,
    ) -> None:
        self.random = random.Random(SEED)
        self.counts: Counter[str] = Counter()
        self.listeners: list[tuple[tuple[str, ...], Process]] = []  # with name, place and options
        self.killed: list[Process] = []
        self.paused: list[tuple[float, Process]] = []
        self.made_bad: list[str] = []
        self.documents: list[str] = []
        self.server: Process | None = None
        self.database = database
        self._scripts = scripts
        self._proxy = proxy
        self.storage = storage
        self.farm = farm
        self._folder = folder
        self._server_port = port
        self._mislaid: list[tuple[float, str]] = []  # with the time to bring them back

    def start_server(self) -> None:
        if self._server_port is not None:
            port, folder = str(self._server_port), str(self._folder / 'couchdb')
            self.server = self._scripts.start('local_couchdb.py', '--port', port, '--dir', folder)
            self.server.wait_for('embedded server, data in')

    def start_listeners(self) -> None:
        for step in STEPS * LISTENERS:
            self.start_listener((*step, *OPTIONS))
        if self.farm is not None:
            self.farm.start_scheduler()
            self._start_nodes()
            for step in STEPS:
                self.start_listener((*step, '--farm', self.farm.address))

    def _start_nodes(self) -> None:
        assert self.farm is not None
        for _ in range(NODES):
            self.farm.start_worker(2)

    def start_listener(self, step: tuple[str, ...]) -> None:
        process = self._scripts.start('tests/chaos/journal_step.py', *step[2:], first=step[:2])
        self.listeners.append((step, process))

    def add_documents(self, number: int, size: int = SMALL, mislaid: bool = False) -> None:
        docs = []
        for index in range(len(self.documents), len(self.documents) + number):
            doc_id = f'{"a" if size == LARGE else "x"}{index:05d}'  # a large one comes first
            file = self.storage.raw / f'{doc_id}.dat'
            file.write_bytes(self.random.randbytes(size))
            original = self.storage.original(file, by_sftp=size == LARGE or self.random.random() < 0.5)
            doc: Document = {'_id': doc_id, 'status': 'good', 'process': [], 'original_file': original}
            doc['md5sum'] = files.md5_of(file)
            if mislaid:
                self._mislay_file(doc_id, file)
            elif index % POISON == 0:
                doc['poison'] = self.random.choice(['one', 'two'])
            docs.append(doc)
        # Not through the proxy; where the server is away, this is simply not the moment.
        with contextlib.suppress(Unavailable):
            assert all(row.get('ok') for row in self.database.bulk_docs(docs))
            self.documents += [doc['_id'] for doc in docs]

    @property
    def _weights(self) -> dict[str, int]:
        return {**OF_SERVER, **OF_FILES, **self.storage.faults, **(OF_FARM if self.farm else {})}

    @property
    def unseen(self) -> list[str]:
        """Kinds of faults that have not been there yet."""
        return [name for name in self._weights if not self.counts[name]]

    def fault(self) -> None:
        weights = self._weights
        if (unseen := self.unseen) and self.random.random() < 0.5:  # so that a short time sees all
            name = self.random.choice(unseen)
        else:
            name = self.random.choices(list(weights), list(weights.values()))[0]
        if name in self.storage.faults:
            self.counts[name] += self.storage.begin(name, self.random.uniform(1.0, LONGEST))
        else:
            self.counts[name] += 1
            getattr(self, f'_{name}')()
        self.resume(time.monotonic())

    def _mislay(self) -> None:
        self.add_documents(1, mislaid=True)

    def _mislay_file(self, doc_id: str, file: Path) -> None:
        """Have a file out of reach for a while, which is the fault of its document."""
        file.rename(file.with_suffix('.mislaid'))
        self.storage.mislaid.append(doc_id)
        self._mislaid.append((time.monotonic() + self.random.uniform(1.0, LONGEST), doc_id))

    def _bring_back(self, now: float) -> None:
        for due, doc_id in list(self._mislaid):
            file = self.storage.raw / f'{doc_id}.dat'
            if due <= now:
                with contextlib.suppress(FileNotFoundError):
                    file.with_suffix('.mislaid').rename(file)
                if self._requeued(doc_id):
                    self._mislaid.remove((due, doc_id))

    def _requeued(self, doc_id: str) -> bool:
        """Whether a document whose file was mislaid is done, after it was requeued if need be."""
        try:
            doc = self.database.get(doc_id)
        except Unavailable:
            return False
        except NotFound:
            return True  # the server was away when it should have come
        if doc['status'] == 'one failed':
            self._edit_fields(doc_id, status='good')
        return len(doc['process']) > 0

    def _kill_in_the_middle(self) -> None:
        """Kill the listener that copies a large file."""
        pid = None
        if not self.storage.is_away:
            self.add_documents(1, size=LARGE)
            by_pid = {process.pid: (step, process) for step, process in self._running()}
            pid = self.storage.copier(set(by_pid))
        if pid is None:
            self.counts['kill_in_the_middle'] -= 1  # it was done in no time, or the step still waits
            return
        self._kill_one(*by_pid[pid])

    def resume(self, now: float) -> None:
        self.storage.mend(now)
        self._bring_back(now)
        for due, process in list(self.paused):
            if due <= now:
                self.paused.remove((due, process))
                process.send(signal.SIGCONT)

    def _running(self) -> list[tuple[tuple[str, ...], Process]]:
        paused = {process for _, process in self.paused}
        return [(step, process) for step, process in self.listeners if process not in paused]

    def _kill(self) -> None:
        self._kill_one(*self.random.choice(self._running()))

    def _kill_one(self, step: tuple[str, ...], process: Process) -> None:
        # Sometimes alone, sometimes with its heartbeat, as when a machine dies.
        if self.random.random() < 0.3:
            for pid in children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.kill()
        self.listeners.remove((step, process))
        self.killed.append(process)
        self.start_listener(step)

    def _pause(self) -> None:
        if len(self.paused) < LISTENERS:
            _, process = self.random.choice(self._running())
            process.send(signal.SIGSTOP)
            self.paused.append((time.monotonic() + 1.5 * LEASE, process))

    def _cut(self) -> None:
        self._proxy.cut()

    def _edit_fields(self, doc_id: str, **fields: object) -> bool:
        try:
            self.database.put({**self.database.get(doc_id), **fields})
        except (Conflict, Unavailable):
            return False
        return True

    def _edit(self) -> None:
        self._edit_fields(self.random.choice(self.documents), operator=self.random.random())

    def _make_bad(self) -> None:
        doc_id = self.random.choice(self.documents)
        try:
            is_good = self.database.get(doc_id)['status'] == 'good'
        except Unavailable:
            return
        if is_good and self._edit_fields(doc_id, status='under discussion'):
            self.made_bad.append(doc_id)

    def _make_good(self) -> None:
        if self.made_bad and self._good_again(self.made_bad[0]):
            del self.made_bad[0]

    def _good_again(self, doc_id: str) -> bool:
        try:
            doc = self.database.get(doc_id)
        except Unavailable:
            return False
        return doc['status'] != 'under discussion' or self._edit_fields(doc_id, status='good')

    def _add(self) -> None:
        self.add_documents(self.random.randint(1, 30))

    def _kill_node(self) -> None:
        assert self.farm is not None
        there = [worker for worker in self.farm.workers if worker.is_running()]
        if there:
            self.random.choice(there).send(signal.SIGKILL)
            self.farm.start_worker(2)

    def _restart_scheduler(self) -> None:
        assert self.farm is not None and self.farm.scheduler is not None
        self.farm.scheduler.kill()
        self.farm.start_scheduler()
        self._start_nodes()  # the others end with their scheduler

    def _restart_server(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.start_server()

    def calm_down(self) -> None:
        self.storage.mend(math.inf)
        for _, process in self.paused:
            process.send(signal.SIGCONT)
        self.paused.clear()
        for doc_id in self.made_bad:
            wait_until(lambda doc_id=doc_id: self._good_again(doc_id))
        wait_until(self._all_brought_back)

    def _all_brought_back(self) -> bool:
        self._bring_back(math.inf)
        return not self._mislaid

    def unsettled(self) -> list[Document]:
        """Documents on which something is still to be done."""
        docs = self.database.existing(self.documents).values()
        return [doc for doc in docs if not self._settled(doc)]

    def _settled(self, doc: Document) -> bool:
        if 'claim' in doc:
            return False
        return doc['status'] == f'{doc["poison"]} failed' if 'poison' in doc else len(doc['process']) == len(STEPS)


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ['ps', '--ppid', str(pid), '-o', 'pid='], capture_output=True, text=True, check=False
    ).stdout
    return [int(child) for child in listed.split()]


@pytest.fixture
def chaos(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = tmp_path / 'journal'
    monkeypatch.setenv('EDW_TEST_JOURNAL', str(journal))
    monkeypatch.setenv('EDW_TEST_SECONDS', '0.02')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    # The embedded server is one of the test's own, which may be killed; another one is only cut off.
    own = 'EDW_TEST_SERVER' not in os.environ
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1] if own else int(server.url.rpartition(':')[2])
    proxy = Proxy(port)
    dbname = f'edwtest-{secrets.token_hex(6)}'
    text = server.settings_text(dbname).replace('heartbeat = 1\nlease = 3', f'heartbeat = 1\nlease = {LEASE:g}')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    direct = tmp_path / 'direct.ini'
    direct.write_text(text.replace(server.url, f'http://127.0.0.1:{port}'))
    through_proxy = tmp_path / 'edw.ini'
    through_proxy.write_text(text.replace(server.url, f'http://127.0.0.1:{proxy.port}'))
    (tmp_path / 'farm').mkdir()
    has_farm = importlib.util.find_spec('distributed') is not None
    with (
        storage(tmp_path, MOST_SECONDS) as files_of_it,
        Scripts(through_proxy) as scripts,
        Cluster(tmp_path / 'farm') if has_farm else contextlib.nullcontext() as farm,
    ):
        for file in (direct, through_proxy):
            file.write_text(file.read_text().replace('sps = sps', f'sps = {files_of_it.sps}'))
        database = Database(config.load(direct))
        running = Chaos(scripts, database, proxy, files_of_it, tmp_path, port if own else None, farm)
        running.start_server()
        running.database.create()
        design.upload(running.database, design.read(DESIGN_FILE))
        yield running
        if not own:
            server.request('DELETE', dbname)
    proxy.close()


def test_chaos(chaos: Chaos, server: Server, tmp_path: Path) -> None:
    print(f'\nchaos for {SECONDS:g} s, EDW_CHAOS_SEED={SEED}')
    for what in chaos.storage.without:
        print('without', what)
    if chaos.farm is None:
        print('without a farm: the Python package distributed (requirements-farm.txt) is not here')
    chaos.add_documents(FIRST_DOCUMENTS)
    chaos.start_listeners()
    begun_at = time.monotonic()
    command_lines = ''
    while (lasted := time.monotonic() - begun_at) < SECONDS or (chaos.unseen and lasted < MOST_SECONDS):
        time.sleep(chaos.random.uniform(0.1, 0.8))  # faults come when they want
        chaos.fault()
        listed = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True, check=True).stdout.splitlines()
        # Those of the project: how somebody starts a server of EDW_TEST_SERVER is not its business.
        command_lines += '\n'.join(line for line in listed if str(ROOT) in line or 'edw.' in line)
    assert chaos.unseen == []
    chaos.calm_down()
    calm = time.monotonic()
    with contextlib.suppress(AssertionError):
        wait_until(lambda: chaos.unsettled() == [], limit=CALM_DOWN, every=0.5)
    assert (left := chaos.unsettled()) == [], f'{left[:3]}, of {len(left)}'
    recovery = time.monotonic() - calm

    for _, process in chaos.listeners:
        assert process.is_running(), f'a listener ended by itself:\n{process.output}'
    for _, process in chaos.listeners:
        assert process.stop() == 0, process.output
    docs = chaos.database.existing(chaos.documents)
    assert len(docs) == len(chaos.documents)
    for doc in docs.values():
        check(doc, doc['_id'] in chaos.storage.mislaid)
    check_folder(chaos, docs)
    assert chaos.database.view('_design/process/_view/claims')['rows'] == []
    assert chaos.database.conflicts(chaos.documents) == {}

    said = ''.join(process.output for process in (*(process for _, process in chaos.listeners), *chaos.killed))
    for where, text in (('logs', said), ('documents', json.dumps(docs)), ('command lines', command_lines)):
        assert server.password not in text, f'the password is in the {where}'
    begun = Counter(
        tuple(line.split()[1:3])
        for line in (tmp_path / 'journal').read_text().splitlines()
        if line.startswith('begins')
    )
    good = {doc_id for doc_id, doc in docs.items() if 'poison' not in doc}
    twice = sum(count - 1 for (_, doc_id), count in begun.items() if doc_id in good)
    print(f'{len(docs)} documents, {len(docs) - len(good)} of them poison: none lost, none recorded twice')
    print('faults:', ', '.join(f'{name} {count}' for name, count in sorted(chaos.counts.items())))
    waits_told = said.count(' waits, and one document at a time tries again')
    print(f'waits: {waits_told}; parts of killed listeners left: {len(chaos.storage.parts())}')
    print(f'callbacks run again: {twice}; all done {recovery:.1f} s after the last fault')


def check_folder(chaos: Chaos, docs: dict[str, Document]) -> None:
    """In `sps` is what the documents name, nothing set aside, and parts only of listeners that were killed."""
    parts = chaos.storage.parts()
    assert len(parts) <= len(chaos.killed), parts
    named = {Path(entry['file']) for doc in docs.values() for entry in doc['process']}
    assert set(chaos.storage.sps.iterdir()) == named | set(parts) | {chaos.storage.sps / MARKER}


def check(doc: Document, mislaid: bool) -> None:
    """One document after everything: its steps, its files, its failures."""
    poison = doc.get('poison')
    names = [name for name, _ in STEPS]
    assert [entry['name'] for entry in doc['process']] == (names[: names.index(poison)] if poison else names), doc
    assert doc['status'] == (f'{poison} failed' if poison else 'good')
    attempts = [(failure['process'], failure['attempt']) for failure in doc.get('failures', [])]
    lost = [failure for failure in doc.get('failures', []) if failure['error'].startswith('WorkerGone: ')]
    if poison:
        # Put back to good by the operator in between, it has its attempts again.
        assert attempts[-3:] == [(poison, 1), (poison, 2), (poison, 3)] and len(attempts) % 3 == 0, doc
    elif mislaid:
        assert all('No such file' in failure['error'] for failure in doc.get('failures', []) if failure not in lost), (
            doc
        )
    else:
        assert len(attempts) == len(lost), doc  # with a node that was killed
    for entry in doc['process']:
        assert files.md5_of(entry['file']) == entry['md5sum']
    if doc['process']:
        assert doc['process'][0]['md5sum'] == doc['md5sum']
