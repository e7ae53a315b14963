"""The job script of deploy/farm on a real Slurm: both steps run there, a job is cancelled, and nothing stays behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edw.database.client import Database
from edw.model.documents import is_run
from tests.farm.clusters import Cluster
from tests.farm.slurm import Slurm
from tests.scripts import ROOT, Scripts, wait_until

FILES = 60
STEPS = ['move_to_sps', 'signal_processing']


def test_both_steps_run_in_jobs_and_one_is_cancelled(
    cluster: Cluster, scripts: Scripts, database: Database, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip('Slurm starts jobs only as root')
    folder = tmp_path / 'slurm'
    folder.mkdir()
    with Slurm(folder) as slurm:
        job = slurm.ask(
            'sbatch',
            '--parsable',
            '--array=1-2',
            '--cpus-per-task=2',
            '--mem-per-cpu=100M',
            '--time=30',
            '--export=ALL',
            str(ROOT / 'deploy' / 'farm' / 'slurm.sh'),
            EDW_HOME=str(ROOT),
            EDW_PYTHON=sys.executable,
            EDW_SCHEDULER_FILE=str(cluster.file),
            EDW_TEST_FOLDER=str(cluster.folder),
        )
        listeners = [
            scripts.listen(name, '--farm', str(cluster.file)) for name in ('listen_newfiles.py', 'listen_analysis1.py')
        ]
        for listener in listeners:
            listener.wait_for('has room for 4 callbacks')
        assert job and processes_of(cluster)
        scripts.call('make_metadata.py', str(FILES), '--events', '40')
        wait_until(lambda: sum(len(doc['process']) == 2 for doc in files(database)) >= 5)
        slurm.ask('scancel', f'{job}_1')
        wait_until(lambda: all(len(doc['process']) == 2 for doc in files(database)), limit=120)
        for listener in listeners:
            listener.wait_for('has room for 2 callbacks')  # that job was among those that worked
            assert listener.stop() == 0, listener.output
        docs = files(database)
        assert len(docs) == FILES
        for doc in docs:
            assert [entry['name'] for entry in doc['process']] == STEPS
            assert doc['status'] == 'good' and 'claim' not in doc
            errors = [failure['error'] for failure in doc.get('failures', [])]
            assert len(errors) <= 2 and all(error.startswith('WorkerGone: ') for error in errors)
        slurm.ask('scancel', job)
        wait_until(lambda: not slurm.ask('squeue', '--noheader'))
        wait_until(lambda: not processes_of(cluster))


def files(database: Database) -> list[dict]:
    docs = (row['doc'] for row in database.all_docs(include_docs=True))
    return [doc for doc in docs if not doc['_id'].startswith('_') and not is_run(doc)]


def processes_of(cluster: Cluster) -> dict[int, str]:
    """All processes that jobs have started for this cluster, whoever their parent is by now."""
    found = {}
    for process in Path('/proc').glob('[0-9]*'):
        try:
            environment = (process / 'environ').read_bytes().split(b'\0')
            command = (process / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
        except OSError:
            continue  # it has ended
        is_ours = f'EDW_TEST_FOLDER={cluster.folder}'.encode() in environment
        if command and is_ours and any(entry.startswith(b'SLURM_JOB_ID=') for entry in environment):
            found[int(process.name)] = command
    return found
