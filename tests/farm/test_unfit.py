"""A farm that cannot run the step at all fails no document."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edw import __version__
from edw.database.client import Database
from tests.farm.clusters import Cluster
from tests.farm.conftest import STEP, Listen
from tests.farm.test_scheduler_away import untouched
from tests.loops import seed
from tests.scripts import ROOT, Scripts, wait_until


@pytest.fixture
def other_version(tmp_path: Path) -> str:
    """The path of a suite of another version."""
    suite = tmp_path / 'other'
    shutil.copytree(ROOT / 'edw', suite / 'edw')
    init = suite / 'edw' / '__init__.py'
    init.write_text(init.read_text().replace(__version__, '0.9.9'))
    return str(suite)


def assert_nothing_fails(cluster: Cluster, listen: Listen, database: Database, words: str) -> None:
    """A line says what is wrong, once, and documents wait until there is a worker that can run the step."""
    ids = seed(database, 5)
    listener = listen()
    listener.wait_for(words)
    assert untouched(database, ids)
    cluster.start_worker(1)
    wait_until(lambda: all(database.get(doc_id)['process'] for doc_id in ids))
    assert not any('failures' in database.get(doc_id) for doc_id in ids)
    assert listener.stop() == 0
    assert listener.output.count(words) == 1 and 'Traceback' not in listener.output, listener.output


def test_a_worker_without_the_suite(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1, PYTHONPATH='')
    assert_nothing_fails(cluster, listen, database, "No module named 'edw'")


def test_a_worker_of_another_version(cluster: Cluster, listen: Listen, database: Database, other_version: str) -> None:
    cluster.start_worker(1, PYTHONPATH=other_version)
    words = f'the suite is 0.9.9 there and {__version__} here'
    assert_nothing_fails(cluster, listen, database, words)


def test_a_worker_without_what_the_script_imports(cluster: Cluster, listen: Listen, database: Database) -> None:
    cluster.start_worker(1, EDW_TEST_BROKEN='yes')
    assert_nothing_fails(cluster, listen, database, "No module named 'of_no_package'")


def test_a_worker_without_the_script(cluster: Cluster, scripts: Scripts, database: Database, tmp_path: Path) -> None:
    step = tmp_path / 'elsewhere' / 'step.py'
    step.parent.mkdir()
    shutil.copy(STEP, step)
    ids = seed(database, 5)
    listener = scripts.listen(step, '--farm', cluster.address)
    step.rename(tmp_path / 'step.py')
    cluster.start_worker(1)
    listener.wait_for(f'there is no script {step} there')
    assert untouched(database, ids)
    assert listener.stop() == 0


@pytest.mark.parametrize(
    'environment',
    [{'PYTHONPATH': ''}, {'DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES': '3'}],
    ids=['suite', 'setting'],
)
def test_a_scheduler_needs_nothing_of_the_suite(
    cluster: Cluster, listen: Listen, database: Database, environment: dict[str, str]
) -> None:
    cluster.scheduler.kill()
    cluster.start_scheduler(**environment)
    cluster.start_worker(1)
    listener = listen()
    seed(database, 1, do='kill the node')
    for attempt in (1, 2, 3):
        wait_until(lambda attempt=attempt: len(database.get('doc0000').get('failures', [])) == attempt)
        cluster.start_worker(1)
    assert len(cluster.begun()) == 3
    ids = seed(database, 3, first=1)
    wait_until(lambda: all(database.get(doc_id)['process'] for doc_id in ids))
    assert listener.stop() == 0
