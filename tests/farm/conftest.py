"""A cluster for each test, and a listener that works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.farm.clusters import Cluster
from tests.scripts import ROOT, Process, Scripts

STEP = ROOT / 'tests' / 'farm' / 'step.py'

Listen = Callable[..., Process]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(ROOT))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    pytest.importorskip('distributed', reason='the Python package distributed (requirements-farm.txt) is not here')
    folder = tmp_path / 'cluster'
    folder.mkdir()
    with Cluster(folder) as cluster:
        cluster.start_scheduler()
        yield cluster


@pytest.fixture
def listen(scripts: Scripts, cluster: Cluster) -> Listen:
    """Starts a listener on the cluster."""
    return lambda *options, **more: scripts.listen(STEP, '--farm', cluster.address, *options, **more)
