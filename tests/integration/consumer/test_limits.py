"""Limits and pacing as a whole: the real process, a real RabbitMQ, a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from pamqp.commands import Basic

from signalq.names import Names
from tests.support.amqp import Message, depth, drain, publish_all
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

SETTINGS = {"delivery.backoff_base_s": 0.05, "delivery.backoff_max_s": 0.2, "log.level": "debug"}


def main(text: str) -> str:
    """The settings of the connector `main`."""
    return f'[connectors.main]\nlane = "shared"\n{text}\n'


async def send(broker: Broker, names: Names, intents: list[dict[str, Any]]) -> None:
    """Publish these in this order, each with its place as id."""
    common = {"connectorName": "main", "connectorToken": "t", "action": "openLong"}
    messages = [
        (
            json.dumps(common | {"log": str(number)} | fields).encode(),
            Basic.Properties(
                delivery_mode=2,
                message_id=f"{fields.get('log', number)}",
                headers={"signalq-created-ms": time.time_ns() // 1_000_000},
            ),
        )
        for number, fields in enumerate(intents)
    ]
    await publish_all(broker.url, names.orders, "main", messages)


async def dead(broker: Broker, names: Names, count: int) -> list[Message]:
    async def is_there() -> bool:
        return (await depth(broker.url, names.dead) or 0) >= count

    await wait_until(is_there, what=f"{count} dead letters")
    return await drain(broker.url, names.dead)


async def settled(consumer: Consumer, count: int) -> None:
    await wait_until(lambda: len(consumer.events("intent.settled")) >= count, what=f"{count} endings")


async def test_an_open_over_a_size_limit_is_forbidden_at_once_and_when_it_is_due_and_an_exit_is_not(
    broker: Broker, prefix: str, names: Names, webhook: Webhook
) -> None:
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS, config=main("percent_max = 50")) as consumer:
        await consumer.started()
        await send(
            broker,
            names,
            [
                {"percent": "51"},
                {"percent": "50"},
                {},
                {"percent": "51", "delaySeconds": 600},
                {"action": "closeLong", "percent": "100"},
                {"percent": "40", "delaySeconds": 5},
            ],
        )
        await settled(consumer, 5)
        await wait_until(lambda: len(consumer.events("intent.scheduled")) == 1, what="one parked")
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS, config=main("percent_max = 30")) as consumer:
        await consumer.started()
        letters = await dead(broker, names, 4)
    assert [order.json["log"] for order in webhook.orders] == ["1", "4"]
    assert sorted(json.loads(letter.body)["log"] for letter in letters) == ["0", "2", "3", "5"]
    assert {letter.headers["signalq-reason"] for letter in letters} == {"forbidden"}
    assert all("percent_max" in str(letter.headers["signalq-detail"]) for letter in letters)


async def test_the_opens_of_a_minute_are_counted_once_each_and_exits_pass(
    broker: Broker, prefix: str, names: Names, webhook: Webhook
) -> None:
    webhook.script(Answer(status=429), Answer(status=429))
    async with Consumer(
        broker.url, prefix, webhook.url, SETTINGS, config=main("orders_per_minute_max = 2")
    ) as consumer:
        await consumer.started()
        exits = [{"action": "closeLong", "percent": "50"}] * 2
        await send(broker, names, [{}, {}, {}, *exits, {"delaySeconds": 1}])
        letters = await dead(broker, names, 2)
        await settled(consumer, 6)
        await send(broker, names, [{}, {"log": "9"}])  # the first one once more, and another new one
        await settled(consumer, 8)
        assert len(consumer.events("intent.settled", status="duplicate")) == 1, "duplicates are still duplicates"
        assert len(consumer.events("intent.settled", reason="forbidden")) == 3
    assert [order.json["log"] for order in webhook.orders] == ["0", "0", "0", "1", "3", "4"]
    assert [json.loads(letter.body)["log"] for letter in letters] == ["2", "5"]
    for letter in letters:
        assert letter.headers["signalq-reason"] == "forbidden"
        assert letter.headers["signalq-attempts"] == 0
        assert "orders_per_minute_max" in str(letter.headers["signalq-detail"])


async def test_a_rate_holds_over_two_consumers_on_one_postgresql(
    broker: Broker, prefix: str, names: Names, webhook: Webhook, postgres_url: str
) -> None:
    """One after the other: what the first one POSTed counts for the second."""
    settings = SETTINGS | {"ledger.url": postgres_url}
    config = main("orders_per_minute_max = 5")
    async with Consumer(broker.url, prefix, webhook.url, settings, config=config) as first:
        await first.started()
        await send(broker, names, [{"log": f"a{number}"} for number in range(3)])
        await settled(first, 3)
        async with Consumer(broker.url, prefix, webhook.url, settings, config=config) as second:
            await wait_until(lambda: second.exit_code is None and second.log != "", what="the second one")
            await first.end()
            await second.started()
            await send(broker, names, [{"log": f"b{number}"} for number in range(5)])
            await settled(second, 5)
    assert [order.json["log"] for order in webhook.orders] == ["a0", "a1", "a2", "b0", "b1"]


async def test_in_shadow_an_open_over_a_limit_is_posted_told_and_counted_once(
    broker: Broker, prefix: str, names: Names, webhook: Webhook
) -> None:
    webhook.script(Answer(status=429))
    config = main('percent_max = 50\norders_per_minute_max = 1\nactions = ["openLong", "buy"]\nlimits = "report"')
    config += '[strategies."s"]\norders_per_minute_max = 100\n'
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS, config=config) as consumer:
        await consumer.started()
        common = {"connectorName": "main", "connectorToken": "t"}
        for number, fields in enumerate(
            [
                {"action": "openLong", "percent": "60"},
                {"action": "openShort", "percent": "5"},
                {"action": "closeLong", "percent": "5"},
            ]
        ):
            properties = Basic.Properties(delivery_mode=2, message_id=str(number), app_id="s")
            body = json.dumps(common | fields | {"log": str(number)}).encode()
            await publish_all(broker.url, names.orders, "main", [(body, properties)])
        await settled(consumer, 3)
        told = [(line["intent_id"], line["limit"], line["scope"]) for line in consumer.events("limit.exceeded")]
        assert told == [
            ("0", "percent_max", "connector"),
            ("1", "actions", "connector"),
            ("1", "orders_per_minute_max", "connector"),
            ("2", "actions", "connector"),
        ], "once each, whatever is tried again"
        assert {line["level"] for line in consumer.events("limit.exceeded")} == {"warning"}
        for limit, count in (("percent_max", 1), ("actions", 2), ("orders_per_minute_max", 1)):
            assert await consumer.metric("signalq_limits_exceeded_total", connector="main", limit=limit) == count
    assert [order.json["log"] for order in webhook.orders] == ["0", "0", "1", "2"]


async def test_the_posts_of_a_paced_connector_begin_apart_in_order_and_hold_up_no_other(
    broker: Broker, prefix: str, names: Names, webhook: Webhook
) -> None:
    rate_per_s, paced = 5.0, 8
    webhook.script(Answer(status=429))
    async with Consumer(
        broker.url, prefix, webhook.url, SETTINGS, config=main(f"rate_per_s = {rate_per_s}")
    ) as consumer:
        await consumer.started()
        sent_ns = time.time_ns()
        await send(broker, names, [{} for _ in range(paced)])
        other = json.dumps({"connectorName": "fast", "connectorToken": "t", "action": "openLong"}).encode()
        await asyncio.gather(
            publish_all(broker.url, names.orders, "fast", [(other, Basic.Properties(delivery_mode=2))] * 10),
            settled(consumer, paced + 10),
        )
    begun = [order for order in webhook.orders if order.connector == "main"]
    assert [order.json["log"] for order in begun] == ["0", *map(str, range(paced))], "retries are POSTs, too"
    # Not from POST to POST: how late a busy machine shows one of them is no fault of the pace (test_pacing.py).
    after_s = [(order.at_ns - sent_ns) / 1e9 for order in begun]
    assert all(seen >= number / rate_per_s for number, seen in enumerate(after_s)), after_s
    fast = [order.at_ns for order in webhook.orders if order.connector == "fast"]
    assert max(fast) < begun[-1].at_ns
