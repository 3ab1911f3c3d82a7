"""The mark that says which ledger a broker's lanes belong to: one message in a queue of its own. See decision 14.

A consumer with another ledger would not know which orders were POSTed, and POST them again. The queue has a single
active consumer: a reader of the mark has the queue to itself until its channel closes, so of two consumers that start
together only one can find it empty.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from signalq.amqp.connection import CONNECTION_ERRORS, close_in_time, open_channel
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerError, BrokerUnreachable
from signalq.names import Names

READ_TIMEOUT_S = 20.0
LOOK_TIMEOUT_S = 3.0
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """The ledger's id, and its URL as it may be shown."""

    ledger_id: str
    ledger: str


async def claim_mark(connection: AbstractConnection, names: Names, mine: LedgerMark) -> LedgerMark:
    """The mark that is there, or `mine`, which becomes it where there was none. Raises BrokerUnreachable."""
    channel = await open_channel(connection, prefetch=1)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            first = await _first(channel, names)
            published = False
            while True:
                with suppress(TimeoutError):
                    return _read(await asyncio.wait_for(asyncio.shield(first), LOOK_AGAIN_S))
                depth = await queue_depth(connection, names.ledger)
                # The queue is empty, and has no other reader.
                if not published and depth is not None and depth.ready == 0 and depth.consumers == 1:
                    published = True
                    publishing = await open_channel(connection, confirms=True)
                    await _publish(publishing, names, mine)
                    await close_in_time(publishing)
    except (ValueError, TypeError, *CONNECTION_ERRORS) as error:
        raise BrokerUnreachable(f"{names.ledger} could not be read ({type(error).__name__})") from error
    finally:
        await close_in_time(channel)


async def replace_mark(connection: AbstractConnection, names: Names, mine: LedgerMark) -> None:
    """Let the lanes belong to another ledger from now on. Raises BrokerUnreachable."""
    channel = await open_channel(connection, confirms=True)
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            await channel.queue_purge(names.ledger)
            await _publish(channel, names, mine)
    except CONNECTION_ERRORS as error:
        raise BrokerUnreachable(f"{names.ledger} could not be written ({type(error).__name__})") from error
    finally:
        await close_in_time(channel)


async def held_mark(connection: AbstractConnection, names: Names) -> LedgerMark | None:
    """The mark on the broker; None where it has none, or can't be read.

    The mark is read and not acknowledged: it returns to its queue as the channel closes.
    """
    try:
        depth = await queue_depth(connection, names.ledger)
        if depth is None or not depth.ready:
            return None
        channel = await open_channel(connection, prefetch=1)
    except BrokerError:
        return None
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            return _read(await (await _first(channel, names)))
    except (ValueError, TypeError, *CONNECTION_ERRORS):
        return None
    finally:
        await close_in_time(channel)


async def _first(channel: AbstractChannel, names: Names) -> asyncio.Future[bytes]:
    """The first message of the queue, once it comes."""
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(message: DeliveredMessage) -> None:
        if not first.done():
            first.set_result(message.body)

    await channel.basic_consume(names.ledger, take)
    return first


def _read(body: bytes) -> LedgerMark:
    return LedgerMark(**json.loads(body))


async def _publish(channel: AbstractChannel, names: Names, mark: LedgerMark) -> None:
    await channel.basic_publish(
        json.dumps(asdict(mark)).encode(),
        routing_key=names.ledger,
        properties=Basic.Properties(content_type="application/json", delivery_mode=2),
        mandatory=True,
    )
