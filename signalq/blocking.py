"""The SDK for code without asyncio: the same calls, blocking."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from signalq.amqp.publisher import CLOSE_TIMEOUT_S
from signalq.client import OrderPublisher, PublisherOptions
from signalq.desk import Desk
from signalq.intent import OrderIntent
from signalq.many import IN_FLIGHT_MAX
from signalq.receipt import Receipt, SyncReceipt
from signalq.results import Given, SyncPublishResult

NOT_ENTERED = "use SyncOrderPublisher in a with block"

T = TypeVar("T")


class SyncOrderPublisher:
    """OrderPublisher for code without asyncio: the same calls, blocking; safe to use from several threads.

    Its connection lives in a thread of its own, so heartbeats go on between calls.
    """

    def __init__(self, url: str, **options: Unpack[PublisherOptions]) -> None:
        self._make: Callable[[], OrderPublisher] = lambda: OrderPublisher(url, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._publisher: OrderPublisher | None = None
        self._lock = threading.Lock()

    def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> SyncReceipt:
        """See OrderPublisher.publish; the receipt's `outcome()` blocks, too."""
        return self._blocking(self._run(self._entered().publish(intent, message_id=message_id)))

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
        orders, desk = self._entered(), Desk(intents, on_result, self._blocking)
        with self._lock:
            if self._loop is None:
                raise RuntimeError(NOT_ENTERED)
            publish_many = partial(orders.publish_many, on_result=desk.tell, in_flight_max=in_flight_max)
            desk.begin(self._loop, publish_many)
        return desk.serve()

    def _blocking(self, receipt: Receipt) -> SyncReceipt:
        return SyncReceipt(receipt.message_id, receipt.created_ms, receipt, self._run)

    def _entered(self) -> OrderPublisher:
        if self._publisher is None:
            raise RuntimeError(NOT_ENTERED)
        return self._publisher

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="signalq-publisher", daemon=True)
        self._thread.start()
        self._publisher = self._make()
        try:
            self._run(self._publisher.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; publishes in flight raise Unconfirmed."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None or self._publisher is None:
            return
        asyncio.run_coroutine_threadsafe(_wind_up(self._publisher), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
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


async def _wind_up(publisher: OrderPublisher) -> None:
    """Close, and let the publishes of other threads say how they ended: those threads wait for it."""
    await publisher.close()
    in_flight = asyncio.all_tasks() - {asyncio.current_task()}
    if in_flight:
        await asyncio.wait(in_flight, timeout=CLOSE_TIMEOUT_S)
