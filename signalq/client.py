"""The SDK: publish an order intent, know that the broker has it, and ask what became of it.

async with OrderPublisher("amqp://…", strategy="momentum") as orders:
    receipt = await orders.publish(OrderIntent(connector_name="main", action="openLong", percent="50"))
    outcome = await receipt.outcome(timeout_s=10)     # delivered, dead (with its reason), canceled
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

from pamqp.commands import Basic

from signalq.amqp.connection import HEARTBEAT_S, user_of
from signalq.amqp.publisher import CLOSE_TIMEOUT_S, ConfirmedPublisher
from signalq.envelope import SHORT_STRING_BYTES_MAX, new_message_id, publish_properties
from signalq.errors import BrokerUnreachable, InvalidIntent, Problem, Unconfirmed
from signalq.intent import OrderIntent, intent_from_body
from signalq.names import Names
from signalq.outcome_listener import OutcomeListener
from signalq.receipt import Receipt, SyncReceipt

PUBLISH_TIMEOUT_S = 30.0
RECONNECT_PAUSE_S = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An intent as it is published: checked, with its identity and its creation time."""

    receipt: Receipt
    routing_key: str
    body: bytes
    properties: Basic.Properties


def outgoing(
    intent: OrderIntent, *, strategy: str | None, message_id: str | None, now_ms: int, user: str | None = None
) -> Outgoing:
    """Check an intent as the consumer will, and give it an identity. Raises InvalidIntent."""
    body = intent.to_message()
    intent_from_body(body)
    identity = message_id if message_id is not None else new_message_id()
    for name, text in (("message_id", identity), ("strategy", strategy)):
        if text is not None and not _fits_short_string(text):
            raise InvalidIntent([Problem(name, f"must have 1 to {SHORT_STRING_BYTES_MAX} bytes of UTF-8")])
    properties = publish_properties(message_id=identity, strategy_name=strategy, created_ms=now_ms, user=user)
    return Outgoing(Receipt(identity, now_ms), intent.connector_name, body, properties)


def _fits_short_string(text: str) -> bool:
    try:
        return 1 <= len(text.encode()) <= SHORT_STRING_BYTES_MAX
    except UnicodeEncodeError:
        return False


class OrderPublisher:
    """Publishes order intents to RabbitMQ and waits for its confirm. One per process is enough; calls may overlap.

    `url` is an AMQP URL (`amqps://` for TLS), `strategy` the name the orders go by, `prefix` the broker prefix,
    `publish_timeout_s` the time in which one publish is sent and confirmed, reconnecting included.
    Use it as an async context manager; entering connects and raises BrokerUnreachable where that fails.

    With a strategy, each message carries the URL's user as its `user_id`, which the broker checks: a consumer may know
    strategies by that alone. `send_user=False` leaves it out, for a broker that knows its users by other means than the
    URL.

    Unless `outcomes` is False, entering also begins to listen for the outcomes of the strategy, on a second connection:
    so no publish waits for that, and no event of an order published here is missed while both connections last. It
    needs rights (docs/outcomes.md); without them publishing works all the same, and `outcome()` says which is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        strategy: str | None = None,
        prefix: str = "signalq",
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        heartbeat_s: int = HEARTBEAT_S,
        outcomes: bool = True,
        send_user: bool = True,
    ) -> None:
        self._strategy = strategy
        self._user = user_of(url) if send_user else None
        self._names = Names(prefix)
        self._listener = (
            OutcomeListener(url, self._names, strategy=strategy, heartbeat_s=heartbeat_s) if outcomes else None
        )
        self._publish_timeout_s = publish_timeout_s
        self._publisher = ConfirmedPublisher(url, name=f"signalq publisher {strategy or '-'}", heartbeat_s=heartbeat_s)

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt:
        """Return once the broker has confirmed the intent.

        Repeating with the `message_id` of an earlier call, or of an error, is safe: the same bytes are not ordered
        twice.

        Raises InvalidIntent before anything is sent; Unroutable where no queue takes it; Unconfirmed where it may or
        may not have arrived. Both of these carry the `message_id`.
        """
        now_ms = time.time_ns() // 1_000_000
        order = outgoing(intent, strategy=self._strategy, message_id=message_id, now_ms=now_ms, user=self._user)
        if self._listener is None:
            await self._send_in_time(order)
            return order.receipt
        listening = self._listener.listening
        # Before it is sent: its event may be here before its confirm.
        expected = listening.expect(order.receipt.message_id, order.body)
        try:
            await self._send_in_time(order)
        except BaseException:
            listening.forget(expected)
            raise
        return replace(order.receipt, expected=expected)

    async def _send_in_time(self, order: Outgoing) -> None:
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                await self._send(order)
        except TimeoutError:
            raise Unconfirmed(
                f"RabbitMQ did not confirm within {self._publish_timeout_s:g} s: repeat with the same message_id",
                order.receipt.message_id,
            ) from None

    async def _send(self, order: Outgoing) -> None:
        """Send once connected; a connection that can't be made is tried again until the caller's time is up."""
        while True:
            try:
                return await self._publisher.publish(
                    self._names.orders, order.routing_key, order.body, order.properties
                )
            except BrokerUnreachable:
                if self._publisher.is_closed:
                    raise Unconfirmed("the publisher is closed", order.receipt.message_id) from None
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def __aenter__(self) -> Self:
        await self._publisher.channel()
        if self._listener is not None:
            try:
                await self._listener.start()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; publishes in flight raise Unconfirmed, and `outcome()` OutcomesUnavailable."""
        if self._listener is not None:
            await self._listener.close()
        await self._publisher.close()


class SyncOrderPublisher:
    """OrderPublisher for code without asyncio: the same calls, blocking; safe to use from several threads.

    Its connection lives in a thread of its own, so heartbeats go on between calls.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._make: Callable[[], OrderPublisher] = lambda: OrderPublisher(url, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._publisher: OrderPublisher | None = None
        self._lock = threading.Lock()

    def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> SyncReceipt:
        """See OrderPublisher.publish; the receipt's `outcome()` blocks, too."""
        if self._publisher is None:
            raise RuntimeError("use SyncOrderPublisher in a with block")
        receipt = self._run(self._publisher.publish(intent, message_id=message_id))
        return SyncReceipt(receipt.message_id, receipt.created_ms, receipt, self._run)

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
                raise RuntimeError("use SyncOrderPublisher in a with block")
            running = asyncio.run_coroutine_threadsafe(work, self._loop)
        return running.result()


async def _wind_up(publisher: OrderPublisher) -> None:
    """Close, and let the publishes of other threads say how they ended: those threads wait for it."""
    await publisher.close()
    in_flight = asyncio.all_tasks() - {asyncio.current_task()}
    if in_flight:
        await asyncio.wait(in_flight, timeout=CLOSE_TIMEOUT_S)
