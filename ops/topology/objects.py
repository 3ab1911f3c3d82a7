"""`signalq topology`: the objects on the broker under our prefix, as they are and as they should be."""

from dataclasses import dataclass
from typing import Any

from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import LedgerMark, held_mark, replace_mark
from signalq.consumer.broker.topology import topology_of
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit
from signalq.consumer.ledger.queries.audit import Act
from signalq.names import Names
from signalq.ops.ledger import open_ledger
from signalq.settings.sections import Settings


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of declaring: the counts of objects and bindings, and the objects that were `added`."""

    objects: int
    bindings: int
    added: list[str]


async def apply(settings: Settings) -> Applied:
    """Declare all objects. Raises TopologyError if one is there with other arguments, BrokerUnreachable."""
    topology = topology_of(settings)
    async with await _connected(settings) as connection:
        missing = await topology.missing(connection)
        await topology.declare(connection)
    objects = sum(1 for _ in topology.exchanges()) + sum(1 for _ in topology.queues())
    return Applied(objects, sum(1 for _ in topology.bindings()), missing)


async def adopt_ledger(settings: Settings, actor: Actor) -> LedgerMark:
    """Let the lanes belong to the ledger of these settings, whichever they belonged to before.

    Raises CommandFailed if there is no such ledger, BrokerUnreachable.
    """
    names = Names(settings.broker.prefix)
    async with open_ledger(settings) as ledger, await _connected(settings) as connection:
        if settings.broker.topology == "declare":
            await topology_of(settings).declare(connection)
        before = await held_mark(connection, names)
        await replace_mark(connection, names, ledger.mark)
        act = Act("adopt-ledger", {"ledger": ledger.shown, "before": before.ledger if before else None}, done=1)
        await ledger.transact(lambda now: audit.note(now, clock_ms(now), actor, act))
        return ledger.mark


async def rows(settings: Settings) -> list[dict[str, Any]]:
    """Every exchange, queue and binding that should be there, as JSON objects; `state` says what is.

    AMQP can't look for a binding: it counts as present while both its ends are, since it was declared with them. An
    object with other arguments or of another type differs, and `why` says how. Raises BrokerUnreachable.
    """
    topology = topology_of(settings)
    async with await _connected(settings) as connection:
        missing = set(await topology.missing(connection))
        differing = (await topology.differing(connection, missing)).sentences
        depths = await topology.depths(connection)

    def state_of(title: str) -> dict[str, str]:
        if title in differing:
            return {"state": "differs", "why": differing[title]}
        return {"state": "missing" if title in missing else "present"}

    found: list[dict[str, Any]] = [
        {"object": "exchange", "name": exchange.name, "type": exchange.kind} | state_of(exchange.title)
        for exchange in topology.exchanges()
    ]
    for queue in topology.queues():
        depth = depths[queue.name]
        counts = {"ready": depth.ready if depth else None, "consumers": depth.consumers if depth else None}
        found.append({"object": "queue", "name": queue.name, "type": "quorum"} | state_of(queue.title) | counts)
    for binding in topology.bindings():
        name = f"{binding.source} -> {binding.destination}"
        ends = {f"exchange {binding.source}", f"queue {binding.destination}"}
        state = {"state": "missing" if ends & missing else "present", "routing_key": binding.routing_key}
        found.append({"object": "binding", "name": name, "type": "to queue"} | state)
    return found


async def _connected(settings: Settings) -> AbstractConnection:
    url = settings.broker.url.get_secret_value()
    return await connect(url, name="signalq topology", heartbeat_s=settings.broker.heartbeat_s)
