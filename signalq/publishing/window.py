"""The intents of one `publish_many` that are in flight, in their order, and the room that is left for more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from signalq.errors import InvalidIntent, Unconfirmed, Unroutable
from signalq.message.intent import OrderIntent
from signalq.publishing.prepare import PreparedIntent
from signalq.publishing.results import PublishResult


@dataclass(slots=True, eq=False)
class Flight:
    """One intent, from the moment it is taken until its result is told; an invalid one has no `prepared`."""

    number: int
    intent: OrderIntent
    message_id: str
    prepared: PreparedIntent | None = None
    error: InvalidIntent | Unroutable | Unconfirmed | None = None
    sending: asyncio.Task[None] | None = None
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
    """At most `flights_max` flights; `flights` has them in the order in which their intents were taken."""

    def __init__(self, flights_max: int) -> None:
        if flights_max < 1:
            raise ValueError("in_flight_max must be at least 1")
        self.taken = 0
        self.flights: deque[Flight] = deque()
        self._clock = asyncio.get_running_loop().time
        self._oldest_since_s = 0.0
        self._room = asyncio.Semaphore(flights_max)
        # Room is given back for several flights at a time, so that several messages are written at a time.
        self._freed = 0
        self._freed_at_once = max(1, flights_max // 4)

    @property
    def oldest_since_s(self) -> float | None:
        """Since when, by the event loop's clock, the oldest flight has been the oldest; None without flights."""
        return self._oldest_since_s if self.flights else None

    async def make_room(self) -> None:
        """Wait until there is room for one flight, and keep it for that."""
        await self._room.acquire()

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
                self._room.release()
            self._freed = 0

    def sending(self) -> list[asyncio.Task[None]]:
        """The tasks that wait for a confirm."""
        return [flight.sending for flight in self.flights if flight.sending is not None and not flight.sending.done()]
