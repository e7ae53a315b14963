"""What names of data files say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edw.registering import names, runs


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
    assert names.mark_problem(pattern) is None and names.mark_of(pattern, name, runs.run_of(names.id_of(name))) == mark


def test_the_mark_of_a_run_that_is_named_otherwise() -> None:
    assert names.mark_of('{run}_log', 'x.root', 'calibration') == 'calibration_log'


@pytest.mark.parametrize('pattern', ['', 'done', '{file}', '{name}.done', '{file}/done', '{file', '../{run}_log'])
def test_what_is_no_pattern_of_a_mark(pattern: str) -> None:
    assert repr(pattern) in (names.mark_problem(pattern) or '')


@pytest.mark.parametrize(
    ('pattern', 'path', 'run'),
    [
        ('{run}_*', 'data/calib_2024_001.root', 'calib_2024'),
        ('{run}_???', 'data/calib_2024_001.root', 'calib_2024'),
        ('{run}_???', 'data/calib_2024_1.root', None),
        ('*-{run}-*', 'data/det-r7-0.root', 'r7'),
        ('{run}', 'data/x.root', 'x'),
        ('{run}/*', '/data/run7/0.root', 'run7'),
        ('{run}/raw/f[0-9]', '/data/run7/raw/f0.root', 'run7'),
        ('{run}/raw/f[0-9]', '/data/run7/other/f0.root', None),
        ('r*/{run}_*', '/data/r1/a_b.root', 'a'),
        ('a/b/c/{run}', '/x.root', None),
        ('{run}*', '/data/_x.root', None),  # a run's document could not have this id
        ('{run}_*', '/data/x.root', None),
    ],
)
def test_the_run_of_a_file_by_a_pattern(pattern: str, path: str, run: str | None) -> None:
    assert names.run_pattern_problem(pattern) is None and names.run_in(Path(path), pattern) == run


def test_the_folder_of_a_run_may_be_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'run9').mkdir()
    monkeypatch.chdir(tmp_path / 'run9')
    assert names.run_in(Path('x.root'), '{run}/*') == 'run9'


@pytest.mark.parametrize('pattern', ['', '*', 'run', '{run}_{run}', '{id}'])
def test_what_is_no_pattern_of_runs(pattern: str) -> None:
    assert repr(pattern) in (names.run_pattern_problem(pattern) or '')


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
