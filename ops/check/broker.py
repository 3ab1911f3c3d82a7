"""Findings on the broker: its version and its encryption, and lanes that no connector has any more."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aio_pika.abc import AbstractConnection
from yarl import URL

from signalq.amqp.address import is_loopback
from signalq.amqp.inspect import Inspector
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries.lanes import known_lanes
from signalq.consumer.orders import lanes
from signalq.errors import BrokerError, BrokerUnreachable, SignalQError
from signalq.ops.check.finding import Finding
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings

_DELETE_WHEN_EMPTY = "a consumer forwards the orders in it; delete the queue once it is empty"


def check_broker(settings: Settings, connection: AbstractConnection) -> Finding:
    """The product, its version, and whether the connection is encrypted."""
    url = settings.broker.url.get_secret_value()
    properties = connection.transport.connection.server_properties if connection.transport else {}
    said = [value for name in ("product", "version") if isinstance(value := properties.get(name), str)]
    product = " ".join(said) or "a broker that does not say its version"
    found = f"{escaped(product)} at {masked(url)}"
    if url.startswith("amqps"):
        return Finding("broker", "ok", f"{found}, its certificate checked")
    if is_loopback(URL(url).host or ""):
        return Finding("broker", "ok", found)
    return Finding("broker", "note", f"{found}, in plain text (broker.allow_plain)", "use amqps:// where it can be had")


def no_broker(error: BrokerError) -> Finding:
    """The finding for a broker that could not be reached."""
    what, advice = (error.what, error.advice) if isinstance(error, BrokerUnreachable) else (str(error), None)
    return Finding("broker", "wrong", what, advice or "start RabbitMQ, or set broker.url (SIGNALQ_BROKER__URL)")


async def check_retired_lanes(settings: Settings, connection: AbstractConnection) -> AsyncIterator[Finding]:
    """Lanes of connectors that the settings name no more, and that are still there; the ledger remembers them."""
    try:
        async with LedgerClient(settings.ledger.url.get_secret_value()) as ledger:
            known = await ledger.read(known_lanes)
        inspector = Inspector(connection)
        for queue in lanes.retired(settings, known):
            depth = await inspector.depth(queue)
            if depth is not None:
                found = f"{escaped(queue)} belongs to no connector of these settings, {depth.ready:,} ready"
                yield Finding("retired lane", "note", found, _DELETE_WHEN_EMPTY)
        await inspector.close()
    except (SignalQError, ModuleNotFoundError):
        return  # trouble with the ledger or the broker has a finding of its own
