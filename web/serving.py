"""The web server: its socket, its signals, and an end that no open page holds up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from edw.errors import EdwError, SettingsError

GRACE = 2  # seconds for requests that run when the server is told to end


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises EdwError where the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except socket.gaierror:
        raise SettingsError(f'--host {host!r}: there is no such host') from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EdwError(f'port {port} on {host} is taken by another program. Choose one with --port.') from None
        raise EdwError(f'{host}:{port} cannot be listened at: {error.strerror}') from None


def serve(app: ASGIApp, listener: socket.socket, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. `on_stop` then has to end the answers that would never end by themselves."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan='on',
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config, on_ready, on_stop)
    asyncio.run(server.serve(sockets=[listener]))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # In the loop, not in a signal handler; and not sent on to the process after the end, as uvicorn does, which
        # would turn an end in order into an interruption.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self._on_stop()
        self.should_exit = True
