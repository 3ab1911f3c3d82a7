"""A watchdog for a session: a channel can be dead without being closed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from signalq.amqp.inspect import QueueDepth
from signalq.consumer.broker.connection import BrokerConnection, loop_s
from signalq.consumer.broker.session import Session
from signalq.errors import BrokerError

ANSWER_MAX_S = 10.0
# A moment that is nearer has come: a clock's rounding may leave a rest that is too short to wait for.
TICK_S = 0.001
# Messages are ready, the session holds none and none has come for this long: its channel only looks alive.
SILENT_MAX_S = 30.0


async def watch(session: Session, connection: BrokerConnection, jitter: Callable[[], float]) -> None:
    """Return when the session has ended; end it where it only looks alive, or holds a message for too long."""
    options = session.options
    # Somewhere within the second half of a period: lanes that were opened together don't ask together.
    look_s = loop_s() + options.watch_period_s * (1 + jitter()) / 2
    while not session.ended.is_set():
        now_s = loop_s()
        oldest_s = session.oldest_s if session.oldest_s is not None else now_s
        give_up_s = oldest_s + options.unacked_max_s
        if give_up_s - now_s < TICK_S:
            session.lose(f"a message was unacknowledged for {options.unacked_max_s:g} s")
        elif look_s - now_s >= TICK_S:
            with suppress(TimeoutError):
                await asyncio.wait_for(session.ended.wait(), min(look_s, give_up_s) - now_s)
        elif await _is_alive(session, connection):
            look_s = loop_s() + options.watch_period_s
        elif options.is_retired:
            session.lose("the queue is gone, or the broker does not answer")
        else:
            session.lose("the broker does not know this consumer any more, or does not answer")
            await connection.disconnect()


async def _is_alive(session: Session, connection: BrokerConnection) -> bool:
    """Whether the broker still knows this consumer, and delivers to it."""
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            depth = await connection.depth(session.options.queue)
    except (BrokerError, TimeoutError):
        return False
    if depth is None or depth.consumers == 0:
        return False
    starves = depth.ready > 0 and session.unacked == 0 and _is_the_only_receiver(session, depth)
    return not (starves and loop_s() - session.last_delivery_s > SILENT_MAX_S)


def _is_the_only_receiver(session: Session, depth: QueueDepth) -> bool:
    """Whether the broker can deliver to no other consumer.

    Of a queue with order it counts the active consumer alone, and a session that stands by rightly gets nothing. This
    session is the active one if it has got a message, or found the queue without consumers.
    """
    if not session.options.has_order:
        return depth.consumers == 1
    return session.active_since_s is not None or session.backlog is not None
