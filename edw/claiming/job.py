"""The batch job that this process runs in, as its batch system calls it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

LONGEST = 100  # characters


def number(environment: Mapping[str, str]) -> str:
    """The number of the batch job that has this environment; empty outside one.

    Source: the manuals of Slurm (sbatch), PBS (qsub), Grid Engine (qsub) and HTCondor, which has it in a file only:
    "Environment variables for running jobs".
    """
    if task := environment.get('SLURM_ARRAY_TASK_ID'):
        found = f'{environment.get("SLURM_ARRAY_JOB_ID", "")}_{task}'
    elif 'SGE_TASK_ID' in environment:  # JOB_ID alone is a name that others use, too
        task = environment['SGE_TASK_ID']
        found = environment.get('JOB_ID', '') + (f'.{task}' if task.isdecimal() else '')
    else:
        found = environment.get('SLURM_JOB_ID') or environment.get('PBS_JOBID') or _of_condor(environment)
    return found[:LONGEST]


@lru_cache(maxsize=1)
def current() -> str:
    """That of this process."""
    return number(os.environ)


def _of_condor(environment: Mapping[str, str]) -> str:
    file = environment.get('_CONDOR_JOB_AD')
    try:
        text = Path(file).read_text(encoding='utf-8', errors='replace') if file else ''
    except OSError:
        return ''  # of a job that this one was started by, and that has ended
    found = [re.search(rf'^{name} = (\d+)$', text, re.MULTILINE) for name in ('ClusterId', 'ProcId')]
    return '.'.join(match[1] for match in found if match)
