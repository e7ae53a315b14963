"""The two steps as Celery tasks; the broker, which keeps the results too, comes by the environment."""

from __future__ import annotations

import os
import time

from celery import Celery

from bench.work import STEPS, Document, entry

app = Celery('bench', broker=os.environ['BENCH_REDIS'], backend=os.environ['BENCH_REDIS'])


@app.task(name=STEPS[0])
def move_to_sps(doc: Document) -> Document:
    """The first step, which the chain hands on to the second."""
    doc['process'].append(entry(STEPS[0], doc))
    return doc


@app.task(name=STEPS[1])
def signal_processing(doc: Document) -> tuple[Document, float]:
    """The second step; also returns the time (s since the epoch) at its end."""
    doc['process'].append(entry(STEPS[1], doc))
    return doc, time.time()
