"""The dead letters, read in their order; what is not taken away stays where it is.

The reader is a consumer that acknowledges only what is to be taken away, and closes its channel: the broker takes
everything else back, in its order. basic.get scrambles the queue, nack puts letters at its end (both seen on RabbitMQ
3.10 and 4.3).

AMQP counts what a consumer holds in 16 bits, and nobody wants to hold it all in memory: so one channel has several
consumers, a window each, the next one begun when the one before holds nothing but letters that stay. RabbitMQ 3.10
gives back what a channel held consumer by consumer, in the order of their tags as long as there are at most 32, however
the channel ends; from several channels letters come back mixed up now and then (all seen, 3.10.8 and 4.3.6).

Two readers at a time would each see a part. RabbitMQ does not enforce an exclusive consumer on a quorum queue (seen on
3.10), so the right to read is an exclusive queue: the broker gives it to one connection, and takes it back when that
connection ends, however it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage

from signalq.amqp.connection import CONNECTION_ERRORS, connect, open_channel
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerError, BrokerUnreachable
from signalq.names import Names
from signalq.ops.dead_letters.letter import DeadLetter, read_letter
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings

# More consumers on one channel, and RabbitMQ 3.10 gives their letters back out of order.
WINDOWS_MAX = 32
# The most that a consumer may hold without acknowledging: AMQP counts them in 16 bits.
WINDOW_LETTERS_MAX = 65_535
WINDOW_LETTERS_MIN = 1_000
# What one look takes in.
LETTERS_MAX = WINDOWS_MAX * WINDOW_LETTERS_MAX
BATCH_LETTERS_MAX = 100
TURN_TIMEOUT_S = 10.0
TURN_POLL_S = 0.2
# From one letter to the next; they come from the broker's disk, not from a producer.
IDLE_TIMEOUT_S = 10.0
# A kill can't wait for it; then letters may be in another order, and none is missing.
READ_ON_TIMEOUT_S = 20.0
# Until nothing that was taken away is left; each sweep has fewer to take than the one before.
SWEEP_TIMEOUT_S = 60.0
SWEEPS_MAX = 10
# Until the broker has everything back; milliseconds as a rule.
RETURN_TIMEOUT_S = 5.0
RETURN_POLL_S = 0.01
ANSWER_TIMEOUT_S = 10.0


class DeadLetters:
    """The letters that are ready now, at most LETTERS_MAX; one reader at a time.

        async with DeadLetters(settings, on_wait=print) as letters:
            async for letter in letters: ...             # to look at them
            async for batch in letters.batches(): ...    # to take some away: letters.take(letter)

    `ready` is how many there are; what arrives later is left for the next look. `on_wait` is told, once, if another
    reader has to be waited for. Entering raises BrokerUnreachable, and CommandFailed where there is no such queue or
    the other reader did not finish within TURN_TIMEOUT_S.
    """

    def __init__(self, settings: Settings, *, on_wait: Callable[[str], None]) -> None:
        self._url = settings.broker.url.get_secret_value()
        self._heartbeat_s = settings.broker.heartbeat_s
        names = Names(settings.broker.prefix)
        self._queue, self._right = names.dead, names.dead_reader
        self._on_wait = on_wait
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        # None says that the channel has closed.
        self._arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        self._windows = 0
        self._window_letters = 0
        # What the present window has handed out, and was not taken away.
        self._kept = 0
        self._read = 0
        self._taken: set[bytes] = set()
        self._acks = 0
        self.ready = 0
        self.copies = 0

    @property
    def wanted(self) -> int:
        """How many of them this look takes in."""
        return min(self.ready, LETTERS_MAX)

    async def __aenter__(self) -> Self:
        handle_foreign_properties()
        self._connection = await connect(self._url, name="signalq dead", heartbeat_s=self._heartbeat_s)
        try:
            await self._take_turn(self._connection)
            await self._begin(self._connection)
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
            with suppress(BrokerError, CommandFailed, TimeoutError, *CONNECTION_ERRORS):
                async with asyncio.timeout(SWEEP_TIMEOUT_S):
                    await self._end(self._connection)
                    await self._sweep(self._connection)
        finally:
            await self._connection.close()

    async def __aiter__(self) -> AsyncIterator[DeadLetter]:
        """Every letter once, oldest first; `copies` counts those that were there once more (a crash may leave a letter
        twice).

        Raises BrokerUnreachable or CommandFailed where the broker stops before the end.
        """
        seen: set[bytes | int] = set()
        async for batch in self.batches():
            for letter in batch:
                if letter.identity in seen:
                    self.copies += 1
                else:
                    seen.add(letter.identity)
                    yield letter

    async def batches(self) -> AsyncIterator[list[DeadLetter]]:
        """All letters, copies too, oldest first, at most BATCH_LETTERS_MAX at a time.

        A letter may be taken away until the next batch is asked for. Raises as iterating does.
        """
        while self._read < self.wanted:
            if self._kept == self._window_letters or not self._windows:
                await self._open_window()
            messages = [await self._next()]
            while len(messages) < min(BATCH_LETTERS_MAX, self.wanted - self._read) and not self._arrived.empty():
                messages.append(await self._next())
            self._read += len(messages)
            self._kept += len(messages)
            yield [read_letter(message) for message in messages]

    async def take(self, letter: DeadLetter) -> None:
        """Acknowledge it: it is gone. Raises BrokerUnreachable where the channel is gone, and the letter stays."""
        if self._channel is None:
            raise BrokerUnreachable("the channel that the letter came on is closed")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._channel.basic_ack(letter.tag)
        except (TimeoutError, *CONNECTION_ERRORS) as error:
            raise BrokerUnreachable(self._broke()) from error
        self._kept -= 1
        self._acks += 1
        self._taken.add(letter.mark)

    async def _open_window(self) -> None:
        """One consumer more on the channel; those before it hold nothing but letters that stay, and get no more."""
        if self._channel is None:
            raise BrokerUnreachable(self._broke())

        async def hand_over(message: DeliveredMessage) -> None:
            self._arrived.put_nowait(message)

        tag = f"{self._right}.{self._windows:02}"
        try:
            await self._channel.basic_consume(self._queue, hand_over, consumer_tag=tag, timeout=ANSWER_TIMEOUT_S)
        except aiormq.exceptions.ChannelAccessRefused as error:
            raise BrokerUnreachable(f"RabbitMQ did not let us read {self._queue}: grant this user read") from error
        except CONNECTION_ERRORS as error:
            raise BrokerUnreachable(self._broke()) from error
        self._windows += 1
        self._kept = 0

    async def _next(self) -> DeliveredMessage:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                message = await self._arrived.get()
        except TimeoutError:
            raise CommandFailed(
                f"{self._queue} gave {self._read:,} of {self.wanted:,} letters and then none for {IDLE_TIMEOUT_S:g} s: "
                "try again"
            ) from None
        if message is None:
            self._arrived.put_nowait(None)  # whoever asks next is told at once, too
            raise BrokerUnreachable(self._broke())
        return message

    def _broke(self) -> str:
        return (
            f"the connection to RabbitMQ broke after {self._read:,} of {self.wanted:,} letters: what was not taken "
            "away is where it was, try again"
        )

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
            await channel.queue_declare(self._right, exclusive=True, auto_delete=True, timeout=ANSWER_TIMEOUT_S)
        except aiormq.exceptions.ChannelLockedResource:
            return False
        except aiormq.exceptions.ChannelAccessRefused:
            return True  # without the configure right there is only the look at the consumers
        except CONNECTION_ERRORS as error:
            raise BrokerUnreachable(f"RabbitMQ did not answer about {self._queue}") from error
        finally:
            await channel.close()
        return True

    async def _begin(self, connection: AbstractConnection) -> None:
        """A channel for the letters that are ready now."""
        arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        self._arrived = arrived
        self._windows = self._kept = self._read = self._acks = 0
        if not self.ready:
            return
        self._window_letters = _window_letters(self.ready)
        self._channel = await open_channel(connection, prefetch=self._window_letters)
        self._channel.closing.add_done_callback(lambda _closing: arrived.put_nowait(None))
        self._channel.on_consumer_cancel_callbacks.add(lambda _frame: arrived.put_nowait(None))

    async def _end(self, connection: AbstractConnection) -> None:
        """Close the channel, and wait until what it held is ready again: whoever looks next would count too few."""
        if self._channel is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_ON_TIMEOUT_S):
                await self._read_on()
        channel, self._channel = self._channel, None
        await channel.close()
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        while time.monotonic() < deadline:
            depth = await queue_depth(connection, self._queue)
            if depth is None or (depth.ready >= self.ready - self._acks and not depth.consumers):
                return
            await asyncio.sleep(RETURN_POLL_S)

    async def _read_on(self) -> None:
        """Who leaves early takes delivery of the rest first: what is given back goes behind what was given back before
        and nobody has fetched since (seen, 3.10.8), and so the queue would be turned round.
        """
        while self._read < self.wanted:
            if self._kept == self._window_letters or not self._windows:
                await self._open_window()
            await self._next()
            self._read += 1
            self._kept += 1

    async def _sweep(self, connection: AbstractConnection) -> None:
        """Take away once more what came back although it had been taken away.

        A quorum queue's acknowledgements are queued in the channel's process, and those that are there when the
        channel closes are lost (seen, 3.10.8: the last 25 of 700). If there is no letter too many, none was.
        """
        for _ in range(SWEEPS_MAX):
            depth = await queue_depth(connection, self._queue)
            if not self._acks or depth is None or depth.ready <= self.ready - self._acks:
                return
            self.ready = depth.ready
            await self._begin(connection)
            async for batch in self.batches():
                for letter in batch:
                    if letter.mark in self._taken:
                        await self.take(letter)
            await self._end(connection)


def _window_letters(ready: int) -> int:
    """How many letters each consumer may hold: few are in memory then, and WINDOWS_MAX of them take all in."""
    return min(max(-(-ready // WINDOWS_MAX), min(ready, WINDOW_LETTERS_MIN)), WINDOW_LETTERS_MAX)
