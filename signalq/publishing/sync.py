"""The SDK for code without asyncio: the same calls, blocking."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from signalq.amqp.connection import CLOSE_TIMEOUT_S
from signalq.amqp.publisher import FORKED
from signalq.errors import Unconfirmed
from signalq.message.identity import new_message_id
from signalq.message.intent import OrderIntent
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.publishing.prepare import outgoing
from signalq.publishing.publisher import OrderPublisher, PublisherOptions
from signalq.publishing.receipt import Receipt, SyncReceipt
from signalq.publishing.results import Given, SyncPublishResult
from signalq.publishing.sync_bulk import Desk

NOT_ENTERED = "use SyncOrderPublisher in a with block"

T = TypeVar("T")


class SyncOrderPublisher:
    """OrderPublisher for code without asyncio: the same calls, blocking; safe to use from several threads.

    Its connection lives in a thread of its own, so heartbeats go on between calls. In a process that is forked after it
    was entered, the first call connects anew, in that process's own thread; the parent's connection is left alone.
    """

    def __init__(self, url: str, **options: Unpack[PublisherOptions]) -> None:
        self._make: Callable[[], OrderPublisher] = lambda: OrderPublisher(url, **options)
        # The parent's stays known in its child, but is never touched there: its locks may be held by threads that the
        # child does not have, and its socket and its loop's selector are shared with the parent.
        self._by_process: dict[int, _LoopThread] = {}
        self._is_entered = False

    def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> SyncReceipt:
        """See OrderPublisher.publish; the receipt's `outcome()` blocks, too."""
        if not self._is_entered:
            # An invalid intent is told without a connection, as OrderPublisher does.
            outgoing(intent, strategy=None, message_id=message_id, now_ms=0)
        here = self._here()
        return here.blocking(here.run(here.publish(intent, message_id)))

    def publish_many(
        self,
        intents: Iterable[Given],
        *,
        on_result: Callable[[SyncPublishResult], object] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> int:
        """See OrderPublisher.publish_many.

        Your iterable is read, and `on_result` called, in the thread of this call: neither is hurried, an intent goes
        out while the next is still being made, and its result is told before or after that.
        """
        here = self._here()
        desk = Desk(intents, on_result, here.blocking)
        here.begin(desk, in_flight_max)
        return desk.serve()

    def _here(self) -> _LoopThread:
        """This process's own."""
        here = self._by_process.get(os.getpid())
        if here is None:
            if not self._is_entered:
                raise RuntimeError(NOT_ENTERED)
            # Of two threads of the child that come here at once, both get the same.
            here = self._by_process.setdefault(os.getpid(), _LoopThread(self._make))
            here.start()
        return here

    def __enter__(self) -> Self:
        here = self._by_process[os.getpid()] = _LoopThread(self._make)
        here.start()
        try:
            here.run(here.enter())
        except BaseException:
            self.close()
            raise
        self._is_entered = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; publishes in flight raise Unconfirmed.

        Each process closes its own: what a child does leaves its parent's open.
        """
        self._is_entered = False
        here = self._by_process.pop(os.getpid(), None)
        if here is not None:
            here.close()


class _LoopThread:
    """A publisher and the thread in which its event loop runs; both belong to the process that started them."""

    def __init__(self, make: Callable[[], OrderPublisher]) -> None:
        self._make = make
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._publisher: OrderPublisher | None = None
        # Connecting and listening where it was entered; in the child of a fork, which nobody entered, listening alone.
        self._listening: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Start the thread; once is enough."""
        with self._lock:
            if self._thread is not None:
                return
            self._loop = asyncio.new_event_loop()
            self._publisher = self._make()
            self._thread = threading.Thread(target=self._loop.run_forever, name="signalq-publisher", daemon=True)
            self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the thread, and wait for it. Raises RuntimeError once it is closed, and in another process."""
        if self._process != os.getpid():
            work.close()
            raise RuntimeError(FORKED)
        with self._lock:
            if self._loop is None:
                work.close()
                raise RuntimeError(NOT_ENTERED)
            running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except KeyboardInterrupt:
            # Or it would go on behind the back of whoever interrupted it.
            running.cancel()
            raise

    def begin(self, desk: Desk, in_flight_max: int) -> None:
        """Begin to publish what the desk has; returns at once."""
        with self._lock:
            if self._loop is None:
                raise RuntimeError(NOT_ENTERED)
            desk.begin(self._loop, partial(self._publish_many, on_result=desk.tell, in_flight_max=in_flight_max))

    def blocking(self, receipt: Receipt) -> SyncReceipt:
        """The receipt, for code without asyncio."""
        return SyncReceipt(receipt.message_id, receipt.created_ms, receipt, self.run)

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None or self._publisher is None:
            return
        asyncio.run_coroutine_threadsafe(_wind_up(self._publisher), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    # ---- in the thread ----

    async def enter(self) -> None:
        """Connect, and listen for outcomes."""
        self._listening = asyncio.create_task(self._orders.__aenter__(), name="signalq enter")
        await self._listening

    async def publish(self, intent: OrderIntent, message_id: str | None) -> Receipt:
        """Publish it; where nobody has entered (in the child of a fork) it begins to listen first, in the same time."""
        if self._listening is not None and self._listening.done():
            return await self._orders.publish(intent, message_id=message_id)
        intent, timeout_s = intent.checked(), self._orders.publish_timeout_s
        message_id = message_id if message_id is not None else new_message_id()
        try:
            async with asyncio.timeout(timeout_s):
                await self._listen()
                return await self._orders.publish(intent, message_id=message_id)
        except TimeoutError:
            raise Unconfirmed(
                f"RabbitMQ did not confirm within {timeout_s:g} s: repeat with the same message_id", message_id
            ) from None

    async def _publish_many(self, intents: AsyncIterable[Given], **options: Any) -> int:
        await self._listen()
        return await self._orders.publish_many(intents, **options)

    async def _listen(self) -> None:
        """Begin to listen for outcomes, once for all who come here."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._orders.listen(), name="signalq listen")
        await asyncio.shield(self._listening)

    @property
    def _orders(self) -> OrderPublisher:
        assert self._publisher is not None  # noqa: S101 - it is made before the thread is
        return self._publisher


async def _wind_up(publisher: OrderPublisher) -> None:
    """Close, and let the publishes of other threads say how they ended: those threads wait for it."""
    await publisher.close()
    in_flight = asyncio.all_tasks() - {asyncio.current_task()}
    if in_flight:
        await asyncio.wait(in_flight, timeout=CLOSE_TIMEOUT_S)
