from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edw import files


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
    name = files.temporary_name('x.root')
    assert name.startswith('.') and not name.endswith('.root')
    assert name != files.temporary_name('x.root')
