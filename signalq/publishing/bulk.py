"""Publish many intents in order, a bounded number of them in flight, and tell the result of each.

After a connection breaks, everything unconfirmed is sent again under the same identities before anything new goes out.
The broker may hold a message twice then (the consumer drops the second), and no later order of a connector overtakes an
earlier one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from signalq.amqp.publisher import ConfirmedPublisher, ConfirmingChannel
from signalq.errors import BrokerUnreachable, InvalidIntent, Unconfirmed, Unroutable
from signalq.message.intent import OrderIntent
from signalq.publishing.prepare import PreparedIntent
from signalq.publishing.results import Given, PublishResult, each_of, intent_and_id

IN_FLIGHT_MAX = 256
"""Sent and not yet confirmed. Four times as many were no faster, a quarter was a third slower (ran, 3.10.8)."""
RECONNECT_PAUSE_S = 0.5
INTERRUPTED = "it was interrupted before RabbitMQ confirmed the message: repeat it with the same message_id"


class _State(Enum):
    UNCONNECTED = auto()
    """No channel is open: the unconfirmed ones have to be sent, once more perhaps, before anything new goes out."""
    SENDING = auto()
    """Each intent goes out as it is taken."""
    ENDING = auto()
    """Nothing more is taken; the messages that are on their way end."""


class ManyPublisher:
    """One `publish_many`. `tell` is called once for every intent that was taken, in their order.

    `prepare` makes a message of an intent and its identity, or raises InvalidIntent. `timeout_s` bounds how long one
    flight may be the oldest, reconnecting included.

    Two tasks work on the window: `_feed` takes intents into it, `_settle` tells the results of those that are settled,
    and mends a broken channel.
    """

    _feeding: asyncio.Task[None]

    def __init__(
        self,
        publisher: ConfirmedPublisher,
        exchange: str,
        *,
        prepare: Callable[[OrderIntent, str], PreparedIntent],
        tell: Callable[[PublishResult], None],
        in_flight_max: int,
        timeout_s: float,
    ) -> None:
        self._publisher = publisher
        self._exchange = exchange
        self._prepare = prepare
        self._tell_result = tell
        self._timeout_s = timeout_s
        self._window = Window(in_flight_max)
        self._state = _State.UNCONNECTED
        self._has_tried = False
        self._channel: ConfirmingChannel | None = None
        self._on_the_way = 0
        self._changed = asyncio.Event()
        self._why_not_confirmed = INTERRUPTED
        self._failure: Exception | None = None

    async def publish(self, intents: Iterable[Given] | AsyncIterable[Given]) -> Exception | None:
        """Return once every result is told; returns what the iterable or `tell` raised.

        Such an error does not end it at once: nothing more is taken, and what is in flight is settled first. A
        cancellation does: what was in flight is told as unconfirmed.
        """
        self._feeding = asyncio.create_task(self._feed(intents), name="signalq intents")
        self._feeding.add_done_callback(self._fed)
        try:
            await self._settle()
        finally:
            await self._end()
        return self._failure

    # ---- taking ----

    async def _feed(self, intents: Iterable[Given] | AsyncIterable[Given]) -> None:
        await self._window.room.acquire()
        async for given in intents if isinstance(intents, AsyncIterable) else each_of(intents):
            self._take(given)
            await self._window.room.acquire()

    def _take(self, given: Given) -> None:
        """Nothing is awaited between the iterable and the window, so every intent that was taken is told."""
        intent, message_id = intent_and_id(given)
        flight = Flight(self._window.taken + 1, intent, message_id)
        try:
            flight.prepared = self._prepare(intent, message_id)
        except InvalidIntent as error:
            flight.error = error
        self._window.add(flight)
        if self._state is _State.SENDING and flight.prepared is not None:
            self._send(flight, flight.prepared)
        else:
            self._changed.set()

    def _fed(self, feeding: asyncio.Task[None]) -> None:
        if not feeding.cancelled() and isinstance(error := feeding.exception(), Exception):
            self._failure = self._failure or error
        self._changed.set()

    # ---- sending ----

    def _send(self, flight: Flight, prepared: PreparedIntent) -> None:
        """Send it; the messages leave in the order of these calls."""
        assert self._channel is not None  # noqa: S101 - only UNCONNECTED has none, and sends nothing
        flight.error = None
        ended = partial(self._ended, flight)
        self._channel.send(self._exchange, prepared.routing_key, prepared.body, prepared.properties, ended)
        self._on_the_way += 1

    def _ended(self, flight: Flight, error: BaseException | None) -> None:
        self._on_the_way -= 1
        self._changed.set()
        flight.is_confirmed = error is None
        if error is None and flight.prepared is not None:
            flight.prepared.confirmed()
        if isinstance(error, Unroutable):
            flight.error = error
            self._begin_to_end()
        elif isinstance(error, Unconfirmed):
            flight.error = error
            if self._state is _State.SENDING:
                self._state = _State.UNCONNECTED
        elif isinstance(error, Exception):
            self._failure = self._failure or error
            self._begin_to_end()

    def _begin_to_end(self) -> None:
        self._state = _State.ENDING
        self._feeding.cancel()

    async def _mend(self) -> None:
        """Send again what was not confirmed, in order, on a channel that holds nothing of it yet.

        It may fail to open one: the state stays UNCONNECTED then, for another attempt.
        """
        if self._has_tried:
            await asyncio.sleep(RECONNECT_PAUSE_S)
        self._has_tried = True
        try:
            self._channel = await self._publisher.channel()
        except BrokerUnreachable:
            if (why := self._publisher.why_closed) is not None:
                self._why_not_confirmed = why
                self._begin_to_end()
            return
        if self._state is _State.UNCONNECTED:
            self._state = _State.SENDING
        for flight in self._window.flights:
            if flight.unconfirmed is not None:
                self._send(flight, flight.unconfirmed)

    # ---- settling ----

    async def _settle(self) -> None:
        """Tell each result as it becomes certain, until all are told or it has to end."""
        while True:
            self._changed.clear()
            for flight in self._window.pop_settled():
                self._tell(flight)
            oldest_since_s = self._window.oldest_since_s
            if oldest_since_s is None and self._feeding.done():
                return
            if self._state is _State.ENDING and not self._on_the_way:
                return
            try:
                async with asyncio.timeout_at(None if oldest_since_s is None else oldest_since_s + self._timeout_s):
                    if self._state is _State.UNCONNECTED and self._window.flights and not self._on_the_way:
                        await self._mend()
                    else:
                        await self._changed.wait()
            except TimeoutError:
                self._why_not_confirmed = why_too_late(self._timeout_s)
                return

    async def _end(self) -> None:
        """Tell the result of every flight that is left, as it stands."""
        self._feeding.cancel()
        try:
            await asyncio.gather(self._feeding, return_exceptions=True)
        finally:
            for flight in self._window.flights:
                if flight.unconfirmed is not None and flight.error is None:
                    flight.error = Unconfirmed(self._why_not_confirmed, flight.message_id)
                self._tell(flight)

    def _tell(self, flight: Flight) -> None:
        if flight.unconfirmed is not None:
            flight.unconfirmed.withdraw(flight.error)
        try:
            self._tell_result(flight.result())
        except Exception as error:  # noqa: BLE001 - the caller's own, raised to the caller once all is told
            self._failure = self._failure or error
            self._feeding.cancel()


@dataclass(slots=True, eq=False)
class Flight:
    """One intent, from the moment it is taken until its result is told; an invalid one has no `prepared`."""

    number: int
    intent: OrderIntent
    message_id: str
    prepared: PreparedIntent | None = None
    error: InvalidIntent | Unroutable | Unconfirmed | None = None
    is_confirmed: bool = False

    @property
    def unconfirmed(self) -> PreparedIntent | None:
        """The message that has yet to be confirmed; None once the result is certain: confirmed, or invalid."""
        return None if self.is_confirmed else self.prepared

    def result(self) -> PublishResult:
        """Its result as it stands."""
        receipt = self.prepared.receipt if self.prepared is not None and self.is_confirmed else None
        return PublishResult(self.number, self.intent, self.message_id, receipt, self.error)


class Window:
    """At most `flights_max` flights, in the order in which their intents were taken; each needs `room`."""

    def __init__(self, flights_max: int) -> None:
        if flights_max < 1:
            raise ValueError("in_flight_max must be at least 1")
        self.taken = 0
        self.flights: deque[Flight] = deque()
        self._clock = asyncio.get_running_loop().time
        self._oldest_since_s = 0.0
        self.room = asyncio.Semaphore(flights_max)
        # Room is given back for several flights at a time, so that several messages are written at a time.
        self._freed = 0
        self._freed_at_once = max(1, flights_max // 4)

    @property
    def oldest_since_s(self) -> float | None:
        """Since when, by the event loop's clock, the oldest flight has been the oldest; None without flights."""
        return self._oldest_since_s if self.flights else None

    def add(self, flight: Flight) -> None:
        """Add the youngest flight."""
        if not self.flights:
            self._oldest_since_s = self._clock()
        self.taken += 1
        self.flights.append(flight)

    def pop_settled(self) -> Iterator[Flight]:
        """Take off the flights that are settled, from the oldest up to the first that is not."""
        while self.flights and self.flights[0].unconfirmed is None:
            self._freed += 1
            self._oldest_since_s = self._clock()
            yield self.flights.popleft()
        if self._freed >= self._freed_at_once or not self.flights:
            for _ in range(self._freed):
                self.room.release()
            self._freed = 0


def why_too_late(timeout_s: float, in_the_way: str = "") -> str:
    """Why a message was not confirmed in time; `in_the_way` may say what kept it."""
    return f"RabbitMQ did not confirm within {timeout_s:g} s{in_the_way}: repeat with the same message_id"
