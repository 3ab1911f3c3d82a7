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
    def is_settled(self) -> bool:
        """Whether its result is certain: it is confirmed, or invalid."""
        return self.is_confirmed or self.prepared is None

    @property
    def unconfirmed(self) -> PreparedIntent | None:
        """The message that has yet to be confirmed; None where there is none."""
        return None if self.is_confirmed else self.prepared

    def result(self) -> PublishResult:
        """Its result as it stands."""
        receipt = self.prepared.receipt if self.prepared is not None and self.is_confirmed else None
        return PublishResult(self.number, self.intent, self.message_id, receipt, self.error)


class Window:
    """At most `flights_max` flights, in the order in which their intents were taken."""

    def __init__(self, flights_max: int) -> None:
        if flights_max < 1:
            raise ValueError("in_flight_max must be at least 1")
        self.taken = 0
        self._flights: deque[Flight] = deque()
        self._clock = asyncio.get_running_loop().time
        self._oldest_since_s = 0.0
        self._room = asyncio.Semaphore(flights_max)
        # Room is given back for several flights at a time, so that several messages are written at a time.
        self._freed = 0
        self._freed_at_once = max(1, flights_max // 4)

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def oldest_since_s(self) -> float | None:
        """Since when, by the event loop's clock, the oldest flight has been the oldest; None without flights."""
        return self._oldest_since_s if self._flights else None

    async def make_room(self) -> None:
        """Wait until there is room for one flight, and keep it for that."""
        await self._room.acquire()

    def add(self, flight: Flight) -> None:
        """Add the youngest flight."""
        if not self._flights:
            self._oldest_since_s = self._clock()
        self.taken += 1
        self._flights.append(flight)

    def pop_settled(self) -> Iterator[Flight]:
        """Take off the flights that are settled, from the oldest up to the first that is not."""
        while self._flights and self._flights[0].is_settled:
            self._freed += 1
            self._oldest_since_s = self._clock()
            yield self._flights.popleft()
        if self._freed >= self._freed_at_once or not self._flights:
            for _ in range(self._freed):
                self._room.release()
            self._freed = 0

    def pop_all(self) -> Iterator[Flight]:
        """Take off every flight."""
        while self._flights:
            yield self._flights.popleft()

    def unconfirmed(self) -> Iterator[tuple[Flight, PreparedIntent]]:
        """The flights whose message has yet to be confirmed, each with its message."""
        for flight in self._flights:
            if (prepared := flight.unconfirmed) is not None:
                yield flight, prepared

    def sending(self) -> list[asyncio.Task[None]]:
        """The tasks that wait for a confirm."""
        return [flight.sending for flight in self._flights if flight.sending is not None and not flight.sending.done()]
