"""Broker prefixes on lease: a topology takes the broker half a second to make and as long to delete.

A prefix that a test gives back is put in order and lent again: its queues are empty and nobody consumes from them, its
own lanes and its ledger file are gone, its exchanges have the bindings of the topology and no others. What can't be put
in order is deleted. A test that changes the ladder or a queue's arguments is marked `bare_prefix`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence

import aiormq
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.names import Names
from tests.support.amqp import plain_channel
from tests.support.consumer import forget_ledger
from tests.support.lanes import forget_lanes, noted_queues

ANSWER_TIMEOUT_S = 10.0
# A consumer that has just been killed is still one for the broker until it has noticed.
EMPTY_WITHIN_S = 3.0
LOOK_AGAIN_S = 0.05

_free: dict[str, list[str]] = defaultdict(list)


def new_prefix() -> str:
    """A prefix under which nothing was ever declared."""
    return f"test-{uuid.uuid4().hex[:12]}"


async def lend(url: str) -> str:
    """A prefix whose topology is declared, and empty."""
    if _free[url]:
        return _free[url].pop()
    prefix = new_prefix()
    connection = await connect(url, name="signalq tests' prefixes")
    try:
        await Topology(Names(prefix)).declare(connection)
    finally:
        await connection.close()
    return prefix


async def give_back(url: str, prefix: str, further_queues: Sequence[str]) -> None:
    """Put it in order for the next test; `further_queues` are those that this test made beside the topology's."""
    topology = Topology(Names(prefix))
    try:
        async with plain_channel(url) as channel:
            for queue in [*noted_queues(prefix), *further_queues]:
                await channel.queue_delete(queue, timeout=ANSWER_TIMEOUT_S)
            is_in_order = await _put_in_order(channel, topology)
    except aiormq.AMQPError:
        is_in_order = False
    forget_lanes(prefix)
    forget_ledger(prefix)
    if is_in_order:
        _free[url].append(prefix)
    else:
        await delete(url, prefix, further_queues)


async def _put_in_order(channel: AbstractChannel, topology: Topology) -> bool:
    """Give it its own bindings alone, and empty it; whether it is at rest. Raises where a queue is not there."""
    names = topology.names
    # With these go all bindings that a test made, from them or to them; to the ladder none makes any other.
    remade = {names.orders, names.unrouted, names.outcomes}
    for exchange in remade:
        await channel.exchange_delete(exchange, timeout=ANSWER_TIMEOUT_S)
    for declared in topology.exchanges():
        if declared.name in remade:
            await channel.exchange_declare(
                declared.name,
                exchange_type=declared.kind,
                durable=True,
                arguments=declared.arguments,
                timeout=ANSWER_TIMEOUT_S,
            )
    for binding in topology.bindings():
        if binding.source in remade:
            await channel.queue_bind(binding.destination, binding.source, binding.routing_key, timeout=ANSWER_TIMEOUT_S)
    try:
        async with asyncio.timeout(EMPTY_WITHIN_S):
            while not await _is_at_rest(channel, topology):
                for queue in topology.queues():
                    await channel.queue_purge(queue.name, timeout=ANSWER_TIMEOUT_S)
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        return False
    return True


async def _is_at_rest(channel: AbstractChannel, topology: Topology) -> bool:
    """Whether all of its queues are empty, and nobody consumes from them."""
    for queue in topology.queues():
        found = await channel.queue_declare(queue.name, passive=True, timeout=ANSWER_TIMEOUT_S)
        if found.message_count or found.consumer_count:
            return False
    return True


async def delete(url: str, prefix: str, further_queues: Sequence[str] = ()) -> None:
    """Delete all of it, whatever is there."""
    topology = Topology(Names(prefix))
    async with plain_channel(url) as channel:
        for queue in [*(queue.name for queue in topology.queues()), *noted_queues(prefix), *further_queues]:
            await channel.queue_delete(queue, timeout=ANSWER_TIMEOUT_S)
        for exchange in topology.exchanges():
            await channel.exchange_delete(exchange.name, timeout=ANSWER_TIMEOUT_S)
    forget_lanes(prefix)
    forget_ledger(prefix)


async def delete_all(url: str) -> None:
    """Delete every prefix that is free, at the end of a run on somebody else's broker."""
    while _free[url]:
        await delete(url, _free[url].pop())
