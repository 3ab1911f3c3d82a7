"""The dead letters, read in their order by one reader at a time; a letter that is not taken away stays where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import CONNECTION_ERRORS, handle_foreign_properties
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerError
from signalq.names import Names
from signalq.ops.broker import connect_as
from signalq.ops.dead_letters.channel import LetterChannel
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.turn import wait_for_turn
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings

# Until nothing that was taken away is left; each sweep has fewer to take than the one before.
SWEEP_TIMEOUT_S = 60.0
SWEEPS_MAX = 10


class LetterReader:
    """The letters that are ready now, at most LETTERS_MAX; a letter that arrives later is left for the next look.

        async with LetterReader(settings, on_wait=print) as letters:
            async for letter in letters: ...             # to look at them
            async for batch in letters.batches(): ...    # to take some away: letters.take(letter)

    `ready` is how many there are, `to_read` how many of them this look takes in. `on_wait` gets a sentence, once, if
    another reader is at work. Entering raises as wait_for_turn does.
    """

    def __init__(self, settings: Settings, *, on_wait: Callable[[str], None]) -> None:
        self._settings = settings
        self._names = Names(settings.broker.prefix)
        self._on_wait = on_wait
        self._connection: AbstractConnection | None = None
        self._channel: LetterChannel | None = None
        self._taken: set[bytes] = set()
        self.ready = 0
        self.to_read = 0
        self.copies = 0

    async def __aenter__(self) -> Self:
        handle_foreign_properties()
        self._connection = await connect_as("signalq dead", self._settings)
        try:
            self.ready = await wait_for_turn(self._connection, self._names, self._on_wait)
            self._channel = await self._opened(self._connection, self.ready)
        except BaseException:
            await self._connection.close()
            raise
        self.to_read = self._channel.to_read
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is None or self._channel is None:
            return
        try:
            with suppress(BrokerError, CommandFailed, TimeoutError, *CONNECTION_ERRORS):
                async with asyncio.timeout(SWEEP_TIMEOUT_S):
                    await self._channel.close()
                    await self._sweep(self._connection, self._channel)
        finally:
            await self._connection.close()

    async def __aiter__(self) -> AsyncIterator[Letter]:
        """Every letter once, oldest first; `copies` counts the further ones (a crash may leave a letter twice).

        Raises as `batches` does.
        """
        seen: set[bytes | int] = set()
        async for batch in self.batches():
            for letter in batch:
                if letter.identity in seen:
                    self.copies += 1
                else:
                    seen.add(letter.identity)
                    yield letter

    def batches(self) -> AsyncIterator[list[Letter]]:
        """See LetterChannel."""
        return self._open.batches()

    async def take(self, letter: Letter) -> None:
        """See LetterChannel."""
        await self._open.take(letter)
        self._taken.add(letter.mark)

    @property
    def _open(self) -> LetterChannel:
        if self._channel is None:
            raise RuntimeError("use LetterReader in an async with block")
        return self._channel

    async def _opened(self, connection: AbstractConnection, ready: int) -> LetterChannel:
        channel = LetterChannel(connection, self._names, ready)
        await channel.open()
        return channel

    async def _sweep(self, connection: AbstractConnection, last: LetterChannel) -> None:
        """Take away once more what came back although it had been taken away.

        A quorum queue's acknowledgements are queued in the channel's process, and those that are there when the
        channel closes are lost (seen, 3.10.8: the last 25 of 700). If there is no letter too many, none was.
        """
        for _ in range(SWEEPS_MAX):
            depth = await queue_depth(connection, self._names.dead)
            if not last.acks or depth is None or depth.ready <= last.ready - last.acks:
                return
            last = await self._opened(connection, depth.ready)
            async for batch in last.batches():
                for letter in batch:
                    if letter.mark in self._taken:
                        await last.take(letter)
            await last.close()
