"""A publisher's listener for the outcomes of its strategy, beside the publishing, which never waits for it."""

from __future__ import annotations

import asyncio

from signalq.amqp.connection import HEARTBEAT_S
from signalq.amqp.outcome_feed import OutcomeFeed
from signalq.errors import BrokerError, NotPermitted
from signalq.message.outcome import ABSENT, binding_key
from signalq.names import Names
from signalq.publishing.expected_outcomes import ExpectedOutcomes

NOT_ENTERED = "outcomes are heard of by a publisher that is used in an `async with` block"
CLOSED = "the publisher is closed"


class OutcomeListener:
    """Listens for the outcomes of one strategy, on a connection of its own: a refusal there closes no other channel.

    `expected` holds the outcomes, for the receipts.
    """

    def __init__(self, url: str, names: Names, *, strategy: str | None, heartbeat_s: int = HEARTBEAT_S) -> None:
        self.expected = ExpectedOutcomes(NOT_ENTERED)
        self._feed = OutcomeFeed(
            url,
            names,
            [binding_key(strategy=strategy or ABSENT)],
            name=f"signalq outcomes {strategy or ABSENT}",
            on_outcome=self.expected.take,
            on_away=self.expected.note_away,
            heartbeat_s=heartbeat_s,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen from now on. A failure is not raised here, but by `outcome()` of a receipt."""
        self.expected.unavailable = None
        try:
            await self._feed.open()
        except NotPermitted as error:
            self.expected.end(str(error))
            return
        except BrokerError as error:
            self.expected.note_away(str(error))
        self._task = asyncio.create_task(self._keep(), name="signalq outcomes")

    async def close(self) -> None:
        """Listen no more, and end every wait for an outcome."""
        self.expected.end(CLOSED)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._feed.close()

    async def _keep(self) -> None:
        try:
            await self._feed.keep_open()
        except NotPermitted as error:
            self.expected.end(str(error))
