"""Documents of a night's data taking, as listeners would have left them: made up, files and all."""

from __future__ import annotations

import random
from typing import Any

from edw.model.documents import Document
from edw.model.listeners import heartbeat_id

HOURS = 11.0  # of data taking
INTERVAL = 720.0  # seconds between two files of a machine: five an hour
FILES_IN_A_RUN = 12
STOPPED = 3.2, 4.1  # hours before now, when the processing stood still
LISTENERS = ('sps-node-03:20417:9ac1f02e', 'sps-node-07:1188:52d7be19')  # both hold claims


def night(now: float, machines: str, random_seed: int) -> list[Document]:
    """Documents of some acquisition machines, a letter each, over HOURS until `now` (seconds since the epoch)."""
    rng = random.Random(random_seed)
    docs = []
    for machine in machines:
        begin = now - 3600 * HOURS + rng.uniform(0, INTERVAL)
        for number in range(int(3600 * HOURS / INTERVAL)):
            made = begin + number * INTERVAL * rng.uniform(0.99, 1.01)
            if made < now - 240:
                docs.append(_document(rng, f'mk24{machine}{number // FILES_IN_A_RUN:03d}', number, made, now))
    for doc, listener in zip(docs[-3:], (LISTENERS[0], LISTENERS[0], LISTENERS[1]), strict=True):
        doc['process'] = doc['process'][:1]
        doc['claim'] = {'process': 'signal_processing', 'worker': listener, 'since': now - rng.uniform(20, 90)}
    return docs


def heartbeats(now: float) -> list[Document]:
    """The heartbeats of LISTENERS."""
    return [
        {'_id': heartbeat_id(listener), 'counter': 7, 'process': 'signal_processing', 'time': now - 4}
        for listener in LISTENERS
    ]


def _document(rng: random.Random, run: str, number: int, made: float, now: float) -> Document:
    doc_id = f'{run}_{number % FILES_IN_A_RUN:03d}'
    doc: Document = {
        '_id': doc_id,
        'run': run,
        'conditions': {'temperature': round(rng.uniform(0.015, 0.016), 6)},
        'original_file': f'/mnt/data/{doc_id}.root',
        'datecreated': made,
        'status': 'good',
        'process': [],
    }
    begin = made
    for step, mean in (('move_to_sps', 40.0), ('signal_processing', 90.0)):
        begin = _after_the_stop(begin + rng.expovariate(1 / mean), now) if step == 'signal_processing' else begin + 20
        finished = begin + rng.uniform(0.5, 1.5) * mean
        if finished > now:
            break
        doc['process'].append(_entry(doc_id, step, begin, finished))
        begin = finished
    return doc


def _after_the_stop(at: float, now: float) -> float:
    """While the processing stood still nothing was begun; it caught up within half an hour."""
    begin, end = now - 3600 * STOPPED[1], now - 3600 * STOPPED[0]
    return end + (at - begin) / 2 if begin < at < end else at


def _entry(doc_id: str, step: str, started: float, finished: float) -> dict[str, Any]:
    ending = '.root' if step == 'move_to_sps' else '.amp.root'
    return {
        'name': step,
        'hostname': 'sps-node-03',
        'file': f'/sps/data/{doc_id}{ending}',
        'started': started,
        'finished': finished,
    }
