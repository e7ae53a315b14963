"""A night simulated: files come, a disk fills twice, and the machine that they come from goes away.

The disk is a real one, the originals come over a real sshd, and the listeners are processes. In the end each document
has each step once, and nothing tells of the night but the log.
"""

from __future__ import annotations

import re
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from detector.acquisition import write_file
from edw import files
from edw.config import Settings
from edw.database.client import Database
from edw.errors import NotFound
from edw.model.documents import Document
from edw.registering import catalogue, runs
from edw.storage.local import MARKER
from edw.telling import waits
from tests import disks
from tests.disks import Filler
from tests.integration import sshd
from tests.programs import program
from tests.scripts import Process, Scripts, wait_until

RUN = 'ma22a000'
EVENTS = 2  # of one file
STEPS = ('move_to_sps', 'signal_processing')


@dataclass(frozen=True)
class Length:
    """How many documents come, how many seconds lie between two, and for how long the disk and the host are away."""

    documents: int
    between: float
    full: float
    away: float


SHORT = Length(documents=40, between=0.1, full=2.0, away=4.0)
LONG = Length(documents=200, between=1.0, full=20.0, away=120.0)


class Acquisition(threading.Thread):
    """Writes data files, and registers each as one of a machine that is reached over SFTP."""

    def __init__(self, database: Database, raw: Path, url: str, length: Length) -> None:
        super().__init__(name='acquisition', daemon=True)
        self._database, self._raw, self._url, self._length = database, raw, url, length
        self.ids = [runs.file_id(RUN, index) for index in range(length.documents)]
        self._allowed = threading.Semaphore(0)

    def more(self, share: float) -> None:
        """Let so large a share of all documents come."""
        self._allowed.release(round(share * self._length.documents))

    def run(self) -> None:
        for index, doc_id in enumerate(self.ids):
            self._allowed.acquire()
            path = self._raw / f'{doc_id}.root'
            write_file(path, EVENTS, np.random.default_rng(index))
            doc = catalogue.new_document(doc_id, RUN, path, {})
            assert not catalogue.insert(self._database, [{**doc, 'original_file': f'{self._url}{path}'}])
            time.sleep(self._length.between)  # until the next file is full


class Night:
    """What goes on, and when it was there again."""

    def __init__(self, database: Database, acquisition: Acquisition, sps: Path, listeners: dict[str, Process]) -> None:
        self.database, self.acquisition, self.sps, self.listeners = database, acquisition, sps, listeners
        # What, for which steps, from when, until when: seconds since the epoch.
        self.away: list[tuple[str, tuple[str, ...], float, float]] = []
        self._waited = dict.fromkeys(STEPS, 0)

    def let_some_be_moved(self) -> None:
        """Until some files are moved that are not analysed yet."""
        self.listeners[STEPS[1]].send(signal.SIGSTOP)
        moved = self._moved()
        self.acquisition.more(0.1)
        wait_until(lambda: self._moved() > moved, limit=300)

    def _moved(self) -> int:
        return len(list(self.sps.glob('*_???.root')))

    @contextmanager
    def waiting(self, what: str, *steps: str) -> Iterator[None]:
        """A block in which a place is away: these steps wait for it before it ends, and go on after that."""
        began = time.time()
        self.listeners[STEPS[1]].send(signal.SIGCONT)
        self.acquisition.more(0.2)
        for step in steps:
            self._waited[step] += 1
            self.listeners[step].wait_for(f'{step} waits, and one document at a time tries again', self._waited[step])
        wait_until(lambda: {wait.step for wait in waits.read(self.database)} == set(steps))
        yield
        self.away.append((what, steps, began, time.time()))
        for step in steps:
            self.listeners[step].wait_for(f'{step} goes on, after', self._waited[step], limit=400)

    def check_log(self) -> None:
        for step, listener in self.listeners.items():
            told = [line for line in listener.output.splitlines() if ' waits, and one' in line or ' goes on, ' in line]
            assert len(told) == 2 * self._waited[step], '\n'.join(told)
            assert not re.search(r'Traceback|attempt \d', listener.output)

    def tell(self, docs: list[Document]) -> None:
        """Print how long things took; nothing of it is asserted."""
        print()
        for what, steps, began, ended in self.away:
            print(f'{what}, away for {ended - began:.0f} s:')
            for number, step in enumerate(steps):
                after = [doc['process'][number]['finished'] - ended for doc in docs]
                since = min(seconds for seconds in after if seconds > 0)
                print(f'  {step} finished a document {since:.1f} s after it was there again')
        ways = [
            doc['process'][-1]['finished'] - doc['datecreated']
            for doc in docs
            if not any(
                began - 1 < doc['process'][-1]['finished'] and doc['datecreated'] < ended
                for _, _, began, ended in self.away
            )
        ]
        print(
            f'{len(ways)} documents met nothing: {statistics.median(ways):.2f} s from file to result, '
            f'{max(ways):.1f} s at most'
        )
        for listener in self.listeners.values():
            print(
                *(line for line in listener.output.splitlines() if ' waits, ' in line or ' goes on, ' in line), sep='\n'
            )


@pytest.fixture
def sps(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small disk."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    if refusal := disks.mount(disk, '96m'):
        pytest.skip(refusal)
    (disk / 'sps').mkdir()
    (disk / 'sps' / MARKER).touch()
    yield disk / 'sps'
    disks.unmount(disk)


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.Server]:
    """The machine that the originals are on."""
    home, folder = tmp_path / 'home', tmp_path / 'sshd'
    folder.mkdir()
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    with sshd.server(program('sshd', package='openssh-server'), folder, home) as started:
        yield started


@pytest.mark.parametrize('length', [SHORT, LONG], ids=['short', 'long'])
def test_a_night(
    settings: Settings,
    database: Database,
    scripts: Scripts,
    sps: Path,
    far: sshd.Server,
    tmp_path: Path,
    length: Length,
) -> None:
    assert settings.file is not None
    text = settings.file.read_text()
    settings.file.write_text(text.replace('sps = sps', f'sps = {sps}').replace('lease = 3', 'lease = 30'))
    raw = tmp_path / 'raw'
    raw.mkdir()
    acquisition = Acquisition(Database(settings), raw, far.url, length)
    acquisition.start()
    acquisition.more(0.1)
    names = dict(zip(STEPS, ('listen_newfiles.py', 'listen_analysis1.py'), strict=True))
    listeners = {step: scripts.listen(name, '--workers', '2') for step, name in names.items()}
    night = Night(database, acquisition, sps, listeners)

    night.let_some_be_moved()
    with Filler(sps.parent) as filler, night.waiting('the disk is full', *STEPS):
        time.sleep(length.full)
        filler.remove()
    far.stop()
    with night.waiting('the host is away', STEPS[0]):
        time.sleep(length.away)
        far.start()
    night.let_some_be_moved()
    with Filler(sps.parent) as filler, night.waiting('the disk is full again', *STEPS):
        time.sleep(length.full)
        filler.remove()
    acquisition.more(0.1)
    acquisition.join()
    wait_until(lambda: all(len(doc['process']) == 2 for doc in database.existing(acquisition.ids).values()), limit=300)
    wait_until(lambda: is_gone(database, waits.WAITING_ID))
    for listener in listeners.values():
        assert listener.stop() == 0, listener.output

    docs = list(database.existing(acquisition.ids).values())
    assert len(docs) == length.documents
    for doc in docs:
        check(doc, sps)
    expected = {f'{doc_id}{ending}' for doc_id in acquisition.ids for ending in ('.root', '.amp.root')}
    assert {path.name for path in sps.iterdir()} == expected | {MARKER}  # nothing in part, nothing set aside
    night.check_log()
    night.tell(docs)


def is_gone(database: Database, doc_id: str) -> bool:
    try:
        database.get(doc_id)
    except NotFound:
        return True
    return False


def check(doc: Document, sps: Path) -> None:
    """Both steps once, with the right bytes, and nothing else to tell."""
    assert [entry['name'] for entry in doc['process']] == list(STEPS), doc
    assert doc['status'] == 'good' and 'failures' not in doc and 'claim' not in doc, doc
    moved, analysed = doc['process']
    assert (moved['file'], analysed['file']) == (f'{sps}/{doc["_id"]}.root', f'{sps}/{doc["_id"]}.amp.root')
    assert moved['md5sum'] == doc['md5sum']
    assert all(files.md5_of(entry['file']) == entry['md5sum'] for entry in doc['process'])
