"""The work that every contender does, and the wait for its end: documents, two steps on each that do nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

STEPS = ('move_to_sps', 'signal_processing')
# Between two looks at what is done, seconds: few, because each costs the server a few milliseconds.
NEAR, FAR = 0.05, 1.0
LIMIT = 300.0  # seconds after which a contender is taken for stuck

Document = dict[str, Any]


def documents(start: int, number: int) -> list[Document]:
    """New documents as `make_metadata.py` makes them, with the ids `bench_START` and on."""
    return [
        {
            '_id': f'bench_{index:07d}',
            'run': 'ma22a000',
            'conditions': {
                'volts': {'detector_a': [8, -8, 2, -2], 'detector_b': [4, -4, 1.5, -1.5]},
                'temperature': 0.015842423014516688,
            },
            'original_file': f'/mnt/data/raw/bench_{index:07d}.root',
            'size': 1029837,
            'md5sum': '977f5c2288038a593d04eb35b08670b2',
            'datecreated': 1378222673.477208,
            'status': 'good',
            'process': [],
        }
        for index in range(start, start + number)
    ]


def paced(docs: list[Document], rate: float) -> Iterator[Document]:
    """The documents, `rate` of them a second, by the clock rather than by the pace of whoever takes them."""
    started = time.perf_counter()
    for number, doc in enumerate(docs):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        yield doc


def callback(doc: Document) -> dict[str, Any]:
    """Do nothing, and return what a step returns."""
    return {'file': doc['original_file'], 'md5sum': doc['md5sum'], 'log': 'ok'}


def entry(step: str, doc: Document) -> dict[str, Any]:
    """What a step appends to `process`, for contenders that make it themselves."""
    now = time.time()
    return {'name': step, 'hostname': 'bench', **callback(doc), 'started': now, 'finished': now}


def step_on(doc: Document, step: str, run: Callable[[Document], dict[str, Any]]) -> Document:
    """The document after a step by a function that does something."""
    made = {'name': step, 'hostname': socket.gethostname(), **run(doc)}
    return {**doc, 'process': [*doc['process'], made]}


def wait_until(count: Callable[[], int], end: int) -> None:
    """Wait until a count has reached `end`.

    The next look comes after half of the time that is left, by the pace so far.
    """
    started = time.monotonic()
    begin = done = count()
    while done < end:
        elapsed = time.monotonic() - started
        assert elapsed < LIMIT, f'not done after {LIMIT:g} s'
        left = elapsed * (end - done) / (done - begin) if done > begin else 0.0
        time.sleep(min(max(left / 2, NEAR), FAR))
        done = count()
