"""What processes use: CPU time and memory, and how many requests they make of a server."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import psutil

REQUEST = re.compile(rb'(GET|PUT|POST|DELETE|HEAD|COPY) ')  # the beginning of one


def cpu_seconds(pid: int) -> float:
    """CPU time (s) of a process and of all that it started; of those that ended, their parent knows."""
    total = 0.0
    process = psutil.Process(pid)
    for part in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = part.cpu_times()
            total += sum(times[:4])  # user and system, its own and of children that it has waited for
    return total


def memory(pid: int) -> tuple[float, float]:
    """Memory (MB) that a process has resident now, and had at most."""
    status = Path(f'/proc/{pid}/status').read_text(encoding='utf-8')
    now, most = (int(re.search(rf'{field}:\s+(\d+) kB', status)[1]) / 1000 for field in ('VmRSS', 'VmHWM'))
    return now, most


def listening_on(server: str) -> int | None:
    """Process id of the server at a URL; None where it is on another machine, or not to be seen."""
    port = urlsplit(server).port
    for connection in psutil.net_connections('tcp'):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return connection.pid
    return None


class CountingProxy:
    """Forwards connections to a server, and counts the requests in them."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._target = (parts.hostname, parts.port)
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self._listening.getsockname()[1]}'
        self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those that are open end with their two sides."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # closed
            server = socket.create_connection(self._target)
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # A client sends the next request when it has the answer to the last one, so that a request begins a
                # segment; a body that begins like one is not to be expected of JSON.
                self.requests += counts and REQUEST.match(data) is not None
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
