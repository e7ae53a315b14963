"""Running what blocks beside the event loop, in threads that do not hold up the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

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

        def settle(result: T | None, error: BaseException | None) -> None:
            if outcome.done():
                return  # given up
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)

        def work() -> None:
            result, error = None, None
            try:
                result = function(*arguments, **options)
            except BaseException as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(settle, result, error)

        async with _room:
            threading.Thread(target=work, name=function.__name__, daemon=True).start()
            return await outcome

    return run
