"""Which failures of signal_processing another attempt may mend."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

import listen_analysis1
from detector.acquisition import write_file
from edw.errors import StepError, Unprocessable
from listen_analysis1 import signal_processing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / 'ma22a000_000.root'
    write_file(file, 30, 3)
    return file


def document(path: Path) -> dict[str, object]:
    return {'_id': path.stem, 'process': [{'name': 'move_to_sps', 'file': str(path)}]}


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: b'',
        lambda content: b'not ROOT\n' * 100,
        lambda content: content[: len(content) // 2],
        lambda content: content[:50],
        lambda content: content[:4] + bytes(len(content) - 4),
    ],
    ids=['empty', 'text', 'cut short', 'hardly begun', 'never written'],
)
def test_a_file_that_is_none_of_ours_fails_for_good(path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Unprocessable, match=str(path)):
        signal_processing(document(path))
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_not_there_may_come_back(path: Path) -> None:
    path.unlink()
    with pytest.raises(StepError, match='No such file') as caught:
        signal_processing(document(path))
    assert not isinstance(caught.value, Unprocessable)


def test_storage_that_cannot_be_read_or_written_may_come_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def analyse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(listen_analysis1, 'analyse', analyse)
    with pytest.raises(StepError, match='No space left') as caught:
        signal_processing(document(path))
    assert not isinstance(caught.value, Unprocessable)


@pytest.mark.parametrize('length', [237, 251])
def test_a_name_whose_result_the_file_system_takes(path: Path, length: int) -> None:
    source = path.with_name('x' * (length - 5) + '.root')
    path.rename(source)
    done = signal_processing(document(source))
    assert Path(done['file']).name == 'x' * (length - 5) + '.amp.root' and Path(done['file']).is_file()


def test_a_name_whose_result_is_too_long_fails_for_good(path: Path) -> None:
    source = path.with_name('x' * 247 + '.root')
    path.rename(source)
    with pytest.raises(Unprocessable, match=r'\.amp\.root: File name too long, 256 bytes in a path of'):
        signal_processing(document(source))
    assert list(path.parent.iterdir()) == [source]
