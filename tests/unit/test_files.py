from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from edw import files
from edw.errors import Unprocessable
from edw.registering import folders
from tests.scripts import ROOT

LONGEST_NAME = 255  # bytes, of all usual file systems


def test_md5(tmp_path: Path) -> None:
    file = tmp_path / 'f'
    content = b'edelweiss' * 300_000
    file.write_bytes(content)
    assert files.md5_of(file) == hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_target_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / 'x.root'
    target.write_text('old')
    with pytest.raises(ValueError, match='broken off'), files.replacing(target) as temporary:
        temporary.write_text('half')
        assert target.read_text() == 'old'
        raise ValueError('broken off')
    assert target.read_text() == 'old'
    assert [file.name for file in tmp_path.iterdir()] == ['x.root']
    with files.replacing(target) as temporary:
        temporary.write_text('new')
    assert target.read_text() == 'new'
    assert [file.name for file in tmp_path.iterdir()] == ['x.root']


def test_temporary_names_are_hidden_and_no_data_files() -> None:
    name = files.temporary_name()
    assert name.startswith('.') and not name.endswith('.root') and fnmatch(name, files.TEMPORARY)
    assert name != files.temporary_name()


@pytest.mark.parametrize('name', ['x' * (LONGEST_NAME - 5) + '.root', 'ä' * ((LONGEST_NAME - 5) // 2) + '.root'])
def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    with files.replacing(tmp_path / name) as temporary:
        temporary.write_text('new')
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize('name', ['x' * (LONGEST_NAME + 1), 'ä' * (LONGEST_NAME // 2 + 1)])
def test_a_name_that_is_too_long_is_said_before_the_work(tmp_path: Path, name: str) -> None:
    says = f'{name}: File name too long, {LONGEST_NAME + 1} bytes in a path of '
    with pytest.raises(Unprocessable, match=says), files.replacing(tmp_path / name):
        pytest.fail('the work was begun')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('missing', [0, 10])
def test_a_path_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    """Also where it is only the temporary name that has no room."""
    longest = os.pathconf(tmp_path, 'PC_PATH_MAX') - 1  # without the null behind it
    monkeypatch.chdir(tmp_path)
    folder = tmp_path
    while longest - len(str(folder)) > 300:
        folder /= 'd' * 200
        os.mkdir('d' * 200)
        os.chdir('d' * 200)
    folder /= 'd' * (longest - missing - len(str(folder)) - len('//x.root'))
    os.mkdir(folder.name)
    assert len(str(folder / 'x.root')) == longest - missing
    says = r'x\.root: File name too long, 6 bytes in a path of'
    with pytest.raises(Unprocessable, match=says), files.replacing(folder / 'x.root'):
        pytest.fail('the work was begun')


def test_what_a_killed_process_leaves_is_known_by_its_name(tmp_path: Path) -> None:
    code = (
        'import os, pathlib, signal, sys; from edw import files\n'
        'with files.replacing(pathlib.Path(sys.argv[1])) as temporary:\n'
        '    temporary.touch(); os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    done = subprocess.run([sys.executable, '-c', code, tmp_path / 'x.root'], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert fnmatch(left.name, files.TEMPORARY) and not folders.Selection(('*',)).chooses(left.name)
    assert folders.look(tmp_path, folders.Selection()).files == [] and list(tmp_path.glob('*.root')) == []
