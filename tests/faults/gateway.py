"""A gateway in front of the server, which answers some requests itself, refuses rows, and cuts what takes long."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What the gateway says itself; a `status` of 0 resets the connection."""

    status: int
    body: bytes = b'<html>This is the gateway.</html>'
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Request:
    """A request that has come; `docs` are those of a `_bulk_docs`."""

    method: str
    path: str
    docs: list[dict[str, Any]] | None


RESET = Answer(0)
HOP_BY_HOP = {'connection', 'transfer-encoding', 'content-length', 'keep-alive'}


class Gateway:
    """Forwards requests to a server.

    `answers(request)` may answer one itself, `refuses(doc)` may give the row of a document that is written, which then
    does not reach the server, and `patience` is how many seconds a feed may take before it is cut.
    """

    def __init__(self, server: str) -> None:
        self.answers: Callable[[Request], Answer | None] = lambda request: None
        self.refuses: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda doc: None
        self.patience: float | None = None
        self.requests: list[Request] = []
        self._upstream = urlsplit(server)
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), self._handler())
        self._server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def written(self, doc_id: str) -> int:
        """How often a document was sent to be written."""
        return sum(doc['_id'] == doc_id for request in list(self.requests) for doc in request.docs or ())

    def _handler(gateway) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
                docs = json.loads(body)['docs'] if self.path.endswith('/_bulk_docs') else None
                request = Request(self.command, self.path, docs)
                gateway.requests.append(request)
                answer = gateway.answers(request)
                if answer is not None:
                    self.say(answer)
                    return
                try:
                    if docs is None:
                        self.forward(body)
                    else:
                        self.forward_docs(docs)
                except (OSError, HTTPException):
                    self.cut()

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def say(self, answer: Answer) -> None:
                if answer.status == 0:
                    self.cut()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header('Content-Length', str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def upstream(self, body: bytes) -> HTTPConnection:
                connection = HTTPConnection(gateway._upstream.hostname, gateway._upstream.port)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                connection.request(self.command, self.path, body or None, {**headers, 'Connection': 'close'})
                return connection

            def forward(self, body: bytes) -> None:
                connection = self.upstream(body)
                timer = None
                # Of others it would be a matter of the machine, whether they are answered in time.
                if gateway.patience is not None and 'feed=longpoll' in self.path:
                    # Both ways: the server must not go on with what nobody waits for.
                    timer = threading.Timer(gateway.patience, self.cut, [connection.sock])
                    timer.daemon = True
                    timer.start()
                response = connection.getresponse()
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header('Transfer-Encoding', 'chunked')
                self.end_headers()
                while data := response.read1(65536):
                    self.wfile.write(f'{len(data):x}\r\n'.encode() + data + b'\r\n')
                self.wfile.write(b'0\r\n\r\n')
                if timer is not None:
                    timer.cancel()

            def forward_docs(self, docs: list[dict[str, Any]]) -> None:
                refused = [gateway.refuses(doc) for doc in docs]
                passed = [doc for doc, row in zip(docs, refused, strict=True) if row is None]
                rows: Any = []
                if passed:
                    response = self.upstream(json.dumps({'docs': passed}).encode()).getresponse()
                    rows = json.loads(response.read())
                    if response.status != 201:
                        self.say(Answer(response.status, json.dumps(rows).encode()))
                        return
                accepted = iter(rows)
                merged = [
                    next(accepted) if row is None else {'id': doc['_id'], **row}
                    for doc, row in zip(docs, refused, strict=True)
                ]
                self.say(Answer(201, json.dumps(merged).encode()))

            def cut(self, other: socket.socket | None = None) -> None:
                self.close_connection = True
                for connection in filter(None, (self.connection, other)):
                    try:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                        connection.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        continue  # it is closed already

            def log_message(self, *_: object) -> None:
                """The test looks at the requests itself."""

        return Handler
