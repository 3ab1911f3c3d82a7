"""Several orders in one request, and the time that an order has of its own: HTTP in, a real broker behind it."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import depth, drain
from tests.support.broker import ExternalBroker, through
from tests.support.consumer import Consumer
from tests.support.gateways import ALERT, TOKEN, gateway
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

Broker = PrivateRabbitMQ | ExternalBroker

COPY = {"CONNECTORS__COPY__TOKEN": "the-token-of-copy"}


def order(number: int, connector: str = "main", **fields: object) -> dict[str, object]:
    token = TOKEN if connector == "main" else "the-token-of-copy"
    return ALERT | {"connectorName": connector, "connectorToken": token, "log": f"{number}"} | fields


@pytest.fixture
def queue(topology: Topology) -> str:
    """Where what has no lane of its own arrives."""
    return topology.names.orders


async def test_an_array_is_one_ok_and_a_message_each_in_its_order_with_the_ids_of_the_answer(
    broker: Broker, queue: str, prefix: str
) -> None:
    orders = [order(number, "copy" if number % 3 else "main") for number in range(20)]
    async with gateway(broker.url, prefix, **COPY) as front:
        ids = await front.ordered(orders)
        (alone,) = await front.ordered(order(20))
        messages = await drain(broker.url, queue, 21)
        assert [message.properties.message_id for message in messages] == [*ids, alone]
        assert len({*ids, alone}) == 21
        assert [json.loads(message.body) for message in messages] == [*orders, order(20)]
        assert [message.routing_key for message in messages[:3]] == ["main", "copy", "copy"]
        await wait_until(lambda: len(front.events("alert.published")) == 21)
        assert [line["message_id"] for line in front.events("alert.published")] == [*ids, alone]
        metrics = (await front.get("/metrics"))[1]
    assert 'signalq_gateway_requests_total{connector="main",status="200"} 2.0' in metrics
    assert 'signalq_gateway_requests_total{connector="copy",status="200"} 1.0' in metrics
    assert 'signalq_gateway_orders_total{connector="main"} 8.0' in metrics
    assert 'signalq_gateway_orders_total{connector="copy"} 13.0' in metrics


async def test_one_bad_order_and_none_is_published_and_answer_and_log_name_it(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix, **COPY) as front:
        for bad, status in ((order(1, percent="101"), 400), (order(1, connectorToken="wrong-one"), 401)):
            got, text = await front.post([order(0, "copy"), bad, order(2)])
            assert (got, json.loads(text)["order"]) == (status, 2)
            assert json.loads(text)["detail"].startswith("order 2: ")
            assert "wrong-one" not in text
        whys = [line["why"] for line in front.events("alert.refused")]
        assert whys[0].startswith("order 2: percent: ")
        assert whys[1] == "order 2: connectorToken: is not the connector's"
        assert [line.get("connector") for line in front.events("alert.refused")] == ["main", None]
    assert await depth(broker.url, queue) == 0


async def test_while_the_broker_is_away_an_array_is_503_and_its_repeat_is_the_same_orders(
    broker: Broker, link: Proxy, queue: str, prefix: str
) -> None:
    orders = [order(number) for number in range(5)]
    async with gateway(through(link, broker.url), prefix) as front:
        link.stall()
        assert (await front.post(orders))[0] == 503
        link.heal()
        ids = await front.ordered(orders)
        others = await front.ordered(orders)
        await wait_until(lambda: len(front.events("alert.published")) == 10)
        assert [line["repeat"] for line in front.events("alert.published")] == [True] * 5 + [False] * 5
        assert [line["message_id"] for line in front.events("alert.unconfirmed")] == ids
        assert "signalq_gateway_repeats_total 1.0" in (await front.get("/metrics"))[1]
    assert not {*ids} & {*others}
    messages = await drain(broker.url, queue, await depth(broker.url, queue) or 0)
    assert {message.properties.message_id for message in messages} == {*ids, *others}


async def test_the_rate_counts_orders_and_takes_an_array_whole_or_not_at_all(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix, GATEWAY__RATE_PER_S="0.1", **COPY) as front:
        assert len(await front.ordered([order(0), order(1), order(2)])) == 3
        status, text = await front.post([order(3, "copy"), order(4)])
        assert status == 429
        assert "gateway.rate_per_s" in text
        assert len(await front.ordered(order(5, "copy"))) == 1, "nothing was counted for the other one"
    assert await depth(broker.url, queue) == 4


async def test_a_reversal_is_posted_in_the_arrays_order_and_its_ids_lead_to_the_orders(
    broker: Broker, names: Names, prefix: str, topology: Topology, webhook: Webhook
) -> None:
    config = f'[connectors.main]\ntoken = "{TOKEN}"\n'
    async with (
        Consumer(broker.url, names.prefix, webhook.url, config=config) as consumer,
        gateway(broker.url, prefix) as front,
    ):
        await consumer.started()
        orders = [order(0, action="closeShort", percent="100"), *(order(number) for number in range(1, 10))]
        ids = await front.ordered(orders)
        await wait_until(lambda: len(consumer.events("intent.settled", status="delivered")) == 10)
        assert [one.json["log"] for one in webhook.orders] == [str(number) for number in range(10)]
        assert [line["intent_id"] for line in consumer.events("intent.settled")] == ids


async def test_an_orders_own_time_is_its_creation_and_is_not_passed_on(broker: Broker, queue: str, prefix: str) -> None:
    async with gateway(broker.url, prefix, GATEWAY__TIME_FIELD="time", **COPY) as front:
        before_ms = time.time_ns() // 1_000_000
        orders = [order(0, time="2026-01-31T12:00:00Z"), order(1, "copy", time=f"{before_ms - 5_000}"), order(2)]
        await front.ordered(orders)
        for bad, why in (("soon", "is no time"), (1_796_000_000, "before 2001"), ("2026-01-31T12:00:00", "no zone")):
            status, text = await front.post(order(3, time=bad))
            assert (status, why in text) == (400, True)
            assert why in front.events("alert.refused")[-1]["why"]
            assert str(bad) not in text.replace("2026-01-31T12:00:00Z", "")
    messages = await drain(broker.url, queue, 3)
    created = [message.headers["signalq-created-ms"] for message in messages]
    assert created[:2] == [1_769_860_800_000, before_ms - 5_000]
    assert before_ms <= created[2] <= time.time_ns() // 1_000_000
    assert [json.loads(message.body) for message in messages] == [order(0), order(1, "copy"), order(2)]


async def test_a_repeat_keeps_the_time_and_an_alert_of_another_time_is_another_order(
    broker: Broker, link: Proxy, queue: str, prefix: str
) -> None:
    async with gateway(through(link, broker.url), prefix, GATEWAY__TIME_FIELD="time") as front:
        now_ms = time.time_ns() // 1_000_000
        link.stall()
        first, later = order(0, time=now_ms - 9_000), order(0, time=now_ms - 4_000)
        assert [(await one)[0] for one in asyncio.as_completed([front.post(first), front.post(later)])] == [503, 503]
        link.heal()
        ids = [(await front.ordered(one))[0] for one in (later, first)]
    messages = await drain(broker.url, queue, await depth(broker.url, queue) or 0)
    found = {message.properties.message_id: message.headers["signalq-created-ms"] for message in messages}
    assert found == {ids[0]: now_ms - 4_000, ids[1]: now_ms - 9_000}


async def test_an_alert_that_was_late_already_expires_by_its_own_time_and_a_clock_ahead_is_warned_of(
    broker: Broker, names: Names, prefix: str, topology: Topology, webhook: Webhook
) -> None:
    settings = {"delivery.open_max_age_s": 60}
    async with (
        Consumer(broker.url, names.prefix, webhook.url, settings) as consumer,
        gateway(broker.url, prefix, GATEWAY__TIME_FIELD="time") as front,
    ):
        await consumer.started()
        now_ms = time.time_ns() // 1_000_000
        (late,) = await front.ordered(order(0, time=now_ms - 120_000))
        (ahead,) = await front.ordered(order(1, time=now_ms + 3_600_000))
        await wait_until(lambda: len(consumer.events("intent.settled")) == 2)
        settled = {
            line["intent_id"]: (line["status"], line.get("reason")) for line in consumer.events("intent.settled")
        }
    assert settled == {late: ("dead", "expired"), ahead: ("delivered", None)}
    assert [one.json["log"] for one in webhook.orders] == ["1"]
