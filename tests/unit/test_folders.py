"""Which files of a folder are data files: patterns, folders below, links, and what is passed over."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from edw.errors import EdwError
from edw.registering import folders
from edw.registering.folders import Found, Selection

DEEP = Selection(recursive=True)


def look(folder: Path, selection: Selection = DEEP) -> tuple[list[str], str]:
    found = folders.look(folder, selection)
    assert not found.failed
    return names(found, folder), folders.listed(found.passed)


def names(found: Found, folder: Path) -> list[str]:
    return [str(file.path.relative_to(folder)) for file in found.files]


def write(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'root')


def test_folders_below_are_looked_into_if_told_to(tmp_path: Path) -> None:
    write(tmp_path / 'x.root', tmp_path / 'b/c/y.root', tmp_path / 'a/z.root', tmp_path / '.h/v.root')
    assert look(tmp_path) == (['a/z.root', 'b/c/y.root', 'x.root'], '1 hidden folder')
    assert look(tmp_path, Selection()) == (['x.root'], '2 folders, 1 hidden folder')


@pytest.mark.slow
def test_deeper_than_python_can_call_itself(tmp_path: Path) -> None:
    deep = tmp_path / 'top'
    try:
        for _ in range(1200):
            deep.mkdir()
            deep /= 'd'
        write(deep.parent / 'x.root')
        assert len(folders.look(tmp_path, DEEP).files) == 1
    finally:
        # Python, and so pytest, cannot.
        subprocess.run(['rm', '-rf', str(tmp_path / 'top')], check=True)


def test_names_are_chosen_by_patterns(tmp_path: Path) -> None:
    for name in ('m_000', 'm_001', 'm_log', 'X.ROOT', 'a.root', 'a.amp.root', '[1].dat', '1.dat'):
        write(tmp_path / name)
    assert look(tmp_path, Selection(('*_[0-9][0-9][0-9]', '[[]1].dat')))[0] == ['[1].dat', 'm_000', 'm_001']
    assert look(tmp_path, Selection(('*',)))[1] == '1 analysed file'
    assert look(tmp_path) == (['a.root'], '1 analysed file, 6 files of other names')


def test_links_to_files_are_followed_and_registered_where_they_lead(tmp_path: Path) -> None:
    write(tmp_path / 'store/0815', tmp_path / 'here/own.root')
    (tmp_path / 'here/x.root').symlink_to('../store/0815')
    (tmp_path / 'here/again.root').symlink_to('own.root')
    (tmp_path / 'here/nowhere.root').symlink_to('none')
    (tmp_path / 'here/circle.root').symlink_to('circle.root')
    found = folders.look(tmp_path / 'here', DEEP)
    assert names(found, tmp_path / 'here') == ['own.root', 'x.root']
    assert folders.listed(found.passed) == '2 links that lead nowhere, 1 link to a file that is here itself'
    (x,) = (file for file in found.files if file.path.name == 'x.root')
    assert x.real == tmp_path / 'store/0815' and x.doc_id == 'x'


def test_links_to_folders_are_not_followed_and_lead_in_no_circle(tmp_path: Path) -> None:
    write(tmp_path / 'a/b/x.root')
    (tmp_path / 'a/b/up').symlink_to('../..')
    (tmp_path / 'a/out').symlink_to('/usr')
    assert look(tmp_path) == (['a/b/x.root'], '2 links to folders')


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / 'store/x.root')
    (tmp_path / 'link').symlink_to('store')
    (file,) = folders.look(tmp_path / 'link', DEEP).files
    assert file.path == tmp_path / 'link/x.root' and file.real == tmp_path / 'store/x.root'


@pytest.mark.parametrize('says', ['no such folder', 'is not a folder', 'cannot be read'])
def test_a_folder_that_cannot_be_looked_at(tmp_path: Path, says: str) -> None:
    (tmp_path / 'is not a folder').touch()
    (tmp_path / 'cannot be read').symlink_to('cannot be read')
    with pytest.raises(EdwError, match=says):
        folders.look(tmp_path / says, DEEP)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'a.root')
    os.mkfifo(tmp_path / 'b')
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(tmp_path)  # the name of a socket may have 108 bytes only
        listening.bind('c.root')
    (tmp_path / 'd.root').mkdir()
    assert look(tmp_path) == ([], '3 devices, FIFOs and sockets')
    assert folders.data_file(tmp_path / 'a.root', DEEP) is None
    assert folders.data_file(tmp_path / 'd.root', DEEP) is None


def test_marks_say_what_is_finished_and_are_no_data_files(tmp_path: Path) -> None:
    write(*(tmp_path / run / f'{run}_{number}' for run in ('ma22a000', 'ma22a001') for number in ('000', '001')))
    write(tmp_path / 'ma22a000/ma22a000_log', tmp_path / 'x', tmp_path / 'ma22a001_log')
    found = folders.look(tmp_path, Selection(('*',), recursive=True, done_mark='{run}_log'))
    assert names(found, tmp_path) == ['ma22a000/ma22a000_000', 'ma22a000/ma22a000_001']
    # That of another folder says nothing; and without a run in its name, a file can have no mark of a run.
    assert [file.name for file in found.unmarked] == ['ma22a001_log', 'x', 'ma22a001_000', 'ma22a001_001']
    assert folders.listed(found.passed) == '1 mark'
    write(tmp_path / 'x.done', tmp_path / 'x.done.done')
    found = folders.look(tmp_path, Selection(('x*',), done_mark='{file}.done'))
    assert (
        names(found, tmp_path) == ['x'] and folders.listed(found.passed) == '1 file of another name, 2 folders, 2 marks'
    )
