"""The dead letters, read in their order by one reader at a time; a letter that is not taken away stays where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import CONNECTION_ERRORS, connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerError
from signalq.names import Names
from signalq.ops.dead_letters.channel import LetterChannel
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.turn import wait_for_turn
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings

# Until nothing that was taken away is left; each sweep has fewer to take than the one before.
SWEEP_TIMEOUT_S = 60.0
SWEEPS_MAX = 10


class LetterReader:
    """The letters that are ready at the start, at most LETTERS_MAX; a letter that arrives later is left.

    async for letter in letters: ...             # to look at them
    async for batch in letters.batches(): ...    # to take some away: letters.take(letter)

    `ready` is how many there are, and `to_read` how many of them are read here; `copies` counts letters that were met
    once more (a crash may leave a letter twice).
    """

    def __init__(self, channel: LetterChannel) -> None:
        self.ready = channel.ready
        self.to_read = channel.to_read
        self.copies = 0
        self.taken: set[bytes] = set()
        self._channel = channel
        self.batches = channel.batches

    async def __aiter__(self) -> AsyncIterator[Letter]:
        """Every letter once, oldest first. Raises as `batches` does."""
        seen: set[bytes | int] = set()
        async for batch in self.batches():
            for letter in batch:
                if letter.identity in seen:
                    self.copies += 1
                else:
                    seen.add(letter.identity)
                    yield letter

    async def take(self, letter: Letter) -> None:
        """Take a letter away, see LetterChannel."""
        await self._channel.take(letter)
        self.taken.add(letter.mark)


@asynccontextmanager
async def open_letters(settings: Settings, *, on_wait: Callable[[str], None]) -> AsyncIterator[LetterReader]:
    """A reader of the dead letters; `on_wait` gets a sentence, once, if another one is at work.

    Raises as wait_for_turn does.
    """
    handle_foreign_properties()
    names = Names(settings.broker.prefix)
    url = settings.broker.url.get_secret_value()
    async with await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection:
        channel = LetterChannel(connection, names, await wait_for_turn(connection, names, on_wait))
        await channel.open()
        letters = LetterReader(channel)
        try:
            yield letters
        finally:
            with suppress(BrokerError, CommandFailed, TimeoutError, *CONNECTION_ERRORS):
                async with asyncio.timeout(SWEEP_TIMEOUT_S):
                    await channel.close()
                    await _sweep(connection, names, channel, letters.taken)


async def _sweep(connection: AbstractConnection, names: Names, last: LetterChannel, taken: set[bytes]) -> None:
    """Take away once more the letters that came back although they had been taken away.

    A quorum queue's acknowledgements are queued in the channel's process, and those that are there when the channel
    closes are lost (seen, 3.10.8: the last 25 of 700). If there is no letter too many, none was.
    """
    for _ in range(SWEEPS_MAX):
        depth = await queue_depth(connection, names.dead)
        if not last.acks or depth is None or depth.ready <= last.ready - last.acks:
            return
        last = LetterChannel(connection, names, depth.ready)
        await last.open()
        async for batch in last.batches():
            for letter in batch:
                if letter.mark in taken:
                    await last.take(letter)
        await last.close()
