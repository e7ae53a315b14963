"""Both steps on real files as Celery tasks; run as a module, it has the documents of stdin go through a worker of them.

BENCH_REDIS is the broker, which keeps the results too, and BENCH_SPS the folder to which files are moved.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace

from celery import Celery
from celery.signals import worker_process_init

import listen_analysis1
import listen_newfiles
from bench.work import LIMIT, STEPS, Document, step_on
from edw import config

app = Celery('bench', broker=os.environ['BENCH_REDIS'], backend=os.environ['BENCH_REDIS'])


@worker_process_init.connect
def begin(**_: object) -> None:
    """Have the settings that the functions read."""
    config.current.set(replace(config.load(), sps=os.environ['BENCH_SPS']))


@app.task(name=STEPS[0])
def move_to_sps(doc: Document) -> Document:
    """The first step, which the chain hands on to the second."""
    return step_on(doc, STEPS[0], listen_newfiles.move_to_sps)


@app.task(name=STEPS[1])
def signal_processing(doc: Document) -> Document:
    """The second step."""
    return step_on(doc, STEPS[1], listen_analysis1.signal_processing)


def main() -> None:
    """Print the seconds for all documents, of which the first ones only warm the worker up."""
    warm_up, docs = json.load(sys.stdin)
    for part in (warm_up, docs):
        started = time.perf_counter()
        results = [(move_to_sps.s(doc) | signal_processing.s()).apply_async() for doc in part]
        ended = [result.get(timeout=LIMIT) for result in results]
        seconds = time.perf_counter() - started
        assert all([entry['name'] for entry in doc['process']] == [*STEPS] for doc in ended)
    print(seconds)


if __name__ == '__main__':
    main()
