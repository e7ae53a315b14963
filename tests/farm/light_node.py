"""Preloaded by a Dask worker of tests: children that are no processes, so that one machine has room for a thousand.

Each only waits, whatever the document says: EDW_LIGHT_SECONDS, or else for the end of the test.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

from edw.engines import node
from edw.engines.callbacks import run_callback

GO = Path(os.environ['EDW_TEST_FOLDER']) / 'go'
SECONDS = float(os.environ.get('EDW_LIGHT_SECONDS', '-1'))
OUTCOME = json.dumps(asdict(run_callback(lambda doc: {}, {'_id': 'any'}))).encode()


class LightChild:
    """Has what `edw.engines.node` knows of a Child."""

    def __init__(self, order: bytes) -> None:
        self.is_fit = True
        self.lines: list[bytes] = []

    async def make_ready(self) -> None:
        pass

    async def run(self, document: bytes, timeout: float | None) -> bytes:
        if SECONDS < 0:
            while not GO.exists():
                await asyncio.sleep(1)
        await asyncio.sleep(SECONDS)
        return OUTCOME

    async def close(self) -> None:
        self.is_fit = False


node.Child = LightChild
