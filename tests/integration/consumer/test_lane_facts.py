"""What a consumer's sign of life says of its lanes: what AMQP can't tell."""

from __future__ import annotations

import time

from signalq import OrderIntent, OrderPublisher
from signalq.consumer.ledger import LaneFacts
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replicas
from signalq.consumer.ledger.queries.replicas import Replica
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.consumer import Consumer, ledger_url
from tests.support.graveyard import in_ledger
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

CONFIG = "[connectors.own]\n"
ANSWERS = {"no": Answer(status=429, headers={"Retry-After": "250"}), "slow": Answer(delay_s=5), "behind it": Answer()}


async def replica(names: Names) -> Replica:
    async with LedgerClient(ledger_url(names.prefix)) as ledger:
        (found,) = await ledger.read(lambda now: replicas.known(now, clock_ms(now)))
    return found


async def test_a_sign_of_life_says_of_each_lane_what_is_held_and_out_and_how_old_and_when_it_is_tried_again(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    webhook.behave(lambda order: ANSWERS[order.json["log"]])
    settings = {"delivery.retry_after_max_s": 300, "delivery.exit_max_age_s": 3600}
    before_ms = time.time_ns() // 1_000_000
    async with (
        Consumer(broker.url, names.prefix, webhook.url, settings, config=CONFIG) as consumer,
        OrderPublisher(broker.url, prefix=names.prefix) as orders,
    ):
        await consumer.started()
        assert (await replica(names)).lanes == {}
        exits = {"action": "closeLong", "percent": "50", "connector_token": "t"}
        await orders.publish(OrderIntent(connector_name="own", log="no", **exits))
        await orders.publish(OrderIntent(connector_name="own", log="behind it", **exits))
        await orders.publish(OrderIntent(connector_name="slow", log="slow", **exits))

        async def told() -> dict[str, LaneFacts] | None:
            lanes = (await replica(names)).lanes
            own, shared = lanes.get(names.lane("own")), lanes.get(names.orders)
            is_told = (
                own is not None and own.next_ms is not None and own.held == 2 and shared is not None and shared.out
            )
            return dict(lanes) if is_told else None

        lanes = await wait_until(told, what="both lanes in the sign of life")
        after_ms = time.time_ns() // 1_000_000
        own, shared = lanes[names.lane("own")], lanes[names.orders]
        assert (own.held, own.out) == (2, 0)
        assert before_ms + 240_000 < own.next_ms < after_ms + 260_000
        assert (shared.held, shared.out, shared.next_ms) == (1, 1, None)
        for facts in (own, shared):
            assert before_ms <= facts.oldest_ms <= after_ms
        assert (await replica(names)).unacked == {names.lane("own"): 2, names.orders: 1}
        # A consumer of an earlier version says nothing of this, and is read all the same.
        in_ledger(
            names.prefix,
            "INSERT INTO replicas (owner, name, started_ms, alive_ms, switch_seen, unacked)"
            " VALUES ('old', 'host:1', 1, 1, 0, '{}')",
        )
        async with LedgerClient(ledger_url(names.prefix)) as ledger:
            known = await ledger.read(lambda now: replicas.known(now, clock_ms(now)))
        assert {one.owner: one.lanes == {} for one in known}["old"]
