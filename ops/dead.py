"""The dead letters, read and left where they are.

The reader is a consumer that never acknowledges and closes its channel: the broker takes everything back, in its
order. basic.get scrambles the queue, nack puts letters at its end (both seen on RabbitMQ 3.10 and 4.3).

Two readers at a time would each see a part. RabbitMQ does not enforce an exclusive consumer on a quorum queue (seen on
3.10), so the right to read is an exclusive queue, `<prefix>.dead.reader`: the broker gives it to one connection, and
takes it back when that connection ends, however it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage

from consumer.settings import Settings
from ops.errors import CommandFailed
from ops.letters import DeadLetter, read_letter
from signalq.amqp.connection import CONNECTION_ERRORS, connect, open_channel
from signalq.amqp.topology import queue_depth
from signalq.errors import BrokerUnreachable
from signalq.names import Names

# The most that a consumer may hold without acknowledging: AMQP counts them in 16 bits.
LETTERS_MAX = 65_535
TURN_TIMEOUT_S = 10.0
TURN_POLL_S = 0.2
# From one letter to the next; they come from the broker's disk, not from a producer.
IDLE_TIMEOUT_S = 10.0
# Until the broker has everything back; milliseconds as a rule.
RETURN_TIMEOUT_S = 5.0
RETURN_POLL_S = 0.01
ANSWER_TIMEOUT_S = 10.0


class DeadLetters:
    """The letters that are ready now, at most LETTERS_MAX; one reader at a time.

        async with DeadLetters(settings, on_wait=print) as letters:
            async for letter in letters: ...

    `ready` is how many there are, `copies` how many of those read so far were there twice (a crash may leave a letter
    twice; it is given once). `on_wait` is told, once, if another reader has to be waited for. Entering raises
    BrokerUnreachable, and CommandFailed where there is no such queue or the other reader did not finish within
    TURN_TIMEOUT_S.
    """

    def __init__(self, settings: Settings, *, on_wait: Callable[[str], None]) -> None:
        self._url = settings.broker.url.get_secret_value()
        self._heartbeat_s = settings.broker.heartbeat_s
        self._queue = Names(settings.broker.prefix).dead
        self._on_wait = on_wait
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self.ready = 0
        self.copies = 0

    async def __aenter__(self) -> Self:
        self._connection = await connect(self._url, name="signalq dead", heartbeat_s=self._heartbeat_s)
        try:
            await self._take_turn(self._connection)
            await self._consume(self._connection)
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is None:
            return
        try:
            if self._channel is not None:
                await self._channel.close()
                await self._given_back(self._connection)
        finally:
            await self._connection.close()

    async def __aiter__(self) -> AsyncIterator[DeadLetter]:
        """Every letter once, oldest first. Raises CommandFailed where the broker stops before the end."""
        seen: set[tuple[str | None, int | None]] = set()
        async for message in self._deliveries(min(self.ready, LETTERS_MAX)):
            letter = read_letter(message)
            identity = (letter.intent_id, letter.generation)
            if letter.is_ours and identity in seen:
                self.copies += 1
            else:
                seen.add(identity)
                yield letter

    async def _consume(self, connection: AbstractConnection) -> None:
        if not self.ready:
            return

        async def hand_over(message: DeliveredMessage) -> None:
            self._arrived.put_nowait(message)

        self._channel = await open_channel(connection, prefetch=min(self.ready, LETTERS_MAX))
        try:
            await self._channel.basic_consume(self._queue, hand_over, timeout=ANSWER_TIMEOUT_S)
        except CONNECTION_ERRORS as error:
            raise BrokerUnreachable(
                f"RabbitMQ did not let us read {self._queue} ({type(error).__name__}): grant this user read"
            ) from error

    async def _deliveries(self, wanted: int) -> AsyncIterator[DeliveredMessage]:
        for number in range(wanted):
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    message = await self._arrived.get()
            except TimeoutError:
                raise CommandFailed(
                    f"{self._queue} gave {number} of {wanted} letters and then none for {IDLE_TIMEOUT_S:g} s: try again"
                ) from None
            yield message

    async def _take_turn(self, connection: AbstractConnection) -> None:
        deadline = time.monotonic() + TURN_TIMEOUT_S
        said = False
        while not await self._is_our_turn(connection):
            if time.monotonic() >= deadline:
                raise CommandFailed(
                    f"another reader still has {self._queue} after {TURN_TIMEOUT_S:g} s: try again when it is done"
                )
            if not said:
                self._on_wait(f"another reader has {self._queue}, waiting up to {TURN_TIMEOUT_S:g} s")
                said = True
            await asyncio.sleep(TURN_POLL_S)

    async def _is_our_turn(self, connection: AbstractConnection) -> bool:
        """Whether nobody else reads; also not a program that knows nothing of our turns."""
        if not await self._has_right_to_read(connection):
            return False
        depth = await queue_depth(connection, self._queue)
        if depth is None:
            raise CommandFailed(
                f"there is no queue {self._queue}: check broker.prefix, or run `signalq topology apply`"
            )
        self.ready = depth.ready
        return not depth.consumers

    async def _has_right_to_read(self, connection: AbstractConnection) -> bool:
        channel = await open_channel(connection)
        try:
            await channel.queue_declare(
                f"{self._queue}.reader", exclusive=True, auto_delete=True, timeout=ANSWER_TIMEOUT_S
            )
        except aiormq.exceptions.ChannelLockedResource:
            return False
        except aiormq.exceptions.ChannelAccessRefused:
            return True  # without the configure right there is only the look at the consumers
        except CONNECTION_ERRORS as error:
            raise BrokerUnreachable(f"RabbitMQ did not answer about {self._queue}") from error
        finally:
            await channel.close()
        return True

    async def _given_back(self, connection: AbstractConnection) -> None:
        """Wait until the letters are ready again: whoever looks next would count too few."""
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        while time.monotonic() < deadline:
            depth = await queue_depth(connection, self._queue)
            if depth is None or (depth.ready >= self.ready and not depth.consumers):
                return
            await asyncio.sleep(RETURN_POLL_S)
