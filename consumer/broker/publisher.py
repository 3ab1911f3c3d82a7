"""Where messages go from here. Each is published until the broker has confirmed it, over connections of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from pamqp.commands import Basic

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.amqp.topology import ladder_entry
from signalq.consumer.broker.connection import RECONNECT_BASE_S, RECONNECT_MAX_S
from signalq.consumer.broker.lane_consumer import Delivery
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.orders.delays import backoff_s, park_seconds
from signalq.consumer.orders.outcomes import Event
from signalq.errors import BrokerUnreachable, PublishError
from signalq.names import Names
from signalq.settings.sections import Settings

# A delay is cut to whole seconds just before it is sent; more on the way at once would wait in the socket meanwhile,
# and come back late (300 at once: up to 0.2 s, seen).
PARKING_MAX = 32

log = structlog.get_logger()


class BrokerPublisher:
    """Where messages go from here: onto the ladder, back to their lane, into the dead letters; and who is told."""

    def __init__(self, settings: Settings, names: Names, jitter: Callable[[], float], skew: Skew | None = None) -> None:
        broker = settings.broker
        self._names = names
        self._jitter = jitter
        self._skew = skew or Skew()
        self._parking = asyncio.Semaphore(PARKING_MAX)
        url, heartbeat_s = broker.url.get_secret_value(), broker.heartbeat_s
        self._publisher = ConfirmedPublisher(url, name="signalq consumer publishing", heartbeat_s=heartbeat_s)
        # Apart: an event for each order would queue before what is parked, whose delay is cut when it is sent; and what
        # the broker refuses an event must not close the channel of a dead letter.
        self._outcomes = ConfirmedPublisher(url, name="signalq consumer outcomes", heartbeat_s=heartbeat_s)

    async def park(self, due_ms: int, now_ms: Callable[[], int], body: bytes, properties: Basic.Properties) -> None:
        """Onto the ladder for the whole seconds that remain when it is sent; return once the broker has it."""

        def entry() -> tuple[str, str]:
            at_ms = now_ms()
            return ladder_entry(park_seconds(due_ms, at_ms, self._skew.known().behind_ms(at_ms)), self._names)

        async with self._parking:
            await self._confirmed(entry, body, properties)

    async def hand_to_lane(self, queue: str, body: bytes, properties: Basic.Properties) -> None:
        """Into the queue of a lane, straight: by the exchange a missing binding would send it round in circles.

        Returns once the broker has it.
        """
        await self._confirmed(lambda: ("", queue), body, properties)

    async def bury(self, body: bytes, properties: Basic.Properties) -> None:
        """Into the dead-letter queue; return once the broker has it."""
        await self._confirmed(lambda: ("", self._names.dead), body, properties)

    async def tell(self, event: Event) -> None:
        """To whoever listens for outcomes, be it nobody; return once the broker has it."""
        await self._confirmed(
            lambda: (self._names.outcomes, event.routing_key), event.body, event.properties, mandatory=False
        )

    async def ack(self, delivery: Delivery) -> None:
        """The one place that acknowledges; call it when what is due has happened and is recorded."""
        if not await delivery.session.ack(delivery.tag):
            log.info("broker.ack_too_late", tag=delivery.tag)

    async def close(self) -> None:
        """Close the publishing connections."""
        await self._publisher.close()
        await self._outcomes.close()

    async def _confirmed(
        self,
        destination: Callable[[], tuple[str, str]],
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = True,
    ) -> None:
        """Publish until confirmed: the message stays unacknowledged meanwhile, so it can't be lost, only repeated."""
        publisher = self._publisher if mandatory else self._outcomes
        failures = 0
        while True:
            exchange, routing_key = destination()
            try:
                return await publisher.publish(exchange, routing_key, body, properties, mandatory=mandatory)
            except (BrokerUnreachable, PublishError) as error:
                failures += 1
                wait_s = backoff_s(failures, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())
                log.warning("broker.publish_failed", to=exchange or routing_key, why=str(error))
                await asyncio.sleep(wait_s)
