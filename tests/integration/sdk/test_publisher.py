"""The publisher on a real broker: properties, routing, refusals, lost and blocked connections."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pamqp.commands import Basic

from signalq import OrderIntent, OrderPublisher, SyncOrderPublisher, Unconfirmed, Unroutable
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import depth, drain, plain_channel, wait_until
from tests.support.broker import STRATEGY, close_connections, is_under_way, through
from tests.support.proxy import Proxy

INTENT = OrderIntent(connector_name="main", action="openLong", percent="50")


@pytest_asyncio.fixture
async def confirmed(broker: Any) -> AsyncIterator[ConfirmedPublisher]:
    """The publisher below the SDK, which may publish anywhere."""
    publisher = ConfirmedPublisher(broker.url, name="signalq test")
    yield publisher
    await publisher.close()


# --- properties and routing --------------------------------------------------------------------------------------


async def test_a_message_carries_every_property_of_the_contract(
    broker: Any, names: Names, publisher: OrderPublisher
) -> None:
    receipt = await publisher.publish(INTENT)
    (message,) = await drain(broker.url, names.orders, 1)
    assert message.properties.content_type == "application/json"
    assert message.properties.delivery_mode == 2
    assert message.properties.message_id == receipt.message_id
    assert message.properties.app_id == STRATEGY
    assert int(message.properties.timestamp.timestamp()) == receipt.created_ms // 1000
    assert message.headers == {"signalq-created-ms": receipt.created_ms}
    assert message.properties.expiration is None


async def test_an_order_goes_to_the_exchange_by_its_connector_and_without_a_lane_to_the_shared_one(
    broker: Any, names: Names, publisher: OrderPublisher
) -> None:
    await publisher.publish(INTENT)
    (message,) = await drain(broker.url, names.orders, 1)
    assert (message.exchange, message.routing_key) == (names.orders, "main")


async def test_an_order_whose_connector_has_a_lane_goes_there_alone(
    broker: Any, names: Names, publisher: OrderPublisher, leftover_queues: list[str]
) -> None:
    lane = f"{names.orders}.main"
    leftover_queues.append(lane)
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(lane, durable=True)
        await channel.queue_bind(lane, names.orders, "main")
    await publisher.publish(INTENT, message_id="own")
    await publisher.publish(INTENT.model_copy(update={"connector_name": "other"}), message_id="shared")
    assert [message.properties.message_id for message in await drain(broker.url, lane, 1)] == ["own"]
    assert [message.properties.message_id for message in await drain(broker.url, names.orders, 1)] == ["shared"]


async def test_the_longest_connector_name_is_routed(broker: Any, names: Names, publisher: OrderPublisher) -> None:
    await publisher.publish(INTENT.model_copy(update={"connector_name": "\U0001f680" * 32}))
    (message,) = await drain(broker.url, names.orders, 1)
    assert message.routing_key == "\U0001f680" * 32


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.bare_prefix
async def test_a_missing_exchange_is_unroutable_with_the_identity_and_what_to_do(broker: Any, prefix: str) -> None:
    async with OrderPublisher(broker.url, prefix=prefix) as orders:
        with pytest.raises(Unroutable, match="topology apply") as refusal:
            await orders.publish(INTENT, message_id="id-1")
    assert refusal.value.message_id == "id-1"
    assert f"{prefix}.orders" in str(refusal.value)


@pytest.mark.bare_prefix
async def test_after_a_refusal_the_next_publish_works(broker: Any, connection: Any, names: Names) -> None:
    async with OrderPublisher(broker.url, prefix=names.prefix) as orders:
        with pytest.raises(Unroutable):
            await orders.publish(INTENT)
        await Topology(names).declare(connection)
        await orders.publish(INTENT, message_id="id-1")
    assert [message.properties.message_id for message in await drain(broker.url, names.orders)] == ["id-1"]


async def test_a_message_that_no_queue_takes_is_unroutable(confirmed: ConfirmedPublisher, prefix: str) -> None:
    with pytest.raises(Unroutable) as refusal:
        await confirmed.publish("", f"{prefix}.nowhere", b"x", Basic.Properties(message_id="id-1"))
    assert refusal.value.message_id == "id-1"


async def test_two_messages_with_one_identity_to_nowhere_are_both_unroutable(
    confirmed: ConfirmedPublisher, prefix: str
) -> None:
    refusals = await asyncio.gather(
        *(confirmed.publish("", f"{prefix}.nowhere", b"x", Basic.Properties(message_id="id-1")) for _ in range(2)),
        return_exceptions=True,
    )
    assert [type(refusal) for refusal in refusals] == [Unroutable, Unroutable]


async def test_only_the_message_to_nowhere_is_unroutable_of_two_with_one_identity(
    broker: Any, confirmed: ConfirmedPublisher, topology: Topology
) -> None:
    properties = Basic.Properties(message_id="id-1")
    refused, taken = await asyncio.gather(
        confirmed.publish("", f"{topology.names.prefix}.nowhere", b"x", properties),
        confirmed.publish("", topology.names.dead, b"x", properties),
        return_exceptions=True,
    )
    assert isinstance(refused, Unroutable)
    assert taken is None
    assert await depth(broker.url, topology.names.dead) == 1


async def test_after_a_message_that_the_broker_refuses_the_next_one_goes_by_a_new_channel(
    broker: Any, confirmed: ConfirmedPublisher, topology: Topology, leftover_queues: list[str]
) -> None:
    """A channel may hold on to a quorum queue's leader that is gone, and be refused for as long as that is away."""
    names = topology.names
    full = f"{names.prefix}.full"
    leftover_queues.append(full)
    async with plain_channel(broker.url) as channel:
        arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.queue_declare(full, durable=True, arguments=arguments)
    await confirmed.publish("", full, b"1", Basic.Properties())
    spent = await confirmed.channel()
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(confirmed.publish("", names.dead, b"2", Basic.Properties())) for _ in range(20)]
        with pytest.raises(Unconfirmed, match="refused"):
            await confirmed.publish("", full, b"3", Basic.Properties())
    assert all(task.exception() is None for task in others), "those that were on their way are confirmed all the same"
    assert await confirmed.channel() is not spent
    await wait_until(lambda: spent.channel.is_closed)
    await confirmed.publish("", names.dead, b"4", Basic.Properties())


async def test_a_refused_exchange_makes_no_other_publish_unroutable(
    broker: Any, confirmed: ConfirmedPublisher, topology: Topology
) -> None:
    """The refusal closes the channel for all; a message already in its queue must not be called unroutable."""
    dead = topology.names.dead
    await confirmed.channel()
    outcomes = await asyncio.gather(
        confirmed.publish("", dead, b"taken", Basic.Properties(message_id="id-1", delivery_mode=2)),
        confirmed.publish(f"{topology.names.prefix}.none", "x", b"refused", Basic.Properties(message_id="id-2")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], Unroutable)
    assert outcomes[0] is None or isinstance(outcomes[0], Unconfirmed)
    assert [message.body for message in await drain(broker.url, dead, 1)] == [b"taken"]


async def test_a_failed_publish_leaves_nothing_behind_for_its_identity(
    confirmed: ConfirmedPublisher, topology: Topology
) -> None:
    properties = Basic.Properties(message_id="id-1")
    with pytest.raises(Unroutable):
        await confirmed.publish("", f"{topology.names.prefix}.nowhere", b"x", properties)
    await confirmed.publish("", topology.names.dead, b"x", properties)
    assert not is_under_way(confirmed)


async def test_messages_that_wait_for_a_channel_leave_before_one_that_comes_as_soon_as_it_is_open(
    broker: Any, confirmed: ConfirmedPublisher, topology: Topology
) -> None:
    dead = topology.names.dead

    async def publish(number: int) -> None:
        await confirmed.publish("", dead, b"%d" % number, Basic.Properties(delivery_mode=2))

    async def come_late(number: int) -> None:
        while confirmed._open is None:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
        await publish(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(publish(number))
        group.create_task(come_late(5))
    assert [message.body for message in await drain(broker.url, dead, 6)] == [b"%d" % number for number in range(6)]


# --- connections lost and blocked --------------------------------------------------------------------------------


async def test_a_connection_killed_among_publishes_loses_none_and_the_next_works(
    broker: Any, own_broker: PrivateRabbitMQ, names: Names, publisher: OrderPublisher
) -> None:
    """Confirmed messages are there; the others are named as unconfirmed, by their identity, and can be repeated."""
    stop = threading.Event()
    outcomes: dict[str, Unconfirmed | None] = {}

    async def keep_publishing() -> None:
        while not stop.is_set():
            message_id = f"id-{len(outcomes)}"
            try:
                await publisher.publish(INTENT, message_id=message_id)
                outcomes[message_id] = None
            except Unconfirmed as error:
                outcomes[message_id] = error

    publishing = asyncio.create_task(keep_publishing())
    await wait_until(lambda: len(outcomes) > 10, what="the first publishes")
    await close_connections(own_broker, f"signalq publisher {STRATEGY}")
    so_far = len(outcomes)
    await wait_until(lambda: len(outcomes) > so_far + 10, what="publishes after the connection was killed")
    stop.set()
    await publishing
    await publisher.publish(INTENT, message_id="last")
    assert all(error is None or error.message_id == message_id for message_id, error in outcomes.items())
    confirmed_ids = {message_id for message_id, error in outcomes.items() if error is None} | {"last"}
    arrived = {message.properties.message_id for message in await drain(broker.url, names.orders)}
    assert confirmed_ids <= arrived
    assert arrived <= outcomes.keys() | {"last"}


async def test_a_publish_waits_for_a_broker_that_is_down_and_arrives_when_it_is_back(
    broker: Any, names: Names, topology: Topology, link: Proxy
) -> None:
    await link.cut(refuse=True)
    orders = OrderPublisher(through(link, broker.url), prefix=names.prefix)
    publishing = asyncio.create_task(orders.publish(INTENT, message_id="meanwhile"))
    finished, _ = await asyncio.wait([publishing], timeout=0.2)
    assert not finished
    link.heal()
    assert (await publishing).message_id == "meanwhile"
    await orders.close()
    assert [message.properties.message_id for message in await drain(broker.url, names.orders, 1)] == ["meanwhile"]


async def test_a_connection_cut_before_the_confirm_is_unconfirmed_and_the_next_publish_works(
    broker: Any, names: Names, topology: Topology, link: Proxy
) -> None:
    async with OrderPublisher(through(link, broker.url), prefix=names.prefix) as orders:
        link.stall()
        publishing = asyncio.create_task(orders.publish(INTENT, message_id="id-1"))
        finished, _ = await asyncio.wait([publishing], timeout=0.2)
        assert not finished
        await link.cut()
        with pytest.raises(Unconfirmed, match="before RabbitMQ confirmed") as refusal:
            await publishing
        assert refusal.value.message_id == "id-1"
        link.heal()
        await orders.publish(INTENT, message_id="id-1")
    arrived = {message.properties.message_id for message in await drain(broker.url, names.orders, 1)}
    assert arrived == {"id-1"}


@pytest_asyncio.fixture
async def memory_alarm(own_broker: PrivateRabbitMQ) -> AsyncIterator[Any]:
    """`await memory_alarm(True)` makes the broker stop reading from publishers, `False` ends it."""

    async def alarm(on: bool) -> None:
        await asyncio.to_thread(own_broker.ctl, "set_vm_memory_high_watermark", "0" if on else "0.6")
        # What set it returns before its connections have been told; whoever can list it has told them.
        await wait_until(lambda: _is_alarmed(own_broker, on), what=f"the alarm to be {'on' if on else 'off'}")

    yield alarm
    await alarm(False)


async def _is_alarmed(broker: PrivateRabbitMQ, wanted: bool) -> bool:
    return wanted == ("memory" in await asyncio.to_thread(broker.evaluate, "rabbit_alarm:get_alarms()."))


async def test_a_publish_to_a_blocked_broker_is_unconfirmed_in_time_and_works_again_afterwards(
    own_broker: PrivateRabbitMQ, names: Names, topology: Topology, memory_alarm: Any
) -> None:
    async with OrderPublisher(own_broker.url, prefix=names.prefix, publish_timeout_s=0.3) as orders:
        await memory_alarm(True)
        with pytest.raises(Unconfirmed, match="did not confirm within") as refusal:
            await orders.publish(INTENT, message_id="id-1")
        assert refusal.value.message_id == "id-1"
        await memory_alarm(False)

        async def published_again() -> bool:
            try:
                await orders.publish(INTENT, message_id="id-1")
            except Unconfirmed:
                return False
            return True

        await wait_until(published_again, what="a confirm after the alarm")
    arrived = {message.properties.message_id for message in await drain(own_broker.url, names.orders)}
    assert arrived == {"id-1"}


async def test_closing_a_publisher_ends_its_publishes_to_a_blocked_broker(
    own_broker: PrivateRabbitMQ, names: Names, topology: Topology, memory_alarm: Any
) -> None:
    orders = OrderPublisher(own_broker.url, prefix=names.prefix)
    await orders.__aenter__()
    await memory_alarm(True)
    publishing = asyncio.create_task(orders.publish(INTENT, message_id="id-1"))
    await wait_until(lambda: is_under_way(orders._publisher), what="the publish under way")
    await orders.close()
    with pytest.raises(Unconfirmed) as refusal:
        async with asyncio.timeout(10):
            await publishing
    assert refusal.value.message_id == "id-1"


async def test_closing_a_blocking_publisher_ends_the_publishes_of_other_threads(
    own_broker: PrivateRabbitMQ, names: Names, topology: Topology, memory_alarm: Any
) -> None:
    orders = SyncOrderPublisher(own_broker.url, prefix=names.prefix)
    await asyncio.to_thread(orders.__enter__)
    await memory_alarm(True)
    publishing = asyncio.create_task(asyncio.to_thread(orders.publish, INTENT, message_id="id-1"))
    await wait_until(
        lambda: is_under_way(orders._by_process[os.getpid()]._orders._publisher), what="the publish under way"
    )
    await asyncio.to_thread(orders.close)
    with pytest.raises(Unconfirmed):
        async with asyncio.timeout(10):
            await publishing
    assert "signalq-publisher" not in {thread.name for thread in threading.enumerate()}
