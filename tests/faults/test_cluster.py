"""A RabbitMQ cluster whose nodes are killed: the long form is `./run chaos-cluster`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pamqp.commands import Basic
from yarl import URL

from signalq.amqp.connection import connect
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.amqp.topology import Topology
from signalq.errors import BrokerError
from signalq.local import Installation, PrivateCluster
from signalq.names import Names
from tests.chaos.cluster.storm import Plan, storm
from tests.support.balancer import Balancer
from tests.support.broker import written_down
from tests.support.waiting import elapsed

pytestmark = pytest.mark.long

# Far less than a killed node needs to come back, which it does not here before we are done.
THROUGH_S = 5.0


@pytest.fixture(scope="module")
def cluster(installation: Installation) -> Iterator[PrivateCluster]:
    with PrivateCluster(installation) as nodes:
        yield nodes


async def test_while_the_node_that_led_a_queue_is_down_every_publisher_gets_through_to_it(
    cluster: PrivateCluster,
) -> None:
    """RabbitMQ 3.10 refuses everything on a channel that first published before another node had become the leader."""
    names = Names("through")
    async with Balancer([node.port for node in cluster.nodes]) as service:
        url = str(URL(cluster.nodes[0].url).with_port(service.port))
        connection = await connect(url, name="a test")
        topology = Topology(names)
        await topology.declare(connection)
        await connection.close()
        for node in cluster.nodes:
            await written_down(node, *(queue.name for queue in topology.queues()))
        leader = (await asyncio.to_thread(cluster.leaders))[names.orders]
        publishers = [ConfirmedPublisher(url, name=f"publisher {at}") for at in range(30)]
        await asyncio.to_thread(leader.kill)
        try:
            slowest_s = max(await asyncio.gather(*(_through_s(each, names) for each in publishers)))
        finally:
            for publisher in publishers:
                await publisher.close()
            await asyncio.to_thread(leader.start)
            await asyncio.to_thread(cluster.wait_until_whole)
        assert slowest_s < THROUGH_S
        assert names.orders in await asyncio.to_thread(cluster.leaders)


async def test_a_node_an_active_consumer_and_the_databases_sessions_struck_down_under_load_break_no_law(
    installation: Installation, rabbitmq_version: str | None, tmp_path: Path
) -> None:
    plan = Plan(intents=400, strikes=1, seed=11, installation=installation, version=rabbitmq_version)
    async with storm(plan, tmp_path) as running:
        account = await running.run()
        account.check(doubts_max=running.doubts_max + running.play.accountant.unknown_answers, reasons={"rejected"})
        assert not running.without_an_ending
        assert not running.bad_drains
        assert not running.unforeseen


async def _through_s(publisher: ConfirmedPublisher, names: Names) -> float:
    """From now until it has published one message, trying again as long as it must."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + 4 * THROUGH_S:
        try:
            await publisher.publish("", names.orders, b"{}", Basic.Properties(delivery_mode=2))
        except BrokerError:
            await elapsed(0.05)
        else:
            break
    return time.monotonic() - began_s
