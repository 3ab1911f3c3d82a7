"""The topology on a real RabbitMQ: declared, declared again, refused; and the ladder at work."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic
from yarl import URL

from signalq.amqp.inspect import QueueDepth, queue_depth
from signalq.amqp.topology import OwnLane, Topology, ladder_entry, unbind_lane
from signalq.errors import TopologyError
from signalq.names import Names
from tests.support.amqp import depth, drain, plain_channel, publish, publish_all, wait_until


@pytest.mark.bare_prefix
async def test_declaring_twice_changes_nothing(broker: Any, connection: AbstractConnection, topology: Topology) -> None:
    await publish(broker.url, "", topology.names.dead, b"kept")
    await topology.declare(connection)
    assert await topology.missing(connection) == []
    assert [message.body for message in await drain(broker.url, topology.names.dead, 1)] == [b"kept"]


async def test_missing_objects_are_named(broker: Any, connection: AbstractConnection, topology: Topology) -> None:
    names = topology.names
    async with plain_channel(broker.url) as channel:
        await channel.queue_delete(names.dead)
        await channel.exchange_delete(names.outcomes)
    assert await topology.missing(connection) == [f"exchange {names.outcomes}", f"queue {names.dead}"]


@pytest.mark.bare_prefix
async def test_where_nothing_was_declared_everything_is_missing_and_asking_declares_nothing(
    connection: AbstractConnection, names: Names
) -> None:
    topology = Topology(names)
    everything = [f"exchange {one.name}" for one in topology.exchanges()]
    everything += [f"queue {one.name}" for one in topology.queues()]
    for _ in range(2):
        assert await topology.missing(connection) == everything


@pytest.mark.bare_prefix
async def test_a_queue_with_another_argument_is_named_and_left_as_it_is(
    broker: Any, connection: AbstractConnection, names: Names
) -> None:
    theirs = {"x-queue-type": "quorum", "x-delivery-limit": 7}
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(names.dead, durable=True, arguments=theirs)
    await publish(broker.url, "", names.dead, b"theirs")
    with pytest.raises(TopologyError) as refusal:
        await Topology(names).declare(connection)
    assert f"queue {names.dead} is there with other arguments" in str(refusal.value)
    assert "x-delivery-limit" in str(refusal.value)
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(names.dead, durable=True, arguments=theirs)
    assert [message.body for message in await drain(broker.url, names.dead, 1)] == [b"theirs"]


@pytest.mark.bare_prefix
async def test_an_exchange_of_another_kind_is_named_and_left_as_it_is(
    broker: Any, connection: AbstractConnection, names: Names
) -> None:
    async with plain_channel(broker.url) as channel:
        await channel.exchange_declare(names.outcomes, exchange_type="fanout", durable=True)
    with pytest.raises(TopologyError, match=f"exchange {names.outcomes} is there with other arguments"):
        await Topology(names).declare(connection)
    async with plain_channel(broker.url) as channel:
        await channel.exchange_declare(names.outcomes, exchange_type="fanout", durable=True)


@pytest.mark.bare_prefix
async def test_after_a_refusal_the_connection_still_serves(
    broker: Any, connection: AbstractConnection, names: Names
) -> None:
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(names.due, durable=True)
    with pytest.raises(TopologyError):
        await Topology(names).declare(connection)
    assert await queue_depth(connection, names.due) == QueueDepth(ready=0, consumers=0)


async def test_depths_are_those_of_every_queue(broker: Any, connection: AbstractConnection, topology: Topology) -> None:
    await publish_all(broker.url, "", topology.names.due, [(b"x", Basic.Properties(delivery_mode=2))] * 3)
    async with plain_channel(broker.url) as channel:
        await channel.queue_delete(topology.names.dead)
    depths = await topology.depths(connection)
    assert depths.keys() == {queue.name for queue in topology.queues()}
    assert depths[topology.names.due] == QueueDepth(ready=3, consumers=0)
    assert depths[topology.names.orders] == QueueDepth(ready=0, consumers=0)
    assert depths[topology.names.dead] is None


async def test_every_message_that_is_published_to_orders_reaches_the_shared_lane(
    broker: Any, topology: Topology
) -> None:
    for routing_key in ("main", "a.b.c", "", "#"):
        await publish(broker.url, topology.names.orders, routing_key, routing_key.encode())
    await publish(broker.url, "", topology.names.orders, b"straight to the queue")
    bodies = {message.body for message in await drain(broker.url, topology.names.orders, 5)}
    assert bodies == {b"main", b"a.b.c", b"", b"#", b"straight to the queue"}


# --- the ladder --------------------------------------------------------------------------------------------------


async def test_at_level_0_a_message_lands_in_due_after_a_second_as_it_was(broker: Any, topology: Topology) -> None:
    exchange, routing_key = ladder_entry(1, topology.names)
    assert exchange == topology.names.delay(0)
    sent = Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id="id-1",
        user_id=URL(broker.url).user or "guest",
        app_id="momentum",
        timestamp=datetime.fromtimestamp(1_700_000_000, tz=UTC),
        headers={"signalq-created-ms": 1_700_000_000_123, "traceparent": "00-a-b-01", "mine": 0.1},
    )
    await publish(broker.url, exchange, routing_key, b"body", sent)
    assert await depth(broker.url, topology.names.due) == 0
    (message,) = await drain(broker.url, topology.names.due, 1)
    assert message.body == b"body"
    for name in ("content_type", "delivery_mode", "message_id", "user_id", "app_id", "timestamp"):
        assert getattr(message.properties, name) == getattr(sent, name), name
    producers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
    assert producers == sent.headers


async def test_delays_of_1_2_and_4_seconds_come_back_in_this_order_and_none_early(
    broker: Any, topology: Topology
) -> None:
    published_at: dict[bytes, float] = {}
    for seconds in (4, 1, 2):
        published_at[b"%d" % seconds] = time.monotonic()
        await publish(broker.url, *ladder_entry(seconds, topology.names), b"%d" % seconds)
    order = []
    for _ in range(3):
        (message,) = await drain(broker.url, topology.names.due, 1, timeout_s=15)
        order.append(message.body)
        assert time.monotonic() - published_at[message.body] >= int(message.body)
    assert order == [b"1", b"2", b"4"]


async def test_equal_delays_fall_due_in_the_order_of_publishing(broker: Any, topology: Topology) -> None:
    bodies = [b"%d" % number for number in range(30)]
    messages = [(body, Basic.Properties(delivery_mode=2)) for body in bodies]
    await publish_all(broker.url, *ladder_entry(1, topology.names), messages)
    assert [message.body for message in await drain(broker.url, topology.names.due, 30)] == bodies


async def test_a_message_in_the_ladder_waits_in_the_queue_of_its_highest_bit(broker: Any, topology: Topology) -> None:
    await publish(broker.url, *ladder_entry(604_800, topology.names), b"next week")
    waiting_in = topology.names.delay(19)
    await wait_until(lambda: _is_one(broker.url, waiting_in), what=f"one message in {waiting_in}")


async def _is_one(url: str, queue: str) -> bool:
    return await depth(url, queue) == 1


# --- own lanes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(names: Names, leftover_queues: list[str]) -> Topology:
    """One strict lane, and one without order; not declared yet."""
    leftover_queues += [names.lane("main"), names.lane("many")]
    return Topology(names, (OwnLane("main"), OwnLane("many", strict=False)))


async def test_an_own_lane_is_fed_by_its_connectors_name_and_no_other(
    broker: Any, connection: AbstractConnection, own: Topology
) -> None:
    names = own.names
    assert f"queue {names.lane('main')}" in await own.missing(connection)
    await own.declare(connection)
    await own.declare(connection)
    assert await own.missing(connection) == []
    for routing_key in ("main", "many", "else"):
        await publish(broker.url, names.orders, routing_key, routing_key.encode())
    for queue, body in ((names.lane("main"), b"main"), (names.lane("many"), b"many"), (names.orders, b"else")):
        assert [message.body for message in await drain(broker.url, queue, 1)] == [body]


async def test_an_unbound_lane_gets_nothing_more_and_unbinding_twice_does_no_harm(
    broker: Any, connection: AbstractConnection, own: Topology
) -> None:
    await own.declare(connection)
    for _ in range(2):
        await unbind_lane(connection, own.names, "main")
    await publish(broker.url, own.names.orders, "main", b"to the shared lane")
    assert [one.body for one in await drain(broker.url, own.names.orders, 1)] == [b"to the shared lane"]


async def test_another_ordering_is_refused_with_what_to_do(
    connection: AbstractConnection, names: Names, own: Topology
) -> None:
    await own.declare(connection)
    with pytest.raises(
        TopologyError, match=r"set connectors\.many\.ordering back, or delete the queue once it is empty"
    ):
        await Topology(names, (OwnLane("many"),)).declare(connection)
