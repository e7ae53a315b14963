"""The number of a batch job, as each batch system tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edw.claiming import job
from edw.model import documents


@pytest.mark.parametrize(
    ('environment', 'number'),
    [
        ({}, ''),
        ({'SLURM_JOB_ID': '17'}, '17'),
        ({'SLURM_JOB_ID': '18', 'SLURM_ARRAY_JOB_ID': '17', 'SLURM_ARRAY_TASK_ID': '1'}, '17_1'),
        ({'PBS_JOBID': '17[2].server'}, '17[2].server'),
        ({'JOB_ID': '17', 'SGE_TASK_ID': 'undefined'}, '17'),
        ({'JOB_ID': '17', 'SGE_TASK_ID': '3'}, '17.3'),
        ({'JOB_ID': '17'}, ''),  # of somebody else
        ({'_CONDOR_JOB_AD': '/is/not/there'}, ''),
    ],
)
def test_number(environment: dict[str, str], number: str) -> None:
    assert job.number(environment) == number


def test_number_of_condor(tmp_path: Path) -> None:
    (tmp_path / '.job.ad').write_text('AutoClusterId = 1\nClusterId = 17\nCmd = "x"\nProcId = 4\n', encoding='utf-8')
    assert job.number({'_CONDOR_JOB_AD': str(tmp_path / '.job.ad')}) == '17.4'


def test_it_stands_in_the_claim_where_there_is_one() -> None:
    assert documents.claimed({'_id': 'a'}, 's', 'l', 1.0, '17')['claim']['job'] == '17'
    assert 'job' not in documents.claimed({'_id': 'a'}, 's', 'l', 1.0)['claim']
