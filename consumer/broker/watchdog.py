"""A watchdog for a session: a channel can be dead without being closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from signalq.amqp.inspect import QueueDepth
from signalq.consumer.broker.connection import BrokerConnection, loop_s
from signalq.consumer.broker.consume_options import ConsumeOptions
from signalq.consumer.broker.session import Session
from signalq.errors import BrokerError

ANSWER_MAX_S = 10.0
# A moment that is nearer has come: a clock's rounding may leave a rest that is too short to wait for.
TICK_S = 0.001
# Messages are ready, the session holds none and none has come for this long: its channel only looks alive.
SILENT_MAX_S = 30.0


class Watchdog:
    """Watches one session, and ends it where it only looks alive or holds a message for too long."""

    def __init__(
        self, session: Session, connection: BrokerConnection, options: ConsumeOptions, jitter: Callable[[], float]
    ) -> None:
        self._session = session
        self._connection = connection
        self._options = options
        self._jitter = jitter

    async def watch(self) -> None:
        """Return when the session has ended."""
        session, options = self._session, self._options
        # Somewhere within the second half of a period: lanes that were opened together don't ask together.
        look_s = loop_s() + options.watch_period_s * (1 + self._jitter()) / 2
        while not session.ended.is_set():
            now_s = loop_s()
            oldest_s = session.oldest_s if session.oldest_s is not None else now_s
            give_up_s = oldest_s + options.unacked_max_s
            if give_up_s - now_s < TICK_S:
                session.lose(f"a message was unacknowledged for {options.unacked_max_s:g} s")
            elif look_s - now_s >= TICK_S:
                with suppress(TimeoutError):
                    await asyncio.wait_for(session.ended.wait(), min(look_s, give_up_s) - now_s)
            elif await self._is_alive():
                look_s = loop_s() + options.watch_period_s
            elif options.is_retired:
                session.lose("the queue is gone, or the broker does not answer")
            else:
                session.lose("the broker does not know this consumer any more, or does not answer")
                await self._connection.disconnect()

    async def _is_alive(self) -> bool:
        """Ask the broker whether it still knows this consumer."""
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                depth = await self._connection.depth(self._options.queue)
        except (BrokerError, TimeoutError):
            return False
        if depth is None or depth.consumers == 0:
            return False
        silent_s = loop_s() - self._session.last_delivery_s
        starves = depth.ready > 0 and self._session.unacked == 0 and self._is_the_one_to_deliver_to(depth)
        return not (starves and silent_s > SILENT_MAX_S)

    def _is_the_one_to_deliver_to(self, depth: QueueDepth) -> bool:
        """Whether the broker can deliver to no other consumer.

        Of a queue with order it counts the active consumer alone, and a session that stands by rightly hears nothing.
        This one is active where it has got a message, or where it found the queue without consumers.
        """
        if not self._options.has_order:
            return depth.consumers == 1
        return self._session.active_since_s is not None or self._session.backlog is not None
