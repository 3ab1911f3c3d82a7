"""A thread that calls what it is given, one after the other: one hop there, and one back to the loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class OwnThread:
    """Begins with the first call. A process that ends waits for none: what is under way then ends as by a kill."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what it returns, or raise what it raises. A caller that goes does not end a call that has begun."""
        if not self._thread.ident:
            self._thread.start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._calls.put(partial(_call, function, arguments, answer, loop))
        return await answer

    def end(self) -> None:
        """End it, once all that it was given is done."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # or its values would live until the next one


def _call(
    function: Callable[..., Any],
    arguments: tuple[object, ...],
    answer: asyncio.Future[Any],
    loop: asyncio.AbstractEventLoop,
) -> None:
    if answer.cancelled():
        return
    try:
        give = partial(_give, answer, function(*arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's, who waits on the loop
        give = partial(_fail, answer, error)
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(give)


def _give(answer: asyncio.Future[Any], value: object) -> None:
    if not answer.done():
        answer.set_result(value)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
