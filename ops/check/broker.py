"""Findings on the broker: its version and its encryption, its exchanges and queues, and the messages in them."""

from collections.abc import AsyncIterator, Iterator, Mapping

from aio_pika.abc import AbstractConnection
from yarl import URL

from signalq.amqp.address import is_loopback
from signalq.amqp.inspect import QueueDepth, queue_depth
from signalq.amqp.topology import Differing
from signalq.consumer.broker.topology import topology_of
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries.lanes import known_lanes
from signalq.consumer.orders import lanes
from signalq.errors import BrokerError, BrokerUnreachable, SignalQError
from signalq.kinds import Kind
from signalq.names import Names
from signalq.ops.check.finding import Finding, FindingState, named
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings

_DELETE_WHEN_EMPTY = "a consumer forwards the orders in it; delete the queue once it is empty"

Depths = Mapping[str, QueueDepth | None]


def check_broker(url: str, connection: AbstractConnection) -> Finding:
    """The product, its version, and whether the connection is encrypted."""
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
    advice = advice or "start RabbitMQ, or set broker.url (SIGNALQ_BROKER__URL)"
    return Finding("broker", "wrong", what, advice, error.kind)


async def check_topology(settings: Settings, connection: AbstractConnection) -> AsyncIterator[Finding]:
    """The objects themselves, then the consumers."""
    names = Names(settings.broker.prefix)
    topology = topology_of(settings)
    try:
        missing = await topology.missing(connection)
        differing = await topology.differing(connection, missing)
        depths = await topology.depths(connection)
    except BrokerError as error:
        advice = "grant this user read on what is under the prefix"
        yield Finding("topology", "wrong", str(error), advice, error.kind)
        return
    total = sum(1 for _ in topology.exchanges()) + sum(1 for _ in topology.queues())
    yield _objects(settings, missing, differing, depths, total)
    for finding in _consumers(names, depths):
        yield finding


def _objects(settings: Settings, missing: list[str], differing: Differing, depths: Depths, total: int) -> Finding:
    """The exchanges and queues; the state is `wrong` if a consumer that starts would not put them right."""
    prefix = settings.broker.prefix
    if differing.sentences:
        found = named(list(map(escaped, differing.sentences.values())), apart="; ")
        also = f"; {_missing(missing, total, prefix)}" if missing else ""
        advice = "nothing is forced: `signalq topology show` names all of it"
        return Finding("topology", "wrong", found + also, advice, Kind.WRONG_TOPOLOGY)
    if not missing:
        found = f"all {total} exchanges and queues of {prefix} are there"
        if differing.uncompared:
            count = len(differing.uncompared)
            found += f"; whether {count} of them are as they should be, only a user who may declare them can ask"
        return Finding("topology", "ok", found)
    found = _missing(missing, total, prefix)
    if settings.broker.topology == "passive":
        advice = "ask the person who declares it to run `signalq topology apply`"
        return Finding("topology", "wrong", found, advice, Kind.WRONG_TOPOLOGY)
    served = any(depth is not None and depth.consumers for depth in depths.values())
    if served:
        advice = "run `signalq topology apply`, or start the consumer again"
        return Finding("topology", "wrong", found, advice, Kind.WRONG_TOPOLOGY)
    return Finding("topology", "note", found, "`signalq consume` makes it, and so does `signalq topology apply`")


def _missing(missing: list[str], total: int, prefix: str) -> str:
    if len(missing) == total:
        return f"nothing is declared under {prefix} yet"
    return f"{len(missing)} of {total} objects are missing: {named(list(map(escaped, missing)))}"


def _consumers(names: Names, depths: Depths) -> Iterator[Finding]:
    there = {name: depth for name, depth in depths.items() if depth is not None}
    waiting = there.get(names.orders)
    held = sum(depth.ready for name, depth in there.items() if names.is_delay(name))
    delayed = f", {held:,} delayed" if held else ""
    if waiting is not None and waiting.consumers:
        yield Finding("consumer", "ok", f"{waiting.consumers} connected, {waiting.ready:,} waiting{delayed}")
    elif waiting is not None:
        # Without a consumer, ready orders grow old and die: then it is wrong, not merely quiet.
        state: FindingState = "wrong" if waiting.ready else "note"
        found = f"none connected, {waiting.ready:,} waiting{delayed}"
        yield Finding("consumer", state, found, "start one with `signalq consume`")


async def check_retired_lanes(
    settings: Settings, connection: AbstractConnection, ledger: LedgerClient
) -> AsyncIterator[Finding]:
    """Lanes of connectors that the settings name no more, and that are still there; the ledger remembers them."""
    try:
        known = await ledger.read(known_lanes)
        for queue in lanes.retired(settings, known):
            depth = await queue_depth(connection, queue)
            if depth is not None:
                found = f"{escaped(queue)} belongs to no connector of these settings, {depth.ready:,} ready"
                yield Finding("retired lane", "note", found, _DELETE_WHEN_EMPTY)
    except SignalQError:
        return  # trouble with the ledger or the broker has a finding of its own
