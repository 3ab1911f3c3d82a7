"""OrderPublisher for code without asyncio: the same calls, blocking, on an event loop in a thread of its own."""

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
from signalq.publishing.bulk import IN_FLIGHT_MAX, why_too_late
from signalq.publishing.prepare import prepare
from signalq.publishing.publisher import OrderPublisher, PublisherOptions
from signalq.publishing.results import Given, Receipt, SyncPublishResult, SyncReceipt
from signalq.publishing.sync_bulk import SyncManyPublisher

NOT_ENTERED = "use SyncOrderPublisher in a with block"

T = TypeVar("T")


class SyncOrderPublisher:
    """OrderPublisher for code without asyncio: the same calls, blocking; safe to use from several threads.

    `url` and the options are those of OrderPublisher. Use it as a context manager; entering connects, and raises
    BrokerUnreachable where that fails. Its connection lives in a thread of its own, so heartbeats go on between calls.
    In a process that is forked after it was entered, the first call connects anew, in that process's own thread; the
    parent's connection is left alone.
    """

    def __init__(self, url: str, **options: Unpack[PublisherOptions]) -> None:
        self._make: Callable[[], OrderPublisher] = lambda: OrderPublisher(url, **options)
        # A child keeps its parent's entry, but never touches it: its locks may be held by threads that the child does
        # not have, and its socket and its loop's selector are shared with the parent.
        self._by_process: dict[int, PublisherThread] = {}
        self._is_entered = False

    def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> SyncReceipt:
        """Do as OrderPublisher.publish does; the receipt's `outcome()` blocks as well."""
        if not self._is_entered:
            # Raises InvalidIntent without a connection, as OrderPublisher does.
            prepare(intent, strategy=None, message_id=message_id, now_ms=0)
        here = self._here()
        return here.sync_receipt(here.run(here.publish(intent, message_id)))

    def publish_many(
        self,
        intents: Iterable[Given],
        *,
        on_result: Callable[[SyncPublishResult], object] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> int:
        """Do as OrderPublisher.publish_many does.

        The thread of this call reads your iterable and calls `on_result`. Neither has to be quick: an intent goes out
        while the next is still being made, and its result is told before or after that.
        """
        here = self._here()
        many = SyncManyPublisher(intents, on_result, here.sync_receipt)
        here.begin(many, in_flight_max)
        return many.serve()

    def _here(self) -> PublisherThread:
        """The thread of this process."""
        here = self._by_process.get(os.getpid())
        if here is None:
            if not self._is_entered:
                raise RuntimeError(NOT_ENTERED)
            # Of two threads of the child that come here at once, both get the same.
            here = self._by_process.setdefault(os.getpid(), PublisherThread(self._make()))
            here.start()
        return here

    def __enter__(self) -> Self:
        here = self._by_process[os.getpid()] = PublisherThread(self._make())
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

        Each process closes its own: closing in a child leaves the parent's open.
        """
        self._is_entered = False
        here = self._by_process.pop(os.getpid(), None)
        if here is not None:
            here.close()


class PublisherThread:
    """The thread in which a publisher's event loop runs; both belong to the process that started it."""

    def __init__(self, orders: OrderPublisher) -> None:
        self._orders = orders
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        # Connects and listens where the publisher was entered; only listens in the child of a fork, which enters none.
        self._listening: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Start the thread; calling this twice changes nothing."""
        with self._lock:
            if self._thread is not None:
                return
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="signalq-publisher", daemon=True)
            self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the thread, and wait for it. Raises RuntimeError after `close`, and in another process."""
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
            # Or it would go on after the call was interrupted.
            running.cancel()
            raise

    def begin(self, many: SyncManyPublisher, in_flight_max: int) -> None:
        """Begin a `publish_many` in the thread; return at once. Raises RuntimeError after `close`."""
        with self._lock:
            if self._loop is None:
                raise RuntimeError(NOT_ENTERED)
            many.begin(self._loop, partial(self._publish_many, on_result=many.tell, in_flight_max=in_flight_max))

    def sync_receipt(self, receipt: Receipt) -> SyncReceipt:
        """The receipt, for code without asyncio."""
        return SyncReceipt(receipt.message_id, receipt.created_ms, receipt, self.run)

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._wind_up(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    # ---- in the thread ----

    async def enter(self) -> None:
        """Connect, and listen for outcomes. Raises BrokerUnreachable."""
        self._listening = asyncio.create_task(self._orders.__aenter__(), name="signalq enter")
        await self._listening

    async def publish(self, intent: OrderIntent, message_id: str | None) -> Receipt:
        """Publish it. In the child of a fork, which enters none, the first call listens first, within the same time."""
        if self._listening is not None and self._listening.done():
            return await self._orders.publish(intent, message_id=message_id)
        intent, timeout_s = intent.checked(), self._orders.publish_timeout_s
        message_id = message_id if message_id is not None else new_message_id()
        try:
            async with asyncio.timeout(timeout_s):
                await self._listen()
                return await self._orders.publish(intent, message_id=message_id)
        except TimeoutError:
            raise Unconfirmed(why_too_late(timeout_s), message_id) from None

    async def _publish_many(self, intents: AsyncIterable[Given], **options: Any) -> int:
        await self._listen()
        return await self._orders.publish_many(intents, **options)

    async def _listen(self) -> None:
        """Listen for outcomes; the first of several callers starts it."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._orders.listen(), name="signalq listen")
        await asyncio.shield(self._listening)

    async def _wind_up(self) -> None:
        """Close, and let the publishes of other threads say how they ended: those threads wait for it."""
        await self._orders.close()
        in_flight = asyncio.all_tasks() - {asyncio.current_task()}
        if in_flight:
            await asyncio.wait(in_flight, timeout=CLOSE_TIMEOUT_S)
