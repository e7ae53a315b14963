"""The floor of a farm: bare asyncio, which sends the same messages over a socket, each by itself.

`python -m bench.farm.floor PORT SECONDS` is a node: it answers each line at once, and again when the callback is over.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bench.work import Document

BEGAN = b'began\n'


async def measure(port: int, docs: list[Document], places: int) -> float:
    """Seconds for the documents through a node with so many places."""
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    waiting = iter(docs)

    def send() -> None:
        for doc in waiting:
            writer.write(json.dumps(doc).encode() + b'\n')
            return

    started = time.perf_counter()
    for _ in range(places):
        send()
    done = 0
    while done < len(docs):
        line = await reader.readline()
        assert line, 'the node is gone'
        if line != BEGAN:
            json.loads(line)
            done += 1
            send()
    writer.close()
    return time.perf_counter() - started


async def serve(port: int, seconds: float) -> None:
    """Be a node."""
    loop = asyncio.get_running_loop()
    said = json.dumps({'outcome': {'file': '/mnt/data/sps/bench.root', 'md5sum': 32 * '0'}}).encode() + b'\n'

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(BEGAN)
            loop.call_later(seconds, writer.write, said)

    server = await asyncio.start_server(talk, '127.0.0.1', port)
    print('listening', flush=True)
    await server.serve_forever()


if __name__ == '__main__':
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
