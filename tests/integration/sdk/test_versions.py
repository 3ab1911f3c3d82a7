"""What differs between RabbitMQ 3.10 and 4.3, and must make no difference; see `./run test-rabbitmq`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import aiormq
import pytest
from pamqp.commands import Basic

from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.local import Installation, PrivateRabbitMQ, find_installation
from signalq.names import Names
from tests.support import site
from tests.support.amqp import drain, publish
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.skipping import skip_outside_ci
from tests.support.webhook import Order, Webhook

# Without what is promised here it would be a second or more.
LATE_MS_MAX = 600


@pytest.fixture
def older_broker() -> Iterator[PrivateRabbitMQ]:
    """A node of this system's own RabbitMQ, where that is of the 3.x series and the run is about a newer one."""
    found = find_installation()
    if found is None:
        skip_outside_ci("needs a RabbitMQ 3.x beside the newer one: there is none here")
    with PrivateRabbitMQ(found) as broker:
        if not broker.ctl("version").startswith("3."):
            skip_outside_ci("needs a RabbitMQ 3.x beside the newer one: this system's own is newer")
        yield broker


@pytest.mark.versions
async def test_a_topology_made_on_rabbitmq_3_is_accepted_unchanged_and_a_delayed_intent_goes_its_whole_way(
    older_broker: PrivateRabbitMQ, mortal_broker: PrivateRabbitMQ, webhook: Webhook, tmp_path: Path, names: Names
) -> None:
    topology, definitions = Topology(names), str(tmp_path / "definitions.json")
    async with await connect(older_broker.url, name="signalq test") as connection:
        await topology.declare(connection)
    await asyncio.to_thread(older_broker.ctl, "export_definitions", definitions)
    await asyncio.to_thread(mortal_broker.ctl, "import_definitions", definitions)
    async with await connect(mortal_broker.url, name="signalq test") as connection:
        assert await topology.missing(connection) == [], "it came over"
        await topology.declare(connection)
    async with Consumer(mortal_broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await publish(mortal_broker.url, names.orders, "main", *delayed("a delayed one", 2.2))
        (order,) = await webhook.received(1)
    assert is_on_time(order)


async def test_the_priority_of_one_producer_holds_up_no_delayed_intent_of_another(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    """RabbitMQ 4.0 has two levels in quorum queues; what stands at the head of one keeps the other from expiring."""
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await publish(broker.url, names.orders, "main", *delayed("a while", 1.2))
        await publish(broker.url, names.orders, "main", *delayed("without", 2.2))
        await webhook.received(1)
        await publish(broker.url, names.orders, "main", *delayed("with one", 2.2, priority=9))
        orders = await webhook.received(3)
    assert [what_it_is(order) for order in orders] == ["a while", "without", "with one"]
    assert all(is_on_time(order) for order in orders)


def delayed(what: str, delay_s: float, priority: int | None = None) -> tuple[bytes, Basic.Properties]:
    """A delayed open, created now, and its properties; its log tells when it is due."""
    created_ms = time.time_ns() // 1_000_000
    order = {"connectorName": "main", "connectorToken": "t", "action": "openLong", "percent": "1"}
    order |= {"log": f"{what}@{created_ms + round(delay_s * 1000)}", "delaySeconds": str(delay_s)}
    headers = {"signalq-created-ms": created_ms}
    return json.dumps(order).encode(), Basic.Properties(delivery_mode=2, priority=priority, headers=headers)


def what_it_is(order: Order) -> str:
    return str(order.json["log"].split("@")[0])


def is_on_time(order: Order) -> bool:
    late_ms = order.at_ns / 1e6 - int(order.json["log"].split("@")[1])
    return 0 <= late_ms <= LATE_MS_MAX


@pytest.mark.versions
async def test_a_node_starts_with_the_configuration_for_kubernetes_and_stamps_what_it_takes(
    installation: Installation, rabbitmq_version: str | None
) -> None:
    """3.10 does not start with it; the image of deploy/kubernetes/rabbitmq is newer."""
    (cluster,) = site.manifests("cluster.yaml")
    lines = cluster["spec"]["rabbitmq"]["additionalConfig"].splitlines()
    unknown = ("#",) if rabbitmq_version == "4.3" else ("#", "consumer_disconnected_timeout")
    known = [line for line in lines if not line.startswith(unknown)]
    with PrivateRabbitMQ(installation, configuration=known) as broker:
        async with await connect(broker.url, name="signalq test") as connection:
            topology = Topology(Names())
            await topology.declare(connection)
        before_ms = time.time_ns() // 1_000_000
        await publish(broker.url, topology.names.orders, "main", b"{}")
        (message,) = await drain(broker.url, topology.names.orders, 1)
        stamp_ms = message.headers["timestamp_in_ms"]
        assert isinstance(stamp_ms, int)
        assert before_ms <= stamp_ms <= time.time_ns() // 1_000_000
        theirs = Basic.Properties(delivery_mode=2, headers={"timestamp_in_ms": 7})
        await publish(broker.url, topology.names.orders, "main", b"{}", theirs)
        (message,) = await drain(broker.url, topology.names.orders, 1)
        assert message.headers["timestamp_in_ms"] == 7
        with pytest.raises(aiormq.exceptions.AMQPError):
            await publish(broker.url, topology.names.orders, "main", bytes(1_048_577))
