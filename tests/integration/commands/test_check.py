"""`signalq check` and `signalq topology show`: what differs is named, what died is counted, what is next is noted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from pamqp.commands import Basic

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.message.outcome import Outcome
from signalq.names import Names
from signalq.ops.check.finding import Finding
from signalq.ops.check.findings import findings
from signalq.ops.lanes import list_lanes
from signalq.ops.topology.objects import rows
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from tests.support.amqp import depth, drain, plain_channel, publish, publish_all
from tests.support.broker import ExternalBroker
from tests.support.commands import Signalq
from tests.support.connect_proxy import ConnectProxy, Says
from tests.support.consumer import Consumer
from tests.support.graveyard import bury, dead
from tests.support.outcomes import hearing
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

Broker = PrivateRabbitMQ | ExternalBroker

CONSUMER = {"webhook.connect_timeout_s": 2, "webhook.timeout_s": 3, "delivery.drain_timeout_s": 8}
UNLIMITED = {"x-queue-type": "quorum", "x-single-active-consumer": True}
LIMITED = {"x-queue-type": "quorum", "x-delivery-limit": 7}


@pytest.fixture
def settings(environment: None, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Settings]:
    """The settings of this test."""
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
    return lambda: load_settings(None)


async def check(settings: Settings) -> dict[str, Finding]:
    """What was found, by what was looked at; each is looked at once here."""
    found = [finding async for finding in findings(settings, None)]
    by_name = {finding.check: finding for finding in found}
    assert len(by_name) == len(found)
    return by_name


# --- a fresh broker --------------------------------------------------------------------------------------------------


@pytest.mark.bare_prefix
async def test_objects_that_consume_makes_next_are_not_wrong_and_not_all_is_well_either(
    settings: Callable[[], Settings], signalq: Signalq, names: Names, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = await signalq("check")
    assert ran.status == 0, ran.out
    assert "nothing is declared" in ran.out
    assert "`signalq consume` makes it" in ran.out
    assert ran.out.splitlines()[-1] == "nothing is wrong, 2 things deserve a look (•)"
    assert await depth(broker.url, names.orders) is None, "nothing was changed"
    monkeypatch.setenv("SIGNALQ_BROKER__TOPOLOGY", "passive")
    topology = (await check(settings()))["topology"]
    assert (topology.state, "signalq topology apply" in (topology.advice or "")) == ("wrong", True)


async def test_an_object_that_is_missing_beside_a_running_consumer_is_wrong(
    settings: Callable[[], Settings], topology: Topology, broker: Broker
) -> None:
    async with plain_channel(broker.url) as channel:
        await channel.queue_delete(topology.names.dead)
        assert (await check(settings()))["topology"].state == "note", "the next start makes it"
        await channel.basic_consume(topology.names.orders, lambda _message: None)
        found = (await check(settings()))["topology"]
    assert found.state == "wrong"
    assert f"queue {topology.names.dead}" in found.found


# --- what differs ----------------------------------------------------------------------------------------------------


@pytest.mark.bare_prefix
async def test_an_object_that_differs_is_named_as_apply_names_it_and_left_as_it_is(
    settings: Callable[[], Settings], signalq: Signalq, names: Names, broker: Broker, connection: object
) -> None:
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(names.dead, durable=True)
        await channel.queue_declare(names.due, durable=True, arguments=UNLIMITED)
        await channel.queue_declare(names.delay(3), durable=True, arguments=LIMITED)
        await channel.exchange_declare(names.outcomes, exchange_type="fanout", durable=True)
        await channel.exchange_declare(names.orders, exchange_type="direct", durable=True)
        await channel.exchange_declare(names.unrouted, exchange_type="fanout", durable=False)
    await publish(broker.url, "", names.dead, b"theirs")
    differing = [f"queue {name}" for name in (names.due, names.dead, names.delay(3))]
    differing += [f"exchange {name}" for name in (names.outcomes, names.orders, names.unrouted)]
    found = await rows(settings())
    named = {f"{row['object']} {row['name']}": str(row["why"]) for row in found if row["state"] == "differs"}
    assert sorted(named) == sorted(differing)
    for what, why in named.items():
        assert f"{what} is there with other arguments" in why
    assert "x-queue-type" in named[f"queue {names.dead}"]
    assert "x-delivery-limit" in named[f"queue {names.due}"]
    assert sum(row["state"] == "missing" for row in found if row["object"] != "binding") == 47 - 6
    assert (await check(settings()))["topology"].state == "wrong"
    ran = await signalq("topology", "show")
    assert ran.status == 1
    assert all(what in ran.err for what in differing)
    assert await depth(broker.url, names.orders) is None, "nothing was declared"
    assert [message.body for message in await drain(broker.url, names.dead, 1)] == [b"theirs"]


# --- dead letters ----------------------------------------------------------------------------------------------------


async def test_fresh_dead_letters_are_counted_by_reason_and_stay_in_their_order(
    settings: Callable[[], Settings], broker: Broker, names: Names, webhook: Webhook, signalq: Signalq
) -> None:
    webhook.behave(Answer(status=400, body=b"no"))
    async with Consumer(broker.url, names.prefix, webhook.url, CONSUMER, config="[connectors.idle]\n") as consumer:
        await consumer.started()
        bodies = [order(percent="1"), order(percent="NaN"), order(percent="2"), b"no JSON"]
        sent = [Basic.Properties(delivery_mode=2, expiration="60000", app_id="sloppy") for _ in bodies]
        await publish_all(broker.url, names.orders, "main", list(zip(bodies, sent, strict=True)))
        await wait_until(lambda: len(consumer.events("intent.settled", status="dead")) == 4)
        assert len(consumer.events("intent.with_expiration", strategy="sloppy")) == 1
        # A lane that nothing has come to yet is served all the same.
        lanes = {row["queue"]: row["active_consumer"] for row in await list_lanes(settings())}
        assert all(str(name).endswith(f":{consumer.pid}") for name in lanes.values()), lanes
        ran = await signalq("check")
    assert ran.status == 0, ran.out
    assert "4 dead letters" in ran.out
    assert "of the last 24 h: 2 invalid, 2 rejected" in ran.out, ran.out
    assert "all is well" not in ran.out
    assert "strategy sloppy" in ran.out
    assert "2 with an AMQP expiration" in ran.out
    found = await check(settings())
    assert "set no expiration" in (found["producers"].advice or "")
    assert await depth(broker.url, names.dead) == 4
    assert sorted(letter.body for letter in await drain(broker.url, names.dead, 4)) == sorted(bodies)


async def test_old_letters_are_no_fresh_ones_and_events_that_came_back_are_wrong(
    settings: Callable[[], Settings], broker: Broker, topology: Topology
) -> None:
    old = {"signalq-intent-id": "x", "signalq-reason": "rejected", "signalq-dead-at": "2020-01-31T12:00:00.000Z"}
    letter = Basic.Properties(delivery_mode=2, headers=old)
    await publish_all(broker.url, "", topology.names.dead, [(b"{}", letter)])
    found = (await check(settings()))["dead letters"]
    assert (found.state, "none of the last 24 h" in found.found) == ("note", True)
    ended = Outcome("x", 1, "main", "-", None, None, "dead", "invalid", 0, None, None, None, None)
    fresh = Basic.Properties(delivery_mode=2, headers={"signalq-intent-id": "y", "signalq-reason": "invalid"})
    await publish_all(broker.url, "", topology.names.dead, [(ended.to_event(), fresh)])
    found = (await check(settings()))["dead letters"]
    assert found.state == "wrong"
    assert "1 of these are outcome events of ours that came back" in found.found
    assert "list_bindings" in (found.advice or "")


async def test_where_the_queue_and_the_ledger_count_letters_differently_it_is_said_also_of_an_empty_queue(
    settings: Callable[[], Settings], broker: Broker, names: Names
) -> None:
    await bury(broker.url, names, [dead(1), dead(2)])
    found = (await check(settings()))["dead letters"]
    assert found.found == f"2 dead letters in {names.dead}, none of the last 24 h"
    await publish_all(broker.url, "", names.dead, [(b"{}", Basic.Properties(delivery_mode=2))])
    found = (await check(settings()))["dead letters"]
    assert (found.state, found.found.startswith(f"3 dead letters in {names.dead}")) == ("note", True)
    assert "the queue has 1 letter more than the ledger knows: `signalq dead list --queue`" in found.found
    await drain(broker.url, names.dead, 3)
    found = (await check(settings()))["dead letters"]
    assert (found.state, found.advice) == ("note", None)
    assert found.found.startswith("none; the queue has 2 letters fewer than the ledger says: ")


# --- a proxy ---------------------------------------------------------------------------------------------------------


async def test_a_webhook_behind_a_proxy_is_looked_at_through_it_and_nothing_is_sent(
    settings: Callable[[], Settings], webhook: Webhook, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", "http://hook.example:81/hook")
    monkeypatch.setenv("SIGNALQ_WEBHOOK__ALLOW_PLAIN_HTTP", "true")
    async with ConnectProxy(webhook.port, login="desk:pr-0xy-s3cret") as proxy:
        monkeypatch.setenv("SIGNALQ_WEBHOOK__PROXY", proxy.url)
        found = (await check(settings()))["webhook"]
        shown = f"hook.example:81 takes connections through the proxy http://desk:***@127.0.0.1:{proxy.port} ("
        assert (found.state, found.found.startswith(shown)) == ("ok", True), found
        assert (proxy.targets, proxy.passed, webhook.orders) == (["hook.example:81"], b"", [])
        proxy.behave(Says(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        found = (await check(settings()))["webhook"]
        assert found.state == "wrong"
        assert found.found.endswith(": the proxy refused (HTTP 403)")
        proxy.behave(Says(b"", "hang"))
        ran = await signalq("check")
        assert "hook.example:81 did not answer within 3 s through the proxy" in " ".join(ran.out.split())
        monkeypatch.setenv("SIGNALQ_WEBHOOK__PROXY", proxy.url.replace("s3cret", "other"))
        found = (await check(settings()))["webhook"]
        assert "HTTP 407" in found.found
        assert "pr-0xy" not in ran.out + ran.err + found.found + str(found.advice)
        monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
        asked = len(proxy.asked)
        assert "takes connections (" in (await check(settings()))["webhook"].found
        assert len(proxy.asked) == asked, "what is on this machine is not looked for on the proxy's"


def order(**fields: str) -> bytes:
    body = {"connectorName": "main", "connectorToken": "t", "action": "openLong"} | fields
    return json.dumps(body).encode()


# --- an expiration ---------------------------------------------------------------------------------------------------


async def test_a_delayed_order_with_an_expiration_is_not_dropped_from_the_ladder_and_check_names_its_strategy(
    settings: Callable[[], Settings], broker: Broker, names: Names, webhook: Webhook
) -> None:
    async with (
        Consumer(broker.url, names.prefix, webhook.url, CONSUMER) as consumer,
        hearing(broker.url, names.outcomes) as heard,
    ):
        await consumer.started()
        body = json.dumps({**json.loads(order(percent="1")), "delaySeconds": 1.5}).encode()
        headers = {"signalq-created-ms": time.time_ns() // 1_000_000}
        hasty = Basic.Properties(delivery_mode=2, message_id="a", app_id="m", expiration="300", headers=headers)
        await publish_all(broker.url, names.orders, "main", [(body, hasty)])
        (ended,) = await heard.first(1)
    assert ended["status"] == "delivered"
    producers = (await check(settings()))["producers"]
    assert producers.found == "strategy m: 1 with an AMQP expiration, of 1 recent intent"
    assert producers.advice is not None
    assert "message_id" not in producers.advice
