"""What names of data files say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edw.registering import names


@pytest.mark.parametrize(
    ('pattern', 'name', 'mark'),
    [
        ('{run}_log', 'ma22a000_003', 'ma22a000_log'),
        ('{run}_log', 'ma22a000_003.root', 'ma22a000_log'),
        ('{run}_log', 'calibration.root', None),
        ('{file}.done', 'x.root', 'x.root.done'),
        ('.{id}.ok', 'x.root', '.x.ok'),
        ('{file}-{id}', '{id}.root', '{id}.root-{id}'),
    ],
)
def test_the_mark_of_a_file(pattern: str, name: str, mark: str | None) -> None:
    assert names.mark_problem(pattern) is None and names.mark_of(pattern, name) == mark


@pytest.mark.parametrize('pattern', ['', 'done', '{file}', '{name}.done', '{file}/done', '{file', '../{run}_log'])
def test_what_is_no_pattern_of_a_mark(pattern: str) -> None:
    assert repr(pattern) in (names.mark_problem(pattern) or '')


@pytest.mark.parametrize(
    ('path', 'says'),
    [
        ('/data/x.root', None),
        ('/data/☃ é #?%.root', None),
        ('/data/_x.root', 'underscore'),
        ('/data/a\nb.root', 'control characters'),
        ('/data/a\x1b[2J.root', 'control characters'),
        ('/da\nta/x.root', 'control characters'),
        (os.fsdecode(b'/data/\xff.root'), 'UTF-8'),
        (os.fsdecode(b'/d\xff/x.root'), 'UTF-8'),
    ],
)
def test_names_that_no_document_can_have(path: str, says: str | None) -> None:
    reason = names.unusable(Path(path), Path(path))
    assert (reason is None) if says is None else (says in (reason or '') and '\n' not in (reason or ''))
