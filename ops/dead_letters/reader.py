"""The dead letters, read in their order by one reader at a time; a letter that is not taken away stays where it is.

Two readers would each see a part. RabbitMQ does not enforce an exclusive consumer on a quorum queue (seen on 3.10), so
the right to read is an exclusive queue: the broker gives it to one connection, and takes it back when that ends.

The reader consumes, acknowledges only the letters that are to go, and closes its channel: then the broker takes
everything else back, in its order. basic.get scrambles the queue, nack puts letters at its end (both seen on RabbitMQ
3.10 and 4.3).

AMQP counts what a consumer holds in 16 bits, and holding all letters would fill the memory. So one channel has several
consumers, a window each; the next one begins when the one before holds nothing but letters that stay. RabbitMQ 3.10
gives back what a channel held consumer by consumer, in the order of their tags as long as there are at most 32, however
the channel ends; from several channels letters come back mixed up now and then (all seen, 3.10.8 and 4.3.6).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage

from signalq.amqp.connection import CONNECTION_ERRORS, connect, open_channel
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerError, BrokerUnreachable
from signalq.kinds import Kind
from signalq.names import Names
from signalq.ops.dead_letters.census import Census
from signalq.ops.dead_letters.letter import Letter, read_letter
from signalq.ops.dead_letters.turn import ANSWER_TIMEOUT_S, wait_for_turn
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings

# With more consumers on one channel, RabbitMQ 3.10 gives their letters back out of order.
WINDOWS_MAX = 32
# The most that a consumer may hold without acknowledging: AMQP counts it in 16 bits.
WINDOW_LETTERS_MAX = 65_535
WINDOW_LETTERS_MIN = 1_000
LETTERS_MAX = WINDOWS_MAX * WINDOW_LETTERS_MAX
BATCH_LETTERS_MAX = 100
# From one letter to the next; they come from the broker's disk, not from a producer.
IDLE_TIMEOUT_S = 10.0
# A kill leaves no time to read on; then letters may be in another order, and none is missing.
READ_ON_TIMEOUT_S = 20.0
# Until the broker has everything back; milliseconds as a rule.
RETURN_TIMEOUT_S = 5.0
RETURN_POLL_S = 0.01
# Until nothing that was taken away is left; each sweep has fewer to take than the one before.
SWEEP_TIMEOUT_S = 60.0
SWEEPS_MAX = 10


@asynccontextmanager
async def open_letters(
    settings: Settings, *, on_wait: Callable[[str], None], census: Census | None = None
) -> AsyncIterator[LetterReader]:
    """The dead letters; `on_wait` gets a sentence, once, if another reader is at work. The `census` is told of each.

    Raises BrokerUnreachable, and CommandFailed if there is no such queue or the other reader has not finished within
    TURN_TIMEOUT_S.
    """
    handle_foreign_properties()
    url = settings.broker.url.get_secret_value()
    async with (
        await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection,
        letters_on(connection, Names(settings.broker.prefix), on_wait=on_wait, census=census) as letters,
    ):
        yield letters


@asynccontextmanager
async def letters_on(
    connection: AbstractConnection, names: Names, *, on_wait: Callable[[str], None], census: Census | None = None
) -> AsyncIterator[LetterReader]:
    """The same, on a connection that is there, and whose properties `handle_foreign_properties` has made readable."""
    letters = LetterReader(connection, names, await wait_for_turn(connection, names, on_wait), census)
    await letters.open()
    try:
        yield letters
    finally:
        with suppress(BrokerError, CommandFailed, TimeoutError, *CONNECTION_ERRORS):
            async with asyncio.timeout(SWEEP_TIMEOUT_S):
                await letters.close()
                await _sweep(connection, names, letters)


async def _sweep(connection: AbstractConnection, names: Names, letters: LetterReader) -> None:
    """Take away once more the letters that came back although they had been taken away.

    A quorum queue's acknowledgements are queued in the channel's process, and those that are there when the channel
    closes are lost (seen, 3.10.8: the last 25 of 700). If there is no letter too many, none was.
    """
    last = letters
    for _ in range(SWEEPS_MAX):
        depth = await queue_depth(connection, names.dead)
        if not last.acks or depth is None or depth.ready <= last.ready - last.acks:
            return
        last = LetterReader(connection, names, depth.ready)
        await last.open()
        async for batch in last.batches():
            for letter in batch:
                # A letter that is not ours may have come in since, like one that was taken away.
                if letter.is_ours and letter.mark in letters.taken:
                    await last.take(letter)
        await last.close()


class LetterReader:
    """The letters that are ready at the start, at most LETTERS_MAX; a letter that arrives later is left.

    async for letter in letters: ...             # to look at them
    async for batch in letters.batches(): ...    # to take some away: letters.take(letter)

    `ready` is how many there were at the start, and `acks` how many of them were taken away; `taken` are their marks.
    `copies` counts letters that were met once more (a crash may leave a letter twice).
    """

    def __init__(self, connection: AbstractConnection, names: Names, ready: int, census: Census | None = None) -> None:
        self.ready = ready
        self.acks = 0
        self.taken: set[bytes] = set()
        self.copies = 0
        self._connection = connection
        self._queue, self._tag = names.dead, names.dead_reader
        self._channel: AbstractChannel | None = None
        # None says that the channel has closed.
        self._arrived: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        self._windows = 0
        self._window_letters = _window_letters(ready)
        # Letters that the present window has handed out, and that were not taken away.
        self._kept = 0
        self._read = 0
        self._foreign: Counter[bytes] = Counter()
        self._census = census

    @property
    def has_read_all(self) -> bool:
        """Whether every letter that was ready at the start was handed out."""
        return self._read == self.ready

    @property
    def to_read(self) -> int:
        """The number of letters that are read here."""
        return min(self.ready, LETTERS_MAX)

    async def open(self) -> None:
        """Open the channel. Raises BrokerUnreachable."""
        if not self.ready:
            return
        self._channel = await open_channel(self._connection, prefetch=self._window_letters)
        self._channel.closing.add_done_callback(lambda _closing: self._arrived.put_nowait(None))
        self._channel.on_consumer_cancel_callbacks.add(lambda _frame: self._arrived.put_nowait(None))

    async def __aiter__(self) -> AsyncIterator[Letter]:
        """Every letter once, oldest first. Raises as `batches` does."""
        seen: set[bytes] = set()
        async for batch in self.batches():
            for letter in batch:
                if letter.identity in seen:
                    self.copies += 1
                else:
                    seen.add(letter.identity)
                    yield letter

    async def batches(self) -> AsyncIterator[list[Letter]]:
        """All letters, copies too, oldest first, at most BATCH_LETTERS_MAX at a time.

        A letter may be taken away until the next batch is asked for. Raises BrokerUnreachable or CommandFailed if the
        broker stops before the end.
        """
        while self._read < self.to_read:
            messages = [await self._next()]
            while len(messages) < BATCH_LETTERS_MAX and self._read < self.to_read and not self._arrived.empty():
                messages.append(await self._next())
            batch = [self._placed(read_letter(message)) for message in messages]
            if self._census is not None:
                await self._census.meet(batch)
            yield batch

    def _placed(self, letter: Letter) -> Letter:
        """The letter; one that is not ours is told by its place from those that are alike."""
        if not letter.is_ours:
            alike = letter.mark
            letter.place = self._foreign[alike]
            self._foreign[alike] += 1
        return letter

    async def take(self, letter: Letter) -> None:
        """Acknowledge a letter: it is gone. Raises BrokerUnreachable if the channel is gone; then the letter stays."""
        if self._channel is None:
            raise BrokerUnreachable("the channel that the letter came on is closed")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._channel.basic_ack(letter.tag)
        except (TimeoutError, *CONNECTION_ERRORS) as error:
            raise BrokerUnreachable(self._broke()) from error
        self._kept -= 1
        self.acks += 1
        self.taken.add(letter.mark)
        if self._census is not None:
            self._census.take(letter)

    async def close(self) -> None:
        """Close the channel, and wait until its letters are ready again: the next reader would count too few."""
        if self._channel is None:
            return
        # Letters that are given back go behind those that were given back before and not fetched since (seen, 3.10.8):
        # leaving before the end would turn the queue round.
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_ON_TIMEOUT_S):
                while self._read < self.to_read:
                    await self._next()
        channel, self._channel = self._channel, None
        await channel.close()
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        while time.monotonic() < deadline:
            depth = await queue_depth(self._connection, self._queue)
            if depth is None or (depth.ready >= self.ready - self.acks and not depth.consumers):
                return
            await asyncio.sleep(RETURN_POLL_S)

    async def _next(self) -> DeliveredMessage:
        if self._kept == self._window_letters or not self._windows:
            await self._open_window()
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                message = await self._arrived.get()
        except TimeoutError:
            raise CommandFailed(
                f"{self._queue} gave {self._read:,} of {self.to_read:,} letters and then none for {IDLE_TIMEOUT_S:g} s:"
                " try again",
                kind=Kind.NO_ANSWER,
            ) from None
        if message is None:
            self._arrived.put_nowait(None)  # the next call must fail at once, too
            raise BrokerUnreachable(self._broke())
        self._read += 1
        self._kept += 1
        return message

    async def _open_window(self) -> None:
        """Add a consumer to the channel; those before it hold nothing but letters that stay, and get no more."""
        if self._channel is None:
            raise BrokerUnreachable(self._broke())

        async def hand_over(message: DeliveredMessage) -> None:
            self._arrived.put_nowait(message)

        tag = f"{self._tag}.{self._windows:02}"
        try:
            await self._channel.basic_consume(self._queue, hand_over, consumer_tag=tag, timeout=ANSWER_TIMEOUT_S)
        except aiormq.exceptions.ChannelAccessRefused as error:
            raise BrokerUnreachable(
                f"RabbitMQ did not let us read {self._queue}", "grant this user read", kind=Kind.NOT_PERMITTED
            ) from error
        except CONNECTION_ERRORS as error:
            raise BrokerUnreachable(self._broke()) from error
        self._windows += 1
        self._kept = 0

    def _broke(self) -> str:
        return (
            f"the connection to RabbitMQ broke after {self._read:,} of {self.to_read:,} letters: what was not taken "
            "away is where it was, try again"
        )


def _window_letters(ready: int) -> int:
    """The most letters that a consumer may hold: so small that few are in memory, and WINDOWS_MAX windows hold all."""
    return min(max(-(-ready // WINDOWS_MAX), min(ready, WINDOW_LETTERS_MIN)), WINDOW_LETTERS_MAX)
