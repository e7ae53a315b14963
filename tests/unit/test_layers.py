"""The layout is the architecture: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = {file.stem for file in ROOT.glob('*.py')}


def imports_of(file: Path) -> set[str]:
    """Top-level names of the packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split('.')[0])
    return names


@pytest.mark.parametrize('file', sorted((ROOT / 'edw').glob('*.py')), ids=lambda file: file.stem)
def test_edw_imports_no_script_no_detector_and_nothing_heavy(file: Path) -> None:
    assert not imports_of(file) & (SCRIPTS | {'detector', 'web', 'numpy', 'scipy', 'uproot'})


@pytest.mark.parametrize('file', sorted((ROOT / 'detector').glob('*.py')), ids=lambda file: file.stem)
def test_detector_imports_no_script_and_nothing_of_edw(file: Path) -> None:
    assert not imports_of(file) & (SCRIPTS | {'edw', 'web'})


@pytest.mark.parametrize('file', sorted((ROOT / 'web').glob('*.py')), ids=lambda file: file.stem)
def test_web_imports_no_script(file: Path) -> None:
    assert not imports_of(file) & SCRIPTS


def test_listener_imports_nothing_heavy() -> None:
    assert not imports_of(ROOT / 'listener.py') & {'detector', 'web', 'numpy', 'scipy', 'uproot'}


@pytest.mark.parametrize('file', sorted(ROOT.glob('listen_*.py')), ids=lambda file: file.stem)
def test_stage_scripts_are_thin(file: Path) -> None:
    assert len(file.read_text(encoding='utf-8').splitlines()) < 60


@pytest.mark.parametrize(
    'file',
    sorted(file for folder in ('edw', 'detector', 'web') for file in (ROOT / folder).glob('*.py')),
    ids=lambda f: f.stem,
)
def test_modules_hold_one_concept(file: Path) -> None:
    assert len(file.read_text(encoding='utf-8').splitlines()) <= 300
