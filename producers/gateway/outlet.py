"""The way of an alert to the broker's confirm."""

import asyncio
from contextlib import suppress

import structlog
from pamqp.commands import Basic

from signalq import names
from signalq.amqp.address import user_of
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.errors import BrokerError, BrokerUnreachable
from signalq.message.envelope import NO_TRACE, publish_properties
from signalq.message.trace_context import TraceParent
from signalq.names import Names
from signalq.producers.gateway.alerts import Alert
from signalq.producers.gateway.repeats import Identity
from signalq.publishing.spans import PublishSpans

# The strategy name of all alerts.
STRATEGY = "gateway"
NAME = "signalq gateway"
PAUSE_S = 0.1
CONNECT_EVERY_S = 1.0

log = structlog.get_logger()


class Outlet:
    """Publishes alerts. Use `run` to keep it connected."""

    def __init__(self, broker_url: str, *, prefix: str, heartbeat_s: int) -> None:
        self._names = Names(prefix)
        self._user = user_of(broker_url)
        self._publisher = ConfirmedPublisher(broker_url, name=NAME, heartbeat_s=heartbeat_s)
        self._spans = PublishSpans(broker_url, self._names.orders, NAME)
        self.is_connected = False

    async def run(self) -> None:
        """Keep the connection open, for as long as this runs. Each cause of a failure is logged once."""
        logged: str | None = None
        while True:
            try:
                await self._publisher.channel()
                self.is_connected, logged = True, None
            except BrokerError as error:
                self.is_connected = False
                if str(error) != logged:
                    logged = str(error)
                    log.warning("gateway.disconnected", why=logged)
            await asyncio.sleep(CONNECT_EVERY_S)

    async def publish(self, alert: Alert, identity: Identity, caller: TraceParent | None = None) -> None:
        """Return once the broker has confirmed the alert; connect again for as long as that fails.

        Its message names the span of this publish, or where there is none that of the caller. Raises PublishError.
        Bound it with asyncio.timeout.
        """
        span = self._spans.begin(alert.connector, identity.message_id, alert.token)
        properties = publish_properties(
            message_id=identity.message_id,
            strategy_name=STRATEGY,
            created_ms=identity.created_ms,
            user=self._user,
            trace=span.headers or ({names.TRACEPARENT: caller.header()} if caller is not None else NO_TRACE),
        )
        try:
            await self._publish(alert, properties)
        except BaseException as error:
            span.end(error)
            raise
        span.end()

    async def _publish(self, alert: Alert, properties: Basic.Properties) -> None:
        while True:
            with suppress(BrokerUnreachable):
                return await self._publisher.publish(self._names.orders, alert.connector, alert.body, properties)
            await asyncio.sleep(PAUSE_S)

    async def close(self) -> None:
        """Close the connection."""
        self.is_connected = False
        await self._publisher.close()
