from __future__ import annotations

import pytest

from edw.errors import EdwError
from edw.registering import runs


@pytest.mark.parametrize(
    ('doc_id', 'run'),
    [
        ('ma22a000_000', 'ma22a000'),
        ('zl31z999_12345', 'zl31z999'),
        ('ma22a000_00', None),
        ('ma22a000', None),
        ('mm22a000_000', None),  # no such month
        ('ma32a000_000', None),  # no such day
        ('xma22a000_000', None),
        ('_design/process', None),
    ],
)
def test_run_of(doc_id: str, run: str | None) -> None:
    assert runs.run_of(doc_id) == run


def test_file_ids_are_read_back() -> None:
    for number in (0, 999, 1000, 99_999):
        assert runs.run_of(runs.file_id('ma22a007', number)) == 'ma22a007'


def test_next_run() -> None:
    assert runs.next_run(None) == 'ma22a000'
    assert runs.next_run('ma22a009') == 'ma22a010'
    with pytest.raises(EdwError, match='ma22a999'):
        runs.next_run('ma22a999')
