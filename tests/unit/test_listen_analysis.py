"""Which failures of signal_processing another attempt may mend."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

import listen_analysis1
from detector.acquisition import write_file
from detector.spectrum import read_energies
from detector.traces import StorageError
from edw.errors import StepError, TryLater, Unprocessable
from edw.files import md5_of
from listen_analysis1 import signal_processing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / 'ma22a000_000.root'
    write_file(file, 30, 3)
    return file


def document(path: Path, md5sum: object = None) -> dict[str, object]:
    moved = {'name': 'move_to_sps', 'file': str(path)} | ({} if md5sum is None else {'md5sum': md5sum})
    return {'_id': path.stem, 'process': [moved]}


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
    (path.parent / 'other').touch()  # or it could be the mount point of a disk that is away
    path.unlink()
    with pytest.raises(StepError, match='No such file') as caught:
        signal_processing(document(path))
    assert not isinstance(caught.value, Unprocessable)


@pytest.mark.parametrize(
    'error',
    [
        OSError(errno.ENOSPC, 'No space left on device'),
        StorageError('cannot be read as a ROOT file'),
    ],
)
def test_storage_that_is_away_is_no_fault_of_the_document(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What the analysis raises is handed in; tests/integration/test_storage_away.py has a disk that is full."""

    def analyse(source: Path, target: Path) -> None:
        raise error from OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(listen_analysis1, 'analyse', analyse)
    with pytest.raises(TryLater, match=f'{path.parent}.*(No space left|Input/output)'):
        signal_processing(document(path))
    assert list(path.parent.iterdir()) == [path]


def test_wrong_bytes_are_not_analysed(path: Path) -> None:
    md5sum = md5_of(path)
    write_file(path, 30, 4)
    with pytest.raises(
        Unprocessable, match=f'{path} has the md5 {md5_of(path)}, but the entry that left it says {md5sum}'
    ):
        signal_processing(document(path, md5sum))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('md5sum', [None, 7])
def test_an_entry_of_the_original_scripts_has_no_md5(path: Path, md5sum: object) -> None:
    assert Path(signal_processing(document(path, md5sum))['file']).is_file()


def test_a_file_beside_which_another_file_begins_with_its_name(path: Path) -> None:
    """`run::1.root` is a chain to fsspec: with a file `run` beside it, that one was analysed, and said to be run::1."""
    source, other = path.with_name('run::1.root'), path.with_name('run')
    path.rename(source)
    write_file(other, 50, 4)
    done = signal_processing(document(source, md5_of(source)))
    assert '30 events' in done['log'] and Path(done['file']).name == 'run%3A%3A1.amp.root'
    assert {name: energies.size for name, energies in read_energies(Path(done['file'])).items()} == {
        'detector_a': 30,
        'detector_b': 30,
    }


@pytest.mark.parametrize('name', ['a#b', 'a?b', 'a%20b', ' a b ', 'a\nb', 'a\'b"', 'ä', '[x]*', 'sftp:', 'a::file:'])
def test_any_name_of_a_folder_or_file(path: Path, name: str) -> None:
    folder = path.with_name(name)
    folder.mkdir()
    source = path.rename(folder / f'{name}.root')
    done = signal_processing(document(source, md5_of(source)))
    assert Path(done['file']).parent == folder and md5_of(done['file']) == done['md5sum']
    assert len(list(folder.iterdir())) == 2


def test_what_lies_where_the_result_belongs_is_set_aside(path: Path) -> None:
    target = path.with_name('ma22a000_000.amp.root')
    target.write_bytes(b'of another document')
    done = signal_processing(document(path))
    assert done['file'] == str(target) and md5_of(target) == done['md5sum']
    (aside,) = path.parent.glob('*.aside')
    assert aside.read_bytes() == b'of another document' and md5_of(aside) in aside.name


@pytest.mark.parametrize('length', [237, 251])
def test_a_name_whose_result_the_file_system_takes(path: Path, length: int) -> None:
    source = path.with_name('x' * (length - 5) + '.root')
    path.rename(source)
    done = signal_processing(document(source))
    assert Path(done['file']).name == 'x' * (length - 5) + '.amp.root' and Path(done['file']).is_file()


def test_a_name_whose_result_is_too_long_fails_for_good(path: Path) -> None:
    source = path.with_name('x' * 247 + '.root')
    path.rename(source)
    with pytest.raises(Unprocessable, match=r'\.amp\.root: .* is too long, 256 bytes'):
        signal_processing(document(source))
    assert list(path.parent.iterdir()) == [source]
