"""A real socket server that gives prepared answers, for what no well-behaved server would say."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

RESET = b'<reset>'  # at the end of an answer: cut the connection as a failing network does


@contextmanager
def answering(*answers: bytes | None, seen: list[str] | None = None) -> Iterator[str]:
    """A real socket server that gives one answer per connection, and then closes it; None keeps silent.

    `seen` gets the first line of each request that is answered. No session is offered: a login gets 404, and does not
    count.
    """
    stop = threading.Event()
    with socket.create_server(('127.0.0.1', 0)) as listening:

        def serve() -> None:
            left = list(answers)
            while left:
                connection, _ = listening.accept()
                with connection:
                    request = connection.recv(65536)
                    if request.startswith(b'POST /_session'):
                        connection.sendall(http('404 Not Found', b'{}'))
                        continue
                    if seen is not None:
                        seen.append(request.split(b'\r\n')[0].decode())
                    answer = left.pop(0)
                    if answer is None:
                        stop.wait()
                    elif answer.endswith(RESET):
                        connection.sendall(answer.removesuffix(RESET))
                        # Lingering for no time makes the kernel send a reset, not an orderly end.
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{listening.getsockname()[1]}'
        stop.set()
        thread.join(10)


def http(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        f'HTTP/1.1 {status}',
        'Connection: close',
        f'Content-Length: {len(body) if length is None else length}',
        *headers,
        '',
        '',
    ]
    return '\r\n'.join(lines).encode() + body
