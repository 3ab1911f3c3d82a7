"""Lanes: own ones, those without order, messages that lie in the wrong one, and lanes that no setting names any more
(contract 2).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from pamqp.commands import Basic

from signalq.names import Names
from tests.support.amqp import depth, drain, plain_channel, publish_all
from tests.support.broker import Broker
from tests.support.commands import Signalq
from tests.support.consumer import Consumer
from tests.support.waiting import PATIENCE_S, elapsed, wait_until
from tests.support.webhook import Answer, Hang, Order, Webhook

SETTINGS = {
    "webhook.connect_timeout_s": 2,
    "webhook.timeout_s": 4,
    "delivery.drain_timeout_s": 8,
    "delivery.backoff_base_s": 0.05,
    "delivery.backoff_max_s": 0.2,
}
OWN = "[connectors.one]\n[connectors.two]\n"
UNORDERED = '[connectors.many]\nordering = "none"\nconcurrency = 8\n'

Message = tuple[bytes, Basic.Properties]


def message(connector: str, log: str, *, with_id: bool = True, headers: dict[str, object] | None = None) -> Message:
    """An open of this connector; `log` tells it apart."""
    body = {"connectorName": connector, "connectorToken": "t", "action": "openLong", "percent": "10", "log": log}
    message_id = f"{connector}-{log}" if with_id else None
    stamps = {"signalq-created-ms": time.time_ns() // 1_000_000} | (headers or {})
    return json.dumps(body).encode(), Basic.Properties(delivery_mode=2, message_id=message_id, headers=stamps)


def numbered(connector: str, count: int, *, with_id: bool = True) -> list[Message]:
    return [message(connector, str(number), with_id=with_id) for number in range(count)]


def logs(hook: Webhook, connector: str) -> list[str]:
    """What was POSTed for a connector, in order."""
    return [order.json["log"] for order in hook.orders if order.connector == connector]


async def settled(consumers: Sequence[Consumer], count: int, timeout_s: float = PATIENCE_S, **fields: object) -> None:
    """Wait until so many intents have ended."""

    def ended() -> bool:
        return sum(len(consumer.events("intent.settled", **fields)) for consumer in consumers) >= count

    await wait_until(ended, timeout_s, what=f"{count} endings")


@pytest.fixture
def consumer(broker: Broker, prefix: str, webhook: Webhook) -> Consumer:
    return Consumer(broker.url, prefix, webhook.url, SETTINGS, config=OWN)


# --- own lanes -------------------------------------------------------------------------------------------------------


async def test_each_connector_of_the_settings_has_a_queue_of_its_own_and_keeps_its_order(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    async with consumer:
        assert (await consumer.started())["lanes"] == 3
        assert await depth(broker.url, names.lane("one")) == 0
        await asyncio.gather(
            publish_all(broker.url, names.orders, "one", numbered("one", 40)),
            publish_all(broker.url, names.orders, "two", numbered("two", 40)),
        )
        await settled([consumer], 80, status="delivered")
    assert logs(webhook, "one") == logs(webhook, "two") == [str(number) for number in range(40)]


async def test_an_order_that_hangs_in_one_own_lane_or_in_the_shared_one_delays_no_other_lane(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    webhook.behave(lambda order: Answer() if order.connector == "two" else Hang())
    # One place alone in the shared lane, and it is taken.
    async with Consumer(
        broker.url, names.prefix, webhook.url, {**SETTINGS, "delivery.concurrency": 1}, config=OWN
    ) as consumer:
        await consumer.started()
        await publish_all(broker.url, names.orders, "one", numbered("one", 5))
        await publish_all(broker.url, names.orders, "anybody", numbered("anybody", 5))
        await wait_until(lambda: len(webhook.orders) == 2, what="both to hang")
        await publish_all(broker.url, names.orders, "two", numbered("two", 20))
        await settled([consumer], 20, connector="two", status="delivered")
        assert not consumer.events("intent.settled", connector="one"), "they hang while the other is through"
        assert not consumer.events("intent.settled", connector="anybody")
        webhook.behave(Answer())


async def test_an_own_lane_that_is_missing_is_named_where_topology_is_passive(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    first = Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config="[connectors.one]")
    async with first:
        await first.started()
    passive = Consumer(broker.url, names.prefix, webhook.url, {**SETTINGS, "broker.topology": "passive"}, config=OWN)
    passive.start()
    try:
        assert await passive.exited() == 1
        assert f"missing on the broker: queue {names.lane('two')}" in passive.log
    finally:
        passive.close()


async def test_a_passive_consumer_uses_the_lanes_that_are_there(broker: Broker, names: Names, webhook: Webhook) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=OWN) as declaring:
        await declaring.started()
    passive = Consumer(broker.url, names.prefix, webhook.url, {**SETTINGS, "broker.topology": "passive"}, config=OWN)
    async with passive:
        await passive.started()
        await publish_all(broker.url, names.orders, "two", numbered("two", 5))
        await settled([passive], 5, status="delivered")


async def test_a_changed_ordering_is_refused_with_a_sentence_that_says_what_to_do(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config="[connectors.many]") as strict:
        await strict.started()
    changed = Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=UNORDERED)
    changed.start()
    try:
        assert await changed.exited() == 1
        assert f"queue {names.lane('many')} is there with other arguments" in changed.log
        assert "set connectors.many.ordering back, or delete the queue once it is empty" in changed.log
    finally:
        changed.close()


async def test_an_own_lane_whose_queue_is_deleted_by_mistake_is_made_again(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    async with consumer:
        await consumer.started()
        async with plain_channel(broker.url) as channel:
            await channel.queue_delete(names.lane("one"))
        await wait_until(lambda: consumer.events("broker.lane_lost"))

        async def is_ready() -> bool:
            return (await consumer.get("/readyz"))[0] == 200 and await depth(broker.url, names.lane("one")) is not None

        await wait_until(is_ready, what="the queue to be there again")
        await publish_all(broker.url, names.orders, "one", numbered("one", 3))
        await settled([consumer], 3, status="delivered")
    assert logs(webhook, "one") == ["0", "1", "2"]


# --- what lies in the wrong lane -------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_id", [True, False], ids=["with ids", "without ids"])
@pytest.mark.parametrize(
    ("connector", "source"),
    [("one", "orders"), ("one", "orders.two"), ("anybody", "orders.two")],
    ids=["shared to own", "own to another own", "own to shared"],
)
async def test_misrouted_orders_are_forwarded_in_order_and_posted_once(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer, connector: str, source: str, *, with_id: bool
) -> None:
    queue = f"{names.prefix}.{source}"
    async with consumer:
        await consumer.started()
        await publish_all(broker.url, "", queue, numbered(connector, 30, with_id=with_id))
        await settled([consumer], 30, status="delivered")
        assert len(consumer.events("intent.forwarded", connector=connector, source=queue)) == 30
        assert not consumer.events("intent.settled", status="duplicate")
    assert logs(webhook, connector) == [str(number) for number in range(30)]
    assert await depth(broker.url, names.dead) == 0


async def test_a_delayed_intent_in_the_wrong_lane_comes_back_into_its_own(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    async with consumer:
        await consumer.started()
        body, properties = message("one", "later")
        later = json.dumps(json.loads(body) | {"delaySeconds": 3}).encode()
        await publish_all(broker.url, "", names.orders, [(later, properties)])
        await settled([consumer], 1, status="delivered")
        assert not consumer.events("intent.forwarded"), "the ladder hands back straight into the right lane"


async def test_a_second_publish_in_the_wrong_lane_is_a_duplicate(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    one = message("one", "twice")
    async with consumer:
        await consumer.started()
        await publish_all(broker.url, "", names.orders, [one, one])
        await settled([consumer], 1, status="delivered")
        await settled([consumer], 1, status="duplicate")
        await publish_all(broker.url, "", names.orders, [one])
        await settled([consumer], 2, status="duplicate")
    assert logs(webhook, "one") == ["twice"]


async def test_copies_of_a_forwarded_message_are_posted_once_and_dropped_silently(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    """As a crash between the confirm of the copy and the acknowledgement leaves them."""
    body, properties = message("one", "copied", headers={"signalq-intent-id": "one-copied", "signalq-hops": 1})
    async with consumer:
        await consumer.started()
        await publish_all(broker.url, "", names.lane("one"), [(body, properties)] * 3)
        await publish_all(broker.url, "", names.orders, [(body, properties)] * 2)
        await publish_all(broker.url, "", names.lane("one"), [message("one", "last")])
        await settled([consumer], 2, status="delivered")
        await wait_until(lambda: _empty(broker, names.orders, names.lane("one")))
        assert not consumer.events("intent.settled", status="duplicate")
    assert sorted(logs(webhook, "one")) == ["copied", "last"]


async def _empty(broker: Broker, *queues: str) -> bool:
    return all([await depth(broker.url, queue) == 0 for queue in queues])


async def test_a_forged_number_of_hops_keeps_no_order_in_the_wrong_lane(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    forged = {"signalq-hops": 10**12, "signalq-intent-id": "somebody's"}
    async with consumer:
        await consumer.started()
        messages = [message("one", str(number), headers=forged) for number in range(5)]
        await publish_all(broker.url, "", names.orders, messages)
        await settled([consumer], 5, status="delivered")
        assert len(consumer.events("intent.forwarded")) == 5
        assert not consumer.events("intent.handled_astray")
    assert logs(webhook, "one") == [str(number) for number in range(5)]


async def test_an_order_that_was_forwarded_too_often_is_posted_where_it_is_with_a_warning(
    broker: Broker, names: Names, webhook: Webhook, consumer: Consumer
) -> None:
    """Its intent is in the ledger since it was forwarded first; a copy is sent back as others would."""
    body, properties = message("one", "tossed about")
    async with consumer:
        await consumer.started()
        webhook.behave(Answer(status=429))
        await publish_all(broker.url, "", names.orders, [(body, properties)])
        await wait_until(lambda: consumer.events("delivery.attempted"))
        headers = {**(properties.headers or {}), "signalq-intent-id": "one-tossed about", "signalq-hops": 3}
        tossed = Basic.Properties(delivery_mode=2, message_id="one-tossed about", headers=headers)
        await publish_all(broker.url, "", names.orders, [(body, tossed)])
        await elapsed(0.1)
        webhook.behave(Answer())
        await settled([consumer], 1, status="delivered")
        await wait_until(lambda: _empty(broker, names.orders, names.lane("one")))
        assert len(consumer.events("intent.forwarded")) == 1
    assert len([order for order in webhook.orders if order.answered_ns]) >= 2


# --- lanes without order ---------------------------------------------------------------------------------------------


async def test_a_lane_without_order_posts_so_many_at_a_time_and_each_once(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    webhook.behave(Answer(delay_s=0.2))
    settings = {**SETTINGS, "delivery.concurrency": 1}
    async with Consumer(broker.url, names.prefix, webhook.url, settings, config=UNORDERED) as consumer:
        await consumer.started()
        await publish_all(broker.url, names.orders, "many", numbered("many", 80))
        await settled([consumer], 80, status="delivered")
    assert webhook.in_flight_max == 8
    assert Counter(logs(webhook, "many")) == Counter(str(number) for number in range(80))


async def test_two_consumers_share_a_lane_without_order_and_the_death_of_one_repeats_nothing(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    webhook.behave(Answer(delay_s=0.1))
    both = [Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=UNORDERED) for _ in range(2)]
    async with both[0] as dying, both[1] as living:
        await asyncio.gather(dying.started(), living.started())
        await publish_all(broker.url, names.orders, "many", numbered("many", 200))
        await wait_until(lambda: len(webhook.orders) > 60, what="some POSTs")
        assert dying.events("delivery.attempted")
        assert living.events("delivery.attempted"), "both are active at once"
        assert not dying.events("broker.lane_lost"), "neither fences the other off"
        await asyncio.to_thread(dying.kill)

        async def at_rest() -> bool:
            held = await living.metric("signalq_in_flight")
            return held == 0 and await _empty(broker, names.lane("many"))

        await wait_until(at_rest, what="all to end")
        await elapsed(0.5)  # what the broker gives back of the dead one's comes in one stroke
        await wait_until(at_rest, what="all to end")
    posts = Counter(logs(webhook, "many"))
    assert set(posts.values()) == {1}, "each once, also what was on the wire when one of them was killed"
    letters = await drain(broker.url, names.dead)
    assert {letter.headers["signalq-reason"] for letter in letters} <= {"outcome-unknown"}
    assert len(letters) <= 8, "at most what was on the wire"
    assert len(posts.keys() | {json.loads(letter.body)["log"] for letter in letters}) == 200


async def test_in_a_lane_without_order_a_message_that_comes_again_while_its_post_runs_is_not_posted_again(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    """Without a message_id too: the channel is given up while its POST is on the wire."""
    webhook.behave(Answer(delay_s=3))
    command = ("-m", "tests.support.impatient")
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=UNORDERED, command=command) as consumer:
        await consumer.started()
        messages = [*numbered("many", 3), *[message("many", f"nameless {n}", with_id=False) for n in range(3)]]
        await publish_all(broker.url, names.orders, "many", messages)
        await wait_until(lambda: consumer.events("broker.lane_lost", queue=names.lane("many")))
        await settled([consumer], 6, status="delivered")
        await wait_until(lambda: _empty(broker, names.lane("many")))
    assert set(Counter(logs(webhook, "many")).values()) == {1}


# --- lanes that no setting names any more ----------------------------------------------------------------------------


async def test_a_lane_that_no_setting_names_any_more_is_unbound_read_empty_and_logged(
    broker: Broker,
    names: Names,
    webhook: Webhook,
    consumer: Consumer,
    signalq: Signalq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with consumer:
        await consumer.started()
    await publish_all(broker.url, names.orders, "one", numbered("one", 20))
    assert await depth(broker.url, names.lane("one")) == 20
    later = Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config="[connectors.two]")
    async with later:
        assert (await later.started())["lanes"] == 2
        await settled([later], 20, status="delivered")
        assert logs(webhook, "one") == [str(number) for number in range(20)]
        (told,) = later.events("lane.retired")
        assert (told["queue"], told["waiting"], told["unbound"]) == (names.lane("one"), 20, True)
        await publish_all(broker.url, names.orders, "one", [message("one", "after")])
        await settled([later], 21, status="delivered")
        assert len(later.events("intent.forwarded")) == 20, "the exchange knows the lane no more"
        monkeypatch.setenv("SIGNALQ_CONNECTORS__TWO__LANE", "own")
        (row,) = [row for row in (await signalq("check", "--json")).rows if row["check"] == "retired lane"]
        assert names.lane("one") in row["found"]
        async with plain_channel(broker.url) as channel:
            await channel.queue_delete(names.lane("one"))
        await wait_until(lambda: later.events("broker.lane_lost", queue=names.lane("one")))
        await publish_all(broker.url, names.orders, "one", [message("one", "and on")])
        await settled([later], 22, status="delivered")
        assert (await later.get("/readyz"))[0] == 200, "nobody misses the queue"
        assert len(later.events("broker.lane_lost")) == 1


# --- nothing stays unacknowledged for too long -----------------------------------------------------------------------


async def test_a_message_that_is_retried_for_long_is_given_back_in_time_and_order_and_counts_stay(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    """The one at the head is asked to wait for longer than any message may stay unacknowledged; one waits behind."""
    refused = [Answer(status=429, headers={"Retry-After": "4"})]

    def answer(order: Order) -> Answer:
        return refused.pop() if order.json["log"] == "0" and refused else Answer()

    webhook.behave(answer)
    command = ("-m", "tests.support.impatient")
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=OWN, command=command) as consumer:
        await consumer.started()
        await publish_all(broker.url, names.orders, "one", numbered("one", 3))
        await settled([consumer], 3, status="delivered")
        lost = consumer.events("broker.lane_lost", queue=names.lane("one"))
        assert len(lost) >= 2
        assert all("unacknowledged" in line["why"] for line in lost)
    assert logs(webhook, "one") == ["0", "0", "1", "2"]
    first, again = webhook.orders[:2]
    assert (again.at_ns - first.at_ns) / 1e9 >= 4, "what it was told to wait is kept"
