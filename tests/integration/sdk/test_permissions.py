"""The rights of deploy/kubernetes/rabbitmq on a real broker: enough for each user's work, and for nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import aiormq
import pytest
from aiormq.abc import AbstractChannel

from signalq import OrderIntent, OrderPublisher
from signalq.amqp.connection import connect
from signalq.amqp.inspect import queue_depth
from signalq.errors import BrokerUnreachable
from signalq.local import PrivateRabbitMQ
from signalq.message.outcome import binding_key
from signalq.producers.gateway.alerts import Alert
from signalq.producers.gateway.outlet import Outlet
from signalq.producers.gateway.repeats import Identity
from tests.support.amqp import depth, drain, plain_channel
from tests.support.broker import URL_VARIABLE, Broker
from tests.support.commands import run
from tests.support.consumer import Consumer
from tests.support.rights import Act, a_queue, ask, attempt, bind, consume, declare, everybody_lacking, publish
from tests.support.site import TOPOLOGY, Site, laid_down, manifests, settings_text
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

TOKEN = "the-configured-token"
NAMES = TOPOLOGY.names
KEY = binding_key(strategy="momentum")
CONSUMER, OPERATOR, GATEWAY = "signalq-consumer", "signalq-operator", "signalq-gateway"
REFUSED = (aiormq.exceptions.ChannelAccessRefused, aiormq.exceptions.ChannelLockedResource)


MANIFESTS = manifests()
LACKING = list(everybody_lacking(MANIFESTS))
# Planted: one with a strategy's rights and no topic permission, and one with every right.
TOO_MUCH = [
    {"kind": "Permission", "spec": {"vhost": "signalq", "user": user, "permissions": permissions}}
    for user, permissions in {
        "no-topics": next(
            one["spec"]["permissions"]
            for one in MANIFESTS
            if (one["kind"], one["metadata"]["name"]) == ("Permission", "momentum")
        ),
        "everything": dict.fromkeys(("configure", "write", "read"), ".*"),
    }.items()
]


@pytest.fixture(scope="module")
def site(broker: Broker) -> Iterator[Site]:
    """The virtual host, and besides its users one for each right that one of them could lack."""
    if not isinstance(broker, PrivateRabbitMQ):
        skip_outside_ci(f"adds users to the broker, which only a private one allows: unset {URL_VARIABLE}")
    lacking = [right for one in LACKING for right in one.rights(MANIFESTS)]
    with laid_down(broker, [*MANIFESTS, *lacking, *TOO_MUCH]) as site:
        yield site


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """One ledger for all: the broker remembers it."""
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.db"
    return {"ledger.url": f"sqlite+aiosqlite:///{ledger}", "delivery.backoff_base_s": 0.05}


# ---- enough ----


async def test_the_operators_topology_is_the_one_that_the_code_declares(site: Site) -> None:
    async with await connect(site.url("guest"), name="signalq test") as connection:
        assert await TOPOLOGY.missing(connection) == []
        await TOPOLOGY.declare(connection)  # an argument that differs is a TopologyError
    listed = site.broker.ctl("list_bindings", "-p", "signalq", "source_name", "destination_name", "routing_key")
    found = {tuple(line.split("\t")) for line in listed.splitlines() if not line.startswith("\t")}
    assert found == {(one.source, one.destination, one.routing_key) for one in TOPOLOGY.bindings()}


async def test_each_user_can_do_its_work(site: Site, webhook: Webhook, settings: dict[str, object]) -> None:
    """At once, delayed, refused by the webhook, in each kind of lane, by the gateway; and each hears of their own."""
    webhook.behave(lambda order: Answer(status=400 if order.json.get("log") == "refuse" else 200, body=b"ok"))
    config = settings_text(TOKEN)
    async with (
        Consumer(site.url(CONSUMER), NAMES.prefix, webhook.url, settings, config=config) as consumer,
        OrderPublisher(site.url("momentum"), strategy="momentum") as momentum,
        OrderPublisher(site.url("carry"), strategy="carry") as carry,
    ):
        await consumer.started()
        opens = {"action": "openLong", "percent": "5"}
        receipts = [
            await momentum.publish(OrderIntent(connector_name="main", **opens)),
            await momentum.publish(OrderIntent(connector_name="main", **opens, log="delayed", delay_seconds=1.2)),
            await momentum.publish(OrderIntent(connector_name="main", **opens, log="refuse")),
            await carry.publish(OrderIntent(connector_name="spot", **opens)),
            # From the shared lane, where an order of a connector that is none of theirs is dead.
            await carry.publish(OrderIntent(connector_name="elsewhere", **opens, connector_token="t")),
        ]
        outlet = Outlet(site.url(GATEWAY), prefix=NAMES.prefix, heartbeat_s=10)
        alert = Alert("main", "openLong", json.dumps({"connectorName": "main", **opens}).encode())
        await outlet.publish(alert, Identity.new(time.time_ns() // 1_000_000))
        await outlet.close()
        outcomes = await asyncio.gather(*(receipt.outcome(timeout_s=20) for receipt in receipts))
        await webhook.received(5)
        settled = [(outcome.status, outcome.reason) for outcome in outcomes]
        assert settled == [("delivered", None)] * 2 + [
            ("dead", "rejected"),
            ("delivered", None),
            ("dead", "unauthorized"),
        ]
        assert not consumer.events("broker.publish_failed")
    letters = await drain(site.url("guest"), NAMES.dead, 2)
    assert sorted(str(letter.headers["signalq-reason"]) for letter in letters) == ["rejected", "unauthorized"]


async def test_the_operator_can_look_replay_and_discard(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    webhook: Webhook,
    settings: dict[str, object],
    tmp_path: Path,
) -> None:
    webhook.behave(Answer(status=400, body=b"no"))
    async with Consumer(
        site.url(CONSUMER), NAMES.prefix, webhook.url, settings, config=settings_text(TOKEN)
    ) as consumer:
        await consumer.started()
        async with OrderPublisher(site.url("momentum"), strategy="momentum", outcomes=False) as momentum:
            for number in ("1", "2"):
                intent = OrderIntent(connector_name="main", action="closeLong", percent=number)
                await momentum.publish(intent, message_id=number)
        await wait_until(lambda: len(consumer.events("intent.dead_lettered")) == 2, what="two dead letters")
        webhook.behave(Answer())
        for key, value in {"broker__url": site.url(OPERATOR), "broker__prefix": NAMES.prefix, **settings}.items():
            monkeypatch.setenv("SIGNALQ_" + key.upper().replace(".", "__"), str(value))
        file = tmp_path / "signalq.toml"
        file.write_text(settings_text(TOKEN), "utf-8")
        monkeypatch.setenv("SIGNALQ_CONFIG", str(file))
        monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
        checked = {row["check"]: row["state"] for row in (await run("check", "--json")).rows}
        assert [checked[one] for one in ("broker", "topology", "ledger")] == ["ok", "ok", "ok"]
        replayed = await run("dead", "replay", "--id", "1", "--json")
        assert replayed.status == 0, replayed
        discarded = await run("dead", "discard", "--id", "2", "--yes")
        assert discarded.status == 0, discarded
        await webhook.received(3)
    assert await depth(site.url("guest"), NAMES.dead) == 0


# ---- no more than enough ----


NOT_FOR_A_PRODUCER: dict[str, Act] = {
    "read orders": consume(NAMES.orders),
    "read the orders of a lane": consume(NAMES.lane("main")),
    "read what is due": consume(NAMES.due),
    "read what is parked": consume(NAMES.delay(3)),
    "read dead letters": consume(NAMES.dead),
    "read the ledger's mark": consume(NAMES.ledger),
    "purge a lane": lambda channel: channel.queue_purge(NAMES.lane("main")),
    "delete a lane": lambda channel: channel.queue_delete(NAMES.lane("main")),
    "delete the exchange": lambda channel: channel.exchange_delete(NAMES.orders),
    "unbind a lane": lambda channel: channel.queue_unbind(NAMES.lane("main"), NAMES.orders, "main"),
    "listen to orders": bind("main", NAMES.orders),
    "listen to what is parked": bind("#", NAMES.delay(0)),
    "publish past the exchange": publish("", NAMES.lane("main")),
    "make a dead letter": publish("", NAMES.dead),
    "park": publish(NAMES.delay(0), NAMES.due),
    "publish to the shared lane's exchange": publish(NAMES.unrouted, ""),
    "tell an outcome": publish(NAMES.outcomes, "main.momentum.delivered"),
    "declare a queue": declare("of-my-own"),
    "declare a lane": declare(NAMES.lane("new")),
    "declare a listener's queue with a name of its own": declare(NAMES.outcome_queue("record")),
    "declare an exchange": lambda channel: channel.exchange_declare(f"{NAMES.outcomes}.mine"),
    "let outcomes go straight to a queue": declare(
        a_queue(), **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": NAMES.dead}
    ),
}
NOT_FOR_A_STRATEGY: dict[str, Act] = {
    "hear of another's outcomes": bind("*.carry.*"),
    "hear of another's outcomes of one connector": bind("main.carry.delivered"),
    "hear of all outcomes": bind("#"),
    "hear of all outcomes, word by word": bind("*.*.*"),
    "hear of all outcomes of its name at the end": bind("#.momentum.#"),
    "hear of all outcomes of a connector": bind("main.#"),
}
NOT_FOR_THE_GATEWAY: dict[str, Act] = {"declare a listener's queue": declare(a_queue())}
NOT_FOR_THE_CONSUMER: dict[str, Act] = {
    "read dead letters": consume(NAMES.dead),
    "read what is parked": consume(NAMES.delay(3)),
    "delete a lane": lambda channel: channel.queue_delete(NAMES.lane("main")),
    "declare a lane": lambda channel: channel.queue_declare(NAMES.lane("new"), durable=True),
    "publish as a producer": publish(NAMES.orders, "main"),
}


NOT_FOR = {
    "momentum": NOT_FOR_A_PRODUCER | NOT_FOR_A_STRATEGY,
    GATEWAY: NOT_FOR_A_PRODUCER | NOT_FOR_THE_GATEWAY,
    CONSUMER: NOT_FOR_THE_CONSUMER,
    OPERATOR: {name: NOT_FOR_A_PRODUCER[name] for name in ("read the orders of a lane", "delete a lane")},
}


@pytest.mark.parametrize("user", NOT_FOR)
async def test_no_user_can_do_the_work_of_another(site: Site, user: str) -> None:
    refused = await refusals(site, user, NOT_FOR[user])
    assert refused == list(NOT_FOR[user])


async def test_a_user_with_too_much_is_found(site: Site) -> None:
    """A user without topic permissions hears every strategy, and a user with every right is refused nothing."""
    assert await refusals(site, "no-topics", NOT_FOR_A_STRATEGY) == []
    assert await refusals(site, "everything", NOT_FOR_A_STRATEGY | NOT_FOR_THE_GATEWAY) == []
    assert await refusals(site, "everything", {"read orders": NOT_FOR_A_PRODUCER["read orders"]}) == []


async def test_no_user_publishes_in_the_name_of_another(site: Site) -> None:
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="user_id"):
        await attempt(site.url("momentum"), publish(NAMES.orders, "main", user_id="carry"))


async def test_no_user_reads_the_queue_of_another_listener(site: Site) -> None:
    queue = a_queue()
    async with plain_channel(site.url("carry")) as channel:
        await channel.queue_declare(queue, exclusive=True, auto_delete=True)
        for act in (consume(queue), lambda other: other.queue_bind(queue, NAMES.outcomes, KEY)):
            with pytest.raises(REFUSED):
                await attempt(site.url("momentum"), act)


async def test_only_guest_gets_into_another_virtual_host(site: Site) -> None:
    with pytest.raises(aiormq.exceptions.AMQPError):
        await attempt(site.url("momentum").removesuffix("signalq"), declare(a_queue()))


# ---- no less: with any right left out, something that they do is refused ----


async def listen(channel: AbstractChannel) -> None:
    queue = a_queue()
    await channel.queue_declare(queue, exclusive=True, auto_delete=True)
    await channel.queue_bind(queue, NAMES.outcomes, KEY)
    await consume(queue)(channel)


async def look_at_letters(channel: AbstractChannel) -> None:
    await channel.queue_declare(NAMES.dead_reader, exclusive=True, auto_delete=True)
    await consume(NAMES.dead)(channel)
    await consume(NAMES.ledger)(channel)


WORK: dict[str, dict[str, Act]] = {
    "momentum": {"publish": publish(NAMES.orders, "nobody"), "listen": listen},
    GATEWAY: {"publish": publish(NAMES.orders, "nobody")},
    CONSUMER: {
        "read the shared lane": consume(NAMES.orders),
        "read a lane": consume(NAMES.lane("main")),
        "read what is due": consume(NAMES.due),
        "read the ledger's mark": consume(NAMES.ledger),
        "ask for the dead letters' queue": ask(NAMES.dead),
        "publish to unrouted": publish(NAMES.unrouted, ""),
        "publish to a queue": publish("", "nowhere"),
        "park": publish(NAMES.delay(0), "nowhere"),
        "tell an outcome": publish(NAMES.outcomes, "main.momentum.delivered"),
    },
    OPERATOR: {
        "ask for a lane": ask(NAMES.lane("main")),
        "ask for the dead letters' queue": ask(NAMES.dead),
        "ask for what is parked": ask(NAMES.delay(3)),
        "look at letters": look_at_letters,
        "listen": listen,
        "publish": publish(NAMES.orders, "nobody"),
        "tell an outcome": publish(NAMES.outcomes, "main.momentum.canceled"),
    },
}


@pytest.mark.parametrize("user", WORK)
async def test_with_its_rights_each_can_do_all_that_the_next_test_tries(site: Site, user: str) -> None:
    assert await refusals(site, user, WORK[user]) == []


@pytest.mark.parametrize("user", WORK)
async def test_without_one_of_its_rights_something_is_refused(site: Site, user: str) -> None:
    of_no_use = [str(one) for one in LACKING if one.user == user and not await refusals(site, one.name, WORK[user])]
    # The gateway has no right there: a broker that answers it answers everybody, as RabbitMQ before 4.3 does.
    asks_freely = user == CONSUMER and not await refusals(site, GATEWAY, {"ask": ask(NAMES.dead)})
    assert of_no_use == ([f"{CONSUMER}, Permission, write signalq\\.dead"] if asks_freely else [])


async def test_a_user_without_a_right_learns_that_it_gets_no_answer_for_that(site: Site) -> None:
    if not await refusals(site, GATEWAY, {"ask": ask(NAMES.dead)}):
        return  # RabbitMQ before 4.3 answers
    async with await connect(site.url(GATEWAY), name="signalq test") as connection:
        with pytest.raises(BrokerUnreachable, match=rf"whether there is {NAMES.dead}, for it has no right there"):
            await queue_depth(connection, NAMES.dead)


async def refusals(site: Site, user: str, acts: dict[str, Act]) -> list[str]:
    """The rights that the broker refuses, each tried on a connection of its own."""
    refused = []
    for what, act in acts.items():
        try:
            await attempt(site.url(user), act)
        except REFUSED:
            refused.append(what)
    return refused
