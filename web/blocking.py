"""Work that blocks, beside the event loop: in threads that do not hold up the end, each with a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

from edw.config import Settings
from edw.database.client import Database
from edw.errors import LoginRefused

MOST = 16  # at once; more requests wait

P = ParamSpec('P')
T = TypeVar('T')

_room = asyncio.Semaphore(MOST)


def in_thread(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """A coroutine function that runs `function` in a thread, for requests to a database that may not answer.

    Not in those of anyio or concurrent.futures: the interpreter waits for them at its end, and that could be as long
    as a server does not answer. These are daemons; one that nobody waits for any more is left alone.
    """

    @functools.wraps(function)
    async def run(*arguments: P.args, **options: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def unless_cancelled(settle: Callable[[], None]) -> None:
            if not outcome.done():
                settle()

        def work() -> None:
            settle: Callable[[], None]
            try:
                settle = functools.partial(outcome.set_result, function(*arguments, **options))
            except BaseException as error:
                settle = functools.partial(outcome.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(unless_cancelled, settle)

        async with _room:
            threading.Thread(target=work, name=function.__name__, daemon=True).start()
            return await outcome

    return run


class Databases:
    """Lends databases, each to one thread at a time, and keeps them: their connection and login are still good.

    A login that was refused once is not tried again: every page that is opened would be another try, and CouchDB 3.4
    and later lock an address out after five.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: list[Database] = []
        self._refused: LoginRefused | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lent(self) -> Iterator[Database]:
        """A database for the time of the block. Raises LoginRefused where any request met it before."""
        with self._lock:
            database = self._idle.pop() if self._idle else None
        try:
            with self.guarded():
                database = database or Database(self.settings)
                yield database
        finally:
            if database is not None:
                with self._lock:
                    self._idle.append(database)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """A block that asks a database of its own, and is not begun after a login was refused."""
        if self._refused is not None:
            raise LoginRefused(f'{self._refused}\nIt is not tried again before dashboard.py is started anew.')
        try:
            yield
        except LoginRefused as error:
            self._refused = error
            raise
