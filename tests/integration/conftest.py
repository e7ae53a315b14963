"""Files for tests of storage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.copied import CONTENT, LARGE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small file."""
    file = tmp_path / 'x.root'
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """One that takes its time."""
    file = tmp_path / 'large.root'
    file.write_bytes(os.urandom(LARGE))
    return file
