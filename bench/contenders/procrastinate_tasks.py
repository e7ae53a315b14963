"""The two steps as Procrastinate jobs, which stay in their table.

`python -m bench.contenders.procrastinate_tasks QUEUE` works.
"""

from __future__ import annotations

import asyncio
import os
import sys

from procrastinate import App, PsycopgConnector

from bench.work import STEPS, Document, entry

app = App(connector=PsycopgConnector(conninfo=os.environ['BENCH_POSTGRESQL']))


@app.task(name=STEPS[0], queue=STEPS[0])
async def move_to_sps(doc: Document) -> None:
    """The first step, which hands on to the second."""
    doc['process'].append(entry(STEPS[0], doc))
    await app.tasks[STEPS[1]].defer_async(doc=doc)


@app.task(name=STEPS[1], queue=STEPS[1])
async def signal_processing(doc: Document) -> None:
    """The second step."""
    doc['process'].append(entry(STEPS[1], doc))


async def _work(queue: str) -> None:
    async with app.open_async():
        print('listening', flush=True)
        await app.run_worker_async(queues=[queue])


if __name__ == '__main__':
    asyncio.run(_work(sys.argv[1]))
