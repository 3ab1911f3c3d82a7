"""How a queue is consumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from signalq.consumer.broker.intake import BULKY_BYTES_MAX, Room

WATCHDOG_PERIOD_S = 10.0
# With many lanes each asks more seldom: all of them together ask the broker this often.
WATCHDOG_QUESTIONS_PER_S = 20.0
# A channel whose oldest unacknowledged message is older than this is given up and opened again. RabbitMQ does the same
# after 30 minutes unless it is told otherwise, some hosts' after 15, and the contract says 10: this leaves a minute.
UNACKED_MAX_S = 540.0


@dataclass(frozen=True, slots=True)
class ConsumeOptions:
    """How a queue is consumed; `prefetch` is a constant (changing it reorders).

    Of the prefetched messages, `bytes_max` bytes are handed over at a time. Without order (`has_order`), several
    consumers are active in the queue at once. A retired queue is consumed until it is deleted. A queue that `is_apart`
    has a connection of its own. `make_room` makes the room that a session reads its messages into.
    """

    queue: str
    prefetch: int
    bytes_max: int
    has_order: bool = True
    is_retired: bool = False
    is_apart: bool = False
    watch_period_s: float = WATCHDOG_PERIOD_S
    unacked_max_s: float = UNACKED_MAX_S
    make_room: Callable[[], Room] = field(default=lambda: Room(BULKY_BYTES_MAX))
