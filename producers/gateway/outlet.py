"""The way of an alert to the broker's confirm."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import structlog

from signalq.amqp.address import user_of
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.errors import BrokerError, BrokerUnreachable
from signalq.message.envelope import publish_properties
from signalq.message.identity import digest_of, new_message_id
from signalq.names import Names
from signalq.producers.gateway.alerts import Alert
from signalq.producers.gateway.repeats import Identity, Unanswered

# The strategy name of all alerts.
STRATEGY = "gateway"
PAUSE_S = 0.1
CONNECT_EVERY_S = 1.0

log = structlog.get_logger()


class Outlet:
    """Publishes alerts; a repeat has the identity of its original. Use `run` to keep it connected."""

    def __init__(self, broker_url: str, *, prefix: str, heartbeat_s: int) -> None:
        self._names = Names(prefix)
        self._user = user_of(broker_url)
        self._publisher = ConfirmedPublisher(broker_url, name="signalq gateway", heartbeat_s=heartbeat_s)
        self._unanswered = Unanswered()
        self.is_connected = False
        self.why_not_connected: str | None = None

    async def run(self) -> None:
        """Keep the connection open, for as long as this runs."""
        while True:
            try:
                await self._publisher.channel()
            except BrokerError as error:
                self._note_away(str(error))
            else:
                self.is_connected, self.why_not_connected = True, None
            await asyncio.sleep(CONNECT_EVERY_S)

    def _note_away(self, why: str) -> None:
        """Log each cause once: the connection is tried again every CONNECT_EVERY_S."""
        if why != self.why_not_connected:
            log.warning("gateway.disconnected", why=why)
        self.is_connected, self.why_not_connected = False, why

    def identify(self, alert: Alert) -> tuple[Identity, bool]:
        """The identity to publish an alert under, and whether it repeats an alert that was not answered `ok`."""
        known = self._unanswered.take(digest_of(alert.body))
        return known or Identity(new_message_id(), time.time_ns() // 1_000_000), known is not None

    def was_not_answered(self, alert: Alert, identity: Identity) -> None:
        """Note that the caller got no `ok`: an equal alert that comes soon is this one."""
        self._unanswered.keep(digest_of(alert.body), identity)

    async def publish(self, alert: Alert, identity: Identity) -> None:
        """Return once the broker has confirmed the alert; connect again for as long as that fails.

        Raises PublishError. Bound it with asyncio.timeout.
        """
        properties = publish_properties(
            message_id=identity.message_id, strategy_name=STRATEGY, created_ms=identity.created_ms, user=self._user
        )
        while True:
            with suppress(BrokerUnreachable):
                return await self._publisher.publish(self._names.orders, alert.connector, alert.body, properties)
            await asyncio.sleep(PAUSE_S)

    async def close(self) -> None:
        """Close the connection."""
        self.is_connected = False
        await self._publisher.close()
