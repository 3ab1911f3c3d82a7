"""Many intents in order, a bounded number of them in flight, and for each what became of its publish.

Nothing new goes out before what a broken connection left unconfirmed is sent again under the same identity: the broker
may hold it twice then (the consumer drops the second), and no later order of its connector overtakes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from signalq.amqp.confirming_channel import ConfirmingChannel
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.errors import BrokerUnreachable, InvalidIntent, Unconfirmed, Unroutable
from signalq.message.intent import OrderIntent
from signalq.publishing.prepare import Outgoing
from signalq.publishing.results import Given, PublishResult, intent_and_id

IN_FLIGHT_MAX = 256
"""Sent and not yet confirmed. Four times as many were no faster, a quarter was a third slower (ran, 3.10.8)."""
RECONNECT_PAUSE_S = 0.5

STEP_S = 0.002
"""For so long a plain iterable may keep the event loop to itself, unless one of its steps takes longer."""

INTERRUPTED = "it was interrupted before RabbitMQ confirmed the message: repeat it with the same message_id"


@dataclass(slots=True, eq=False)
class _Flight:
    """One intent between its taking and its telling; without an `order` it is invalid."""

    number: int
    intent: OrderIntent
    message_id: str
    order: Outgoing | None = None
    error: InvalidIntent | Unroutable | Unconfirmed | None = None
    sending: asyncio.Task[None] | None = None
    is_confirmed: bool = False

    @property
    def is_settled(self) -> bool:
        return self.is_confirmed or self.order is None

    def result(self) -> PublishResult:
        receipt = self.order.receipt if self.order is not None and self.is_confirmed else None
        return PublishResult(self.number, self.intent, self.message_id, receipt, self.error)


class ManyPublisher:
    """One `publish_many`. `tell` is called once for every intent that was taken, in their order.

    `prepare` makes an order of an intent and its identity, or raises InvalidIntent; `withdraw` is called for an order
    that was not confirmed. `timeout_s` is how long the oldest one may be the oldest, reconnecting included.
    """

    def __init__(
        self,
        publisher: ConfirmedPublisher,
        exchange: str,
        *,
        prepare: Callable[[OrderIntent, str], Outgoing],
        withdraw: Callable[[Outgoing], None],
        tell: Callable[[PublishResult], None],
        in_flight_max: int,
        timeout_s: float,
    ) -> None:
        if in_flight_max < 1:
            raise ValueError("in_flight_max must be at least 1")
        self._publisher = publisher
        self._exchange = exchange
        self._prepare = prepare
        self._withdraw = withdraw
        self._tell_on = tell
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(in_flight_max)
        self._freed = 0
        self._freed_at_once = max(1, in_flight_max // 4)
        self._window: deque[_Flight] = deque()
        self._taken = 0
        self._oldest_since_s = 0.0
        # Broken until the first channel is there.
        self._channel: ConfirmingChannel | None = None
        self._is_broken = True
        self._has_tried = False
        self._is_over = False
        self._moved = asyncio.Event()
        self._why_not_confirmed = INTERRUPTED
        self._feeding: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def publish(self, intents: Iterable[Given] | AsyncIterable[Given]) -> Exception | None:
        """Return once everything is told; gives back what the iterable or `tell` raised.

        Neither ends it at once: nothing more is taken then, and what is in flight is settled first. Only a cancellation
        does: what was in flight is told as unconfirmed.
        """
        self._feeding = asyncio.create_task(self._feed(intents), name="signalq intents")
        self._feeding.add_done_callback(self._fed)
        try:
            await self._settle(self._feeding)
        finally:
            await self._end(self._feeding)
        return self._failure

    # ---- taking ----

    async def _feed(self, intents: Iterable[Given] | AsyncIterable[Given]) -> None:
        source = aiter(intents) if isinstance(intents, AsyncIterable) else each_of(intents)
        while True:
            await self._room.acquire()
            try:
                given = await anext(source)
            except StopAsyncIteration:
                return
            self._take(given)

    def _take(self, given: Given) -> None:
        """Between the iterable and the window nothing is awaited: what was taken is told."""
        intent, message_id = intent_and_id(given)
        self._taken += 1
        flight = _Flight(self._taken, intent, message_id)
        try:
            flight.order = self._prepare(intent, message_id)
        except InvalidIntent as error:
            flight.error = error
        if not self._window:
            self._oldest_since_s = self._loop.time()
        self._window.append(flight)
        if flight.order is None or self._is_broken:
            self._moved.set()
        else:
            self._send(flight, flight.order)

    def _fed(self, feeding: asyncio.Task[None]) -> None:
        if not feeding.cancelled() and isinstance(error := feeding.exception(), Exception):
            self._failure = self._failure or error
        self._moved.set()

    # ---- sending ----

    def _send(self, flight: _Flight, order: Outgoing) -> None:
        """Each task writes in its first step, so in the order of these calls."""
        assert self._channel is not None  # noqa: S101 - it is broken as long as there is none
        flight.error = None
        sending = self._publisher.publish_on(
            self._channel, self._exchange, order.routing_key, order.body, order.properties
        )
        flight.sending = asyncio.create_task(sending, name=f"signalq publish {flight.number}")
        flight.sending.add_done_callback(partial(self._landed, flight))

    def _landed(self, flight: _Flight, sending: asyncio.Task[None]) -> None:
        self._moved.set()
        if sending.cancelled():
            return
        error = sending.exception()
        if error is None:
            flight.is_confirmed = True
        elif isinstance(error, Unroutable):
            flight.error, self._is_over = error, True
        elif isinstance(error, Unconfirmed):
            flight.error, self._is_broken = error, True
        else:
            self._is_over = True
            self._failure = self._failure or (error if isinstance(error, Exception) else None)

    async def _mend(self) -> None:
        """Send again what was not confirmed, in order, on a channel that holds nothing of it yet.

        Until then nothing new goes out. Returns also where that did not succeed: it is tried again.
        """
        if on_their_way := self._on_their_way():
            await asyncio.wait(on_their_way)  # on a closed channel each of them ends
        if self._has_tried:
            await asyncio.sleep(RECONNECT_PAUSE_S)
        self._has_tried = True
        try:
            self._channel = await self._publisher.channel()
        except BrokerUnreachable:
            if (why := self._publisher.why_closed) is not None:
                self._why_not_confirmed, self._is_over = why, True
            return
        self._is_broken = False
        for flight in self._window:
            if flight.order is not None and not flight.is_confirmed:
                self._send(flight, flight.order)

    # ---- settling ----

    async def _settle(self, feeding: asyncio.Task[None]) -> None:
        """Tell what is settled, as long as it goes on."""
        while True:
            self._moved.clear()
            self._tell_settled()
            if not self._window and feeding.done():
                return
            try:
                async with asyncio.timeout_at(self._oldest_since_s + self._timeout_s if self._window else None):
                    if self._is_over:
                        feeding.cancel()
                        await asyncio.gather(*self._on_their_way(), return_exceptions=True)
                        return
                    await (self._mend() if self._is_broken and self._window else self._moved.wait())
            except TimeoutError:
                self._why_not_confirmed = (
                    f"RabbitMQ did not confirm within {self._timeout_s:g} s: repeat with the same message_id"
                )
                return

    def _tell_settled(self) -> None:
        while self._window and self._window[0].is_settled:
            flight = self._window.popleft()
            self._freed += 1
            self._oldest_since_s = self._loop.time()
            self._tell(flight)
        # Several at a time, so that several are written at a time.
        if self._freed >= self._freed_at_once or not self._window:
            for _ in range(self._freed):
                self._room.release()
            self._freed = 0

    async def _end(self, feeding: asyncio.Task[None]) -> None:
        """Whatever is still in flight now is told as it stands."""
        feeding.cancel()
        on_their_way = self._on_their_way()
        for sending in on_their_way:
            sending.cancel()
        try:
            await asyncio.gather(feeding, *on_their_way, return_exceptions=True)
        finally:
            while self._window:
                flight = self._window.popleft()
                if not flight.is_settled and flight.error is None:
                    flight.error = Unconfirmed(self._why_not_confirmed, flight.message_id)
                self._tell(flight)

    def _on_their_way(self) -> list[asyncio.Task[None]]:
        return [flight.sending for flight in self._window if flight.sending is not None and not flight.sending.done()]

    def _tell(self, flight: _Flight) -> None:
        if flight.order is not None and not flight.is_confirmed:
            self._withdraw(flight.order)
        try:
            self._tell_on(flight.result())
        except Exception as error:  # noqa: BLE001 - the caller's own, raised to him when all is told
            self._failure = self._failure or error
            if self._feeding is not None:
                self._feeding.cancel()


async def each_of(intents: Iterable[Given]) -> AsyncIterator[Given]:
    """A plain iterable step by step. Where its steps take long, what one gave goes out before the next is made."""
    clock = asyncio.get_running_loop().time
    since_s = clock()
    for intent in intents:
        yield intent
        if clock() - since_s > STEP_S:
            await asyncio.sleep(0)
            since_s = clock()
