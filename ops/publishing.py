"""Intents to the broker, in the order they were read: a bounded number in flight, every one confirmed.

They go out in rounds. What a broken connection left unconfirmed is sent again with its identity, before anything new:
the broker may hold it twice then (the consumer drops the second), and no later order of its connector overtakes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from consumer.settings import Settings
from producers.files.reader import IntentLine
from signalq.amqp.connection import user_of
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.client import PUBLISH_TIMEOUT_S, RECONNECT_PAUSE_S
from signalq.envelope import publish_properties
from signalq.errors import BrokerUnreachable, Unconfirmed
from signalq.names import Names

IN_FLIGHT_MAX = 256
"""Sent and not yet confirmed. Four times as many were no faster, a quarter was a third slower (ran, 3.10.8)."""


@dataclass(slots=True)
class Tally:
    """What became of the intents so far."""

    published: int = 0
    unconfirmed: int = 0
    unconfirmed_from_line: int | None = None


class IntentPublisher:
    """Publishes rounds of intents under one connection; use it as an async context manager.

    `on_published` is called for every confirmed intent, in order. Entering connects; raises BrokerUnreachable.
    """

    def __init__(self, settings: Settings, *, strategy: str | None, on_published: Callable[[IntentLine], None]) -> None:
        self.tally = Tally()
        self._names = Names(settings.broker.prefix)
        self._strategy = strategy
        self._on_published = on_published
        url = settings.broker.url.get_secret_value()
        self._user = user_of(url)
        self._publisher = ConfirmedPublisher(url, name="signalq publish", heartbeat_s=settings.broker.heartbeat_s)

    async def __aenter__(self) -> IntentPublisher:
        await self._publisher.channel()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._publisher.close()

    async def publish_all(self, rounds: AsyncIterator[list[IntentLine]]) -> None:
        """Publish everything, and stop at the first round that could not be confirmed: order comes first.

        Raises Unroutable where the topology is missing or this user may not publish.
        """
        async for intents in rounds:
            confirmed = await self._confirmed(intents)
            for intent, is_confirmed in zip(intents, confirmed, strict=True):
                if is_confirmed:
                    self.tally.published += 1
                    self._on_published(intent)
                else:
                    self.tally.unconfirmed += 1
                    self.tally.unconfirmed_from_line = self.tally.unconfirmed_from_line or intent.line
            if self.tally.unconfirmed:
                return

    async def _confirmed(self, intents: Sequence[IntentLine]) -> list[bool]:
        """Whether each was confirmed within PUBLISH_TIMEOUT_S, sending again what was not."""
        deadline = time.monotonic() + PUBLISH_TIMEOUT_S
        created_ms = time.time_ns() // 1_000_000
        left = dict(enumerate(intents))
        while left and (remaining_s := deadline - time.monotonic()) > 0:
            if left_over := await self._send(left, created_ms, remaining_s):
                await asyncio.sleep(min(RECONNECT_PAUSE_S, remaining_s))
            left = left_over
        return [at not in left for at in range(len(intents))]

    async def _send(self, intents: dict[int, IntentLine], created_ms: int, timeout_s: float) -> dict[int, IntentLine]:
        """Send once, all at once and in order; gives back what was not confirmed."""
        try:
            async with asyncio.timeout(timeout_s):
                # Before the tasks: with the channel open each of them writes in its first step, so in order.
                await self._publisher.channel()
        except (BrokerUnreachable, TimeoutError):
            return intents
        tasks = {
            at: asyncio.create_task(self._publish(intent, created_ms), name=f"publish line {intent.line}")
            for at, intent in intents.items()
        }
        try:
            await asyncio.wait(tasks.values(), timeout=timeout_s)
        finally:
            for task in tasks.values():
                task.cancel()
            outcomes = await asyncio.gather(*tasks.values(), return_exceptions=True)
        left = {}
        for (at, intent), outcome in zip(intents.items(), outcomes, strict=True):
            if isinstance(outcome, (Unconfirmed, BrokerUnreachable, asyncio.CancelledError)):
                left[at] = intent
            elif outcome is not None:
                raise outcome
        return left

    async def _publish(self, line: IntentLine, created_ms: int) -> None:
        properties = publish_properties(
            message_id=line.message_id, strategy_name=self._strategy, created_ms=created_ms, user=self._user
        )
        connector = line.intent.connector_name
        await self._publisher.publish(self._names.orders, connector, line.intent.to_message(), properties)
