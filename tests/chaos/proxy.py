"""A TCP proxy whose connections can be cut, as a failing network does it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class Proxy:
    """Forwards connections from a port of its own to another one on loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.port = self._listening.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Reset every connection, in the middle of whatever it carries; returns how many sockets that were."""
        with self._lock:
            cut, self._open = self._open, set()
        for connection in cut:
            with contextlib.suppress(OSError):
                # Lingering for no time makes the kernel send a reset, not an orderly end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        return len(cut)

    def close(self) -> None:
        """Take no more connections, and cut those that are open."""
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(('127.0.0.1', self._target))
            except OSError:
                client.close()  # nobody behind the proxy now
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with self._lock:
            self._open -= {source, sink}
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
