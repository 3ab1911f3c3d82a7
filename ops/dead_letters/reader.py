"""The dead letters, opened by one reader at a time, since two would each see a part.

RabbitMQ does not enforce an exclusive consumer on a quorum queue (seen on 3.10), so the right to read is an exclusive
queue: the broker gives it to one connection, and takes it back when that connection ends, however it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiormq
from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import CONNECTION_ERRORS, connect, open_channel
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerError, BrokerUnreachable
from signalq.names import Names
from signalq.ops.dead_letters.channel import ANSWER_TIMEOUT_S, LetterChannel
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings

TURN_TIMEOUT_S = 10.0
TURN_POLL_S = 0.2
# Until nothing that was taken away is left; each sweep has fewer to take than the one before.
SWEEP_TIMEOUT_S = 60.0
SWEEPS_MAX = 10


@asynccontextmanager
async def open_letters(settings: Settings, *, on_wait: Callable[[str], None]) -> AsyncIterator[LetterChannel]:
    """The dead letters; `on_wait` gets a sentence, once, if another reader is at work.

    Raises BrokerUnreachable, and CommandFailed if there is no such queue or the other reader has not finished within
    TURN_TIMEOUT_S.
    """
    handle_foreign_properties()
    names = Names(settings.broker.prefix)
    url = settings.broker.url.get_secret_value()
    async with await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection:
        letters = LetterChannel(connection, names, await _wait_for_turn(connection, names, on_wait))
        await letters.open()
        try:
            yield letters
        finally:
            with suppress(BrokerError, CommandFailed, TimeoutError, *CONNECTION_ERRORS):
                async with asyncio.timeout(SWEEP_TIMEOUT_S):
                    await letters.close()
                    await _sweep(connection, names, letters)


async def _sweep(connection: AbstractConnection, names: Names, letters: LetterChannel) -> None:
    """Take away once more the letters that came back although they had been taken away.

    A quorum queue's acknowledgements are queued in the channel's process, and those that are there when the channel
    closes are lost (seen, 3.10.8: the last 25 of 700). If there is no letter too many, none was.
    """
    last = letters
    for _ in range(SWEEPS_MAX):
        depth = await queue_depth(connection, names.dead)
        if not last.acks or depth is None or depth.ready <= last.ready - last.acks:
            return
        last = LetterChannel(connection, names, depth.ready)
        await last.open()
        async for batch in last.batches():
            for letter in batch:
                if letter.mark in letters.taken:
                    await last.take(letter)
        await last.close()


async def _wait_for_turn(connection: AbstractConnection, names: Names, on_wait: Callable[[str], None]) -> int:
    """Wait until no other reader is at work, and return how many letters are ready."""
    deadline = time.monotonic() + TURN_TIMEOUT_S
    has_waited = False
    while (ready := await _ready_for_us(connection, names)) is None:
        if time.monotonic() >= deadline:
            raise CommandFailed(
                f"another reader still has {names.dead} after {TURN_TIMEOUT_S:g} s: try again when it is done"
            )
        if not has_waited:
            on_wait(f"another reader has {names.dead}, waiting up to {TURN_TIMEOUT_S:g} s")
            has_waited = True
        await asyncio.sleep(TURN_POLL_S)
    return ready


async def _ready_for_us(connection: AbstractConnection, names: Names) -> int | None:
    """The number of ready letters; None while another program consumes them, even one that knows nothing of turns."""
    if not await _has_right_to_read(connection, names):
        return None
    depth = await queue_depth(connection, names.dead)
    if depth is None:
        raise CommandFailed(f"there is no queue {names.dead}: check broker.prefix, or run `signalq topology apply`")
    return None if depth.consumers else depth.ready


async def _has_right_to_read(connection: AbstractConnection, names: Names) -> bool:
    channel = await open_channel(connection)
    try:
        await channel.queue_declare(names.dead_reader, exclusive=True, auto_delete=True, timeout=ANSWER_TIMEOUT_S)
    except aiormq.exceptions.ChannelLockedResource:
        return False
    except aiormq.exceptions.ChannelAccessRefused:
        return True  # without the configure right, only the queue's consumers show another reader
    except CONNECTION_ERRORS as error:
        raise BrokerUnreachable(f"RabbitMQ did not answer about {names.dead}") from error
    finally:
        await channel.close()
    return True
