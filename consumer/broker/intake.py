"""Taking messages in, so that no lane holds up the others by its messages.

Of a body that is too large to be an order, only the part is kept that its letter keeps. While there are too many bytes
here, the connection is not read on. Each step of the loop hands over a few messages, as far as their window has room.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from signalq.amqp.port import Arrival, Port
from signalq.amqp.wire import BASIC
from signalq.message.strict_json import BODY_BYTES_MAX

# Of a longer body the first BODY_BYTES_MAX bytes are kept: such an order is not mended by hand.
WHOLE_BODY_BYTES_MAX = 1_048_576
# The bytes of bodies that are no orders, for each lane, from their arrival until their letters are confirmed.
BULKY_BYTES_MAX = 8 * 1_048_576
# Handed over in one step of the loop: to decide on so much costs 1 ms at most.
STEP_MESSAGES_MAX = 8
STEP_BYTES_MAX = 16_384


class HasBody(Protocol):
    """A delivery."""

    @property
    def tag(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def held_bytes(self) -> int: ...


def is_bulky(body_bytes: int) -> bool:
    """Whether a body is too long to be an order."""
    return body_bytes > BODY_BYTES_MAX


D = TypeVar("D", bound=HasBody)


class Room:
    """Room for the bytes of one session's messages: the reader of the connection waits until there is some.

    `counts` says which bodies count: in a lane the bulky ones alone, which leave by themselves. An order may wait for
    its webhook, and a connection, with its heartbeats, can't be left unread for so long. `on_room` is called where
    there may be room again.
    """

    def __init__(self, bytes_max: int, counts: Callable[[int], bool] = is_bulky) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self._bytes_max = bytes_max
        self._counts = counts
        self._taken: dict[int, int] = {}
        self._bytes = 0
        self._may_wait = False

    def begin(self) -> None:
        """Let the reader wait from now on: messages are handled, so they leave."""
        self._may_wait = True

    def take(self, tag: int, body_bytes: int, header_bytes: int = 0) -> bool:
        """Take room for a message, if there is some; one larger than all of the room gets it when it is empty."""
        if not self._counts(body_bytes):
            return True
        kept = kept_bytes(body_bytes) + header_bytes
        if self._may_wait and self._bytes and self._bytes + kept > self._bytes_max:
            return False
        self._taken[tag] = kept
        self._bytes += kept
        return True

    @property
    def is_crowded(self) -> bool:
        """Whether it is half full."""
        return 2 * self._bytes > self._bytes_max

    def give(self, tag: int) -> None:
        """Give the room of a message back: it is settled, or dropped."""
        if kept := self._taken.pop(tag, 0):
            self._bytes -= kept
            self.on_room()

    def close(self) -> None:
        """Let the reader wait for nothing any more."""
        self._may_wait = False
        self.on_room()


def kept_bytes(body_bytes: int) -> int:
    """How much of a body is kept."""
    return body_bytes if body_bytes <= WHOLE_BODY_BYTES_MAX else BODY_BYTES_MAX


class Deliveries(Port):
    """Takes the messages of a queue: of a body only what its letter keeps, and only where there is room."""

    def __init__(self, room: Room, on_arrival: Callable[[Arrival], None]) -> None:
        super().__init__(BASIC.DELIVER, on_arrival)
        self._room = room

    def has_room(self, tag: int, body_bytes: int, header_bytes: int) -> bool:
        return self._room.take(tag, body_bytes, header_bytes)

    def kept_bytes(self, body_bytes: int) -> int:
        return kept_bytes(body_bytes)


class Intake(Generic[D]):
    """The messages of one session until they are handed over: in order, from `begin` on, until `close`.

    Bulky ones go ahead, for they are only refused, and hold the reader up.
    """

    def __init__(self, hand_over: Callable[[D], None], bytes_max: int) -> None:
        self._hand_over = hand_over
        self._bytes_max = bytes_max
        self._bulky: deque[D] = deque()
        self._waiting: deque[D] = deque()
        # The bytes of each message that was handed over and is not settled.
        self._in_hand: dict[int, int] = {}
        self._bytes = 0
        self._may_step = False
        self._step: asyncio.Handle | None = None

    def take(self, delivery: D) -> None:
        """Take in a message that has come."""
        (self._bulky if is_bulky(delivery.body_bytes) else self._waiting).append(delivery)
        self._go_on()

    def settled(self, tag: int) -> None:
        """Note that a message is settled: there is room for others."""
        self._bytes -= self._in_hand.pop(tag, 0)
        self._go_on()

    def begin(self) -> None:
        """Hand messages over from now on."""
        self._may_step = True
        self._go_on()

    def close(self) -> None:
        """Hand nothing over any more."""
        self._may_step = False
        self._bulky.clear()
        self._waiting.clear()
        if self._step is not None:
            self._step.cancel()

    def _go_on(self) -> None:
        if self._may_step and self._step is None and self._next() is not None:
            self._step = asyncio.get_running_loop().call_soon(self._hand_over_some)

    def _next(self) -> deque[D] | None:
        """The queue whose first message may be handed over; None where none may."""
        if self._bulky:
            return self._bulky
        if self._waiting and (not self._bytes or self._bytes + self._waiting[0].held_bytes <= self._bytes_max):
            return self._waiting
        return None

    def _hand_over_some(self) -> None:
        self._step = None
        step_bytes = 0
        for _ in range(STEP_MESSAGES_MAX):
            queue = self._next()
            if queue is None or step_bytes > STEP_BYTES_MAX:
                break
            delivery = queue.popleft()
            if queue is self._waiting:
                self._in_hand[delivery.tag] = delivery.held_bytes
                self._bytes += delivery.held_bytes
            step_bytes += delivery.held_bytes
            self._hand_over(delivery)
        self._go_on()
