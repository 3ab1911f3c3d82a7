"""The right to read the dead letters, which one reader at a time has: see reader.py."""

import asyncio
import time
from collections.abc import Callable

import aiormq
from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import CONNECTION_ERRORS, open_channel
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerUnreachable
from signalq.kinds import Kind
from signalq.names import Names
from signalq.ops.terminal.errors import CommandFailed

ANSWER_TIMEOUT_S = 10.0
TURN_TIMEOUT_S = 10.0
TURN_POLL_S = 0.2


async def wait_for_turn(connection: AbstractConnection, names: Names, on_wait: Callable[[str], None]) -> int:
    """Wait until no other reader is at work, and return how many letters are ready."""
    deadline = time.monotonic() + TURN_TIMEOUT_S
    has_waited = False
    while (ready := await _ready_for_us(connection, names)) is None:
        if time.monotonic() >= deadline:
            raise CommandFailed(
                f"another reader still has {names.dead} after {TURN_TIMEOUT_S:g} s: try again when it is done",
                kind=Kind.LETTERS_BUSY,
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
        raise CommandFailed(
            f"there is no queue {names.dead}: check broker.prefix, or run `signalq topology apply`",
            kind=Kind.WRONG_TOPOLOGY,
        )
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
