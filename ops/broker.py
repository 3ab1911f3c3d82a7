"""The broker as the commands use it: a connection by the settings, under the command's name."""

from __future__ import annotations

from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import connect
from signalq.settings.sections import Settings


async def connect_as(name: str, settings: Settings) -> AbstractConnection:
    """Connect to the broker of these settings; `name` is shown in RabbitMQ's list. Raises BrokerUnreachable."""
    broker = settings.broker
    return await connect(broker.url.get_secret_value(), name=name, heartbeat_s=broker.heartbeat_s)
