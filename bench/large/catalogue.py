"""A catalogue as months of the suite leave it: files of many runs, through both steps, and what was said of them.

Documents depend on their numbers alone. Those of runs themselves are left out.
"""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta, timezone
from typing import Any

from bench.work import STEPS, Document

FILES = 200  # of a run, which takes a day
MACHINES = 8  # of the acquisition, each with a run a day
DAY = timedelta(days=1).total_seconds()
BEGIN = datetime(2022, 1, 1, tzinfo=timezone.utc)
COLDEST, WARMEST = 0.015, 0.016  # K
CONDITIONS = ('calibration', 'background', 'background')  # of runs, in turn
TAGGED, HELD = 10, 100  # one run in so many
NOT_MOVED, NOT_ANALYSED = 2003, 503  # one file in so many has failed in the first step, in the second; primes
ATTEMPTS = 3
SOFTWARE = {'edw': '2.1.0', 'commit': '5b0f5b6', 'python': '3.11.7'}
PACKAGES = {'numpy': '2.4.6', 'uproot': '5.7.7'}
FAILURES = (
    ('failed move to sps', 'md5 differs', 'Unprocessable: the original has another md5 than its document'),
    ('signal processing failure', 'not a data file', 'Unprocessable: no ROOT file'),
)


def run_of(number: int) -> str:
    """The run of a file, by the file's number."""
    day, machine = divmod(number // FILES, MACHINES)
    date = BEGIN + timedelta(days=day)
    year, month = chr(ord('m') + date.year - 2012), chr(ord('a') + date.month - 1)
    return f'{year}{month}{date.day:02d}{chr(ord("a") + machine)}000'


def documents(start: int, number: int) -> list[Document]:
    """So many files of the catalogue, from a number on."""
    return [_document(index) for index in range(start, start + number)]


def _document(number: int) -> Document:
    drawn = random.Random(number)
    run, (run_number, place) = run_of(number), divmod(number, FILES)
    doc_id = f'{run}_{place:03d}'
    made = BEGIN.timestamp() + DAY * (run_number // MACHINES + (place + drawn.random()) / FILES)
    doc: Document = {
        '_id': doc_id,
        'run': run,
        'condition': CONDITIONS[run_number % len(CONDITIONS)],
        'conditions': {
            'volts': {'detector_a': [8, -8, 2, -2], 'detector_b': [4, -4, 1.5, -1.5]},
            'temperature': drawn.uniform(COLDEST, WARMEST),
        },
        'original_file': f'/mnt/data/raw/{doc_id}.root',
        'size': 1_000_000 + drawn.randrange(50_000),
        'modified': made,
        'md5sum': _md5(doc_id),
        'datecreated': made,
        'status': 'good',
        'process': [],
    }
    for index, (step, result) in enumerate(zip(STEPS, _results(doc_id), strict=True)):
        time = made + 30.0 * (index + 1)
        if number % (NOT_MOVED, NOT_ANALYSED)[index] == 1:
            status, kind, error = FAILURES[index]
            doc |= {'status': status, 'failures': [_failure(step, kind, error, time)]}
            break
        software = SOFTWARE | ({'packages': PACKAGES} if index else {}) | {'step': '1'}
        entry = {'name': step, 'hostname': 'ccage', **result, 'started': time - 1, 'finished': time}
        doc['process'].append(entry | {'software': software})
    said = {'by': 'shift', 'time': made + DAY}
    if run_number % TAGGED == 0:
        doc |= {'tags': [{'name': 'golden', **said}], 'quality': {'value': 'good', **said}}
    if run_number % HELD == 1:
        doc |= {'hold': {'reason': 'fridge at 30 mK', **said, 'status': doc['status']}, 'status': 'held'}
    return doc


def _results(doc_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two steps return."""
    moved = {'file': f'/sps/{doc_id}.root', 'md5sum': _md5(doc_id), 'log': '1039008 bytes in 0.043 s, 24.3 MB/s'}
    analysed = {
        'file': f'/sps/{doc_id}.amp.root',
        'md5sum': _md5(f'{doc_id}.amp'),
        'log': '200 events; detector_a: 356.0 keV FWHM 0.80 keV, baseline FWHM 0.71 keV',
        'parameters': {'template_from_kev': 100.0, 'template_pulses': 100, 'noise_triggers': 1000},
    }
    return moved, analysed


def _failure(step: str, kind: str, error: str, time: float) -> dict[str, Any]:
    software = {**SOFTWARE, 'step': '1'}
    return {
        'process': step,
        'error': error,
        'kind': kind,
        'hostname': 'ccage',
        'time': time,
        'attempt': 1,
        'software': software,
    }


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
