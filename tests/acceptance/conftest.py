"""Fixtures of the acceptance tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import ROOT


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal of waiting_step.py, which goes on when a file of this name with the ending .go is there."""
    file = tmp_path / 'journal'
    monkeypatch.setenv('EDW_TEST_JOURNAL', str(file))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    file.touch()
    return file
