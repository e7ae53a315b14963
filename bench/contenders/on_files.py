"""Celery and Snakemake with the functions of the chain on real files, each from a virtual environment that has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.contenders.task_queues import redis
from bench.processes import ROOT, Processes
from bench.work import STEPS, Document

# First documents, the others, the folder for results, workers: files/s.
Way = Callable[[list[Document], list[Document], Path, int], float]
SNAKEMAKE_FILES = 12  # at most: each job starts Python, and takes seconds
TASKS = 'bench.contenders.celery_files'


def ways(environment: Path) -> dict[str, Way]:
    """Those whose programs are there; what is missing is said."""
    found: dict[str, Way] = {}
    for name, way, programs in (
        ('Celery', _celery, (environment / 'bin' / 'celery', 'redis-server')),
        ('Snakemake', _snakemake, (environment / 'bin' / 'snakemake',)),
    ):
        missing = [str(program) for program in programs if shutil.which(program) is None]
        if missing:
            print(f'\n{name} is left out: there is no {missing[0]}', file=sys.stderr)
        else:
            found[name] = lambda *about, way=way: way(environment, *about)
    return found


def _celery(environment: Path, first: list[Document], docs: list[Document], sps: Path, workers: int) -> float:
    """Prefork workers, as Celery starts them, so many for each step; results are kept in Redis, and waited for."""
    python = str(environment / 'bin' / 'python')
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name, redis(Path(name)):
        os.environ['BENCH_SPS'] = str(sps)
        with Processes(Path(name)) as processes:
            options = ['--concurrency', str(workers * len(STEPS)), '--loglevel', 'INFO']
            processes.start([python, '-m', 'celery', '-A', TASKS, 'worker', *options], 'ready.')
            done = subprocess.run(
                [python, '-m', TASKS], input=json.dumps([first, docs]), cwd=ROOT, capture_output=True, text=True
            )
    if done.returncode:
        raise RuntimeError(f'Celery: {done.stderr[-2000:]}')
    return len(docs) / float(done.stdout)


def _snakemake(environment: Path, first: list[Document], docs: list[Document], sps: Path, workers: int) -> float:
    """As many jobs at once as there are workers; nothing is kept warm between them, so that the first tell nothing."""
    docs = docs[:SNAKEMAKE_FILES]
    programs = environment / 'bin'
    with tempfile.TemporaryDirectory(prefix='edw-bench-') as name:
        for doc in docs:
            (Path(name) / f'{doc["_id"]}.new.json').write_text(json.dumps(doc), encoding='utf-8')
        started = time.perf_counter()
        done = subprocess.run(
            [
                str(programs / 'snakemake'),
                *('--snakefile', str(Path(__file__).with_name('files.smk'))),
                *('--directory', name),
                *('--cores', str(workers)),
            ],
            env={
                **os.environ,
                'PATH': f'{programs}{os.pathsep}{os.environ["PATH"]}',
                'PYTHONPATH': str(ROOT),
                'BENCH_SPS': str(sps),
            },
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
        made = list(Path(name).glob(f'*.{STEPS[-1]}.json'))
    if done.returncode or len(made) != len(docs):
        raise RuntimeError(f'Snakemake: {done.stderr[-2000:]}')
    return len(docs) / seconds
