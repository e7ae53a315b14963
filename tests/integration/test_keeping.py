"""Files on another machine, over SFTP to a real sshd: looked at, and told from the original."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edw import files
from edw.database.client import Database
from edw.errors import StepError, TryLater
from edw.keeping.copies import Named
from edw.keeping.deleting import Deleter, Originals
from edw.keeping.looking import Looker
from edw.keeping.planning import Candidate, Terms
from tests.integration import sshd
from tests.programs import program


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`sftp://USER@127.0.0.1:PORT`."""
    home = tmp_path / 'home'
    with sshd.running(program('sshd', package='openssh-server'), tmp_path, home) as url:
        monkeypatch.setenv('HOME', str(home))
        yield url


@pytest.fixture
def looker() -> Iterator[Looker]:
    made = Looker()
    yield made
    made.close()


def named(location: str) -> Named:
    return Named(location, 'move_to_sps', None, None, '', True)


def test_files_on_another_machine(host: str, looker: Looker, tmp_path: Path) -> None:
    folder = tmp_path / 'sps'
    with pytest.raises(TryLater, match=f'{folder} is not there'):
        looker.state(named(f'{host}{folder}/x'))
    folder.mkdir()
    with pytest.raises(TryLater, match='is empty; is its disk mounted'):
        looker.state(named(f'{host}{folder}/x'))
    (folder / 'y').write_bytes(b'content')
    assert looker.state(named(f'{host}{folder}/x')) is None
    found = looker.state(named(f'{host}{folder}/y'))
    assert found is not None and found.size == 7
    assert looker.md5(f'{host}{folder}/y') == files.md5_of(folder / 'y')


def test_a_host_that_refuses_is_asked_once(looker: Looker) -> None:
    said = []
    for _ in range(2):
        with pytest.raises(TryLater) as error:
            looker.state(named('sftp://nobody@127.0.0.1:1/x'))
        said.append(error.value)
    assert said[0] is said[1] and 'sftp://127.0.0.1:1: ' in str(said[0])


def delete(database: Database, host: str, looker: Looker, raw: Path, location: str) -> None:
    original = raw / 'x.root'
    entry = {'name': 'move_to_sps', 'file': f'{host}{location}', 'md5sum': files.md5_of(original)}
    doc = {'_id': 'x', 'status': 'good', 'datecreated': 1.0, 'original_file': str(original), 'process': [entry]}
    doc |= {
        'md5sum': entry['md5sum'],
        **{name: rev for name, rev in database.existing(['x']).get('x', {}).items() if name == '_rev'},
    }
    revision = database.put(doc)['rev']
    originals = Originals(str(raw))
    deleter = Deleter(database, originals, Terms('move_to_sps', time.time(), 1), looker, 'here', time.time)
    try:
        deleter.delete(Candidate('x', revision, '', str(original), 7, 1.0))
    finally:
        originals.close()


def test_a_copy_on_this_very_machine_must_be_another_file(
    database: Database, host: str, looker: Looker, tmp_path: Path
) -> None:
    raw, sps = tmp_path / 'raw', tmp_path / 'sps'
    raw.mkdir()
    sps.mkdir()
    original = raw / 'x.root'
    original.write_bytes(b'content')
    link = tmp_path / 'link'
    link.symlink_to(raw)
    soft, hard = sps / 'soft.root', sps / 'hard.root'
    soft.symlink_to(original)
    for location in (original, link / 'x.root', soft):
        with pytest.raises(StepError, match='is in the same folder as'):
            delete(database, host, looker, raw, str(location))
    os.link(original, hard)
    with pytest.raises(StepError, match='hard links'):
        delete(database, host, looker, raw, str(hard))
    hard.unlink()
    copy = sps / 'x.root'
    copy.write_bytes(b'contend')
    with pytest.raises(StepError, match='has the md5'):
        delete(database, host, looker, raw, str(copy))
    assert [file.name for file in raw.iterdir()] == ['x.root']  # and nothing of ours
    copy.write_bytes(b'content')
    delete(database, host, looker, raw, str(copy))
    assert not original.exists() and database.get('x')['original_deleted']['hostname'] == 'here'
