"""The users that deploy/container/make-secrets makes, on a real broker: each may do its work, and nothing else."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiormq
import pytest

from signalq import OrderIntent, OrderPublisher
from signalq.amqp.connection import connect
from signalq.amqp.topology import OwnLane, Topology
from signalq.local import PrivateRabbitMQ
from signalq.message.outcome import binding_key
from signalq.names import Names
from tests.support.broker import URL_VARIABLE, Broker
from tests.support.commands import run
from tests.support.consumer import Consumer
from tests.support.rights import attempt, bind, consume, declare, publish
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

SCRIPT = Path(__file__).parents[3] / "deploy" / "container" / "make-secrets"
VHOST = "desk"
NAMES = Names()
REFUSED = (aiormq.exceptions.ChannelAccessRefused, aiormq.exceptions.ChannelLockedResource)


@dataclass(frozen=True)
class Desk:
    """The broker's port, and the secrets folder."""

    port: int
    secrets: Path

    def url(self, user: str) -> str:
        """As the service has it, but for where the broker is."""
        given = urlsplit((self.secrets / f"{user}-broker-url").read_text(encoding="utf-8").strip())
        return f"amqp://desk-{given.username}:{given.password}@127.0.0.1:{self.port}/{VHOST}"


@pytest.fixture(scope="module")
def desk(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """In a virtual host of its own, and with other names of users, beside those of other tests."""
    if not isinstance(broker, PrivateRabbitMQ):
        skip_outside_ci(f"adds users to the broker, which only a private one allows: unset {URL_VARIABLE}")
    folder = tmp_path_factory.mktemp("desk")
    (folder / "make-secrets").write_bytes(SCRIPT.read_bytes())
    subprocess.run(["sh", folder / "make-secrets"], check=True, capture_output=True, timeout=60)  # noqa: S603, S607 - our own script
    found = json.loads((folder / "secrets" / "rabbitmq-definitions").read_text(encoding="utf-8"))
    for one in found["users"]:
        one["name"] = f"desk-{one['name']}"
    for one in [*found["permissions"], *found["topic_permissions"]]:
        one |= {"user": f"desk-{one['user']}", "vhost": VHOST}
    found["vhosts"] = [{"name": VHOST}]
    for exchange in found["exchanges"]:
        exchange["vhost"] = VHOST
    file = folder / "definitions.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    broker.ctl("import_definitions", str(file))
    made = Desk(broker.port, folder / "secrets")
    asyncio.run(_declare(made.url("consumer")))
    yield made
    broker.ctl("delete_vhost", VHOST)


async def _declare(url: str) -> None:
    connection = await connect(url, name="signalq test")
    await Topology(NAMES, (OwnLane("main"),)).declare(connection)
    await connection.close()


async def test_each_user_can_do_its_work(
    desk: Desk, webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer declares, delivers, dead-letters, tells and acts on dead letters; a strategy orders and hears."""
    webhook.behave(lambda order: Answer(status=400 if order.json.get("log") == "refuse" else 200, body=b"ok"))
    settings: dict[str, object] = {"ledger.url": f"sqlite+aiosqlite:///{tmp_path}/ledger.db"}
    config = '[connectors.main]\ntoken = "a-token-of-the-desk"\n'
    consumer = Consumer(desk.url("consumer"), NAMES.prefix, webhook.url, settings, config=config)
    async with consumer, OrderPublisher(desk.url("strategies"), strategy="momentum") as orders:
        await consumer.started()
        intent = OrderIntent(connector_name="main", action="openLong", percent="5")
        await orders.publish(intent)
        await orders.publish(intent.model_copy(update={"delay_seconds": 1.2}))
        await orders.publish(OrderIntent(connector_name="main", action="openLong", percent="5", log="refuse"))
        await wait_until(lambda: len(consumer.events("intent.settled")) == 3, what="the end of all three")
        statuses = sorted(str(line["status"]) for line in consumer.events("intent.settled"))
        assert statuses == ["dead", "delivered", "delivered"]
        assert consumer.events("broker.lane_lost") == []
        await attempt(desk.url("strategies"), bind(binding_key(strategy="momentum")))
    monkeypatch.setenv("SIGNALQ_BROKER__URL", desk.url("consumer"))
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", str(settings["ledger.url"]))
    ran = await run("dead", "list", "--json")
    assert (ran.status, json.loads(ran.out)["reason"]) == (0, "rejected"), ran.err


@pytest.mark.parametrize(
    "act",
    [
        consume(NAMES.orders),
        consume(NAMES.lane("main")),
        consume(NAMES.dead),
        declare("signalq.orders.mine"),
        declare("anything"),
        publish("", NAMES.orders),
        publish(NAMES.outcomes, "main.momentum.delivered"),
        bind("#"),
    ],
)
async def test_a_strategy_can_do_nothing_else(desk: Desk, act: object) -> None:
    with pytest.raises(REFUSED):
        await attempt(desk.url("strategies"), act)  # type: ignore[arg-type]


async def test_the_notifier_hears_of_outcomes_and_another_user_is_told_which_right_is_missing(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", f"sqlite+aiosqlite:///{tmp_path}/none.db")
    monkeypatch.setenv("SIGNALQ_BROKER__URL", desk.url("strategies"))
    ran = await run("notify", "--dry-run")
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    assert "does not let this user listen for outcomes, the right read on the exchange signalq.outcomes" in ran.err
    monkeypatch.setenv("SIGNALQ_BROKER__URL", desk.url("notify"))
    ran = await run("notify", "--dry-run")
    assert (ran.status, "RabbitMQ" in ran.out) == (0, False), ran.err
    assert "the ledger is not reachable: there is no ledger at" in ran.out


@pytest.mark.parametrize(
    "act",
    [
        consume(NAMES.orders),
        consume(NAMES.dead),
        declare("anything"),
        publish("", NAMES.orders),
        publish(NAMES.orders, "main"),
        publish(NAMES.outcomes, "main.momentum.delivered"),
    ],
)
async def test_the_notifier_can_make_no_work_and_do_nothing_else(desk: Desk, act: object) -> None:
    with pytest.raises(REFUSED):
        await attempt(desk.url("notify"), act)  # type: ignore[arg-type]


@pytest.mark.parametrize("act", [declare("anything"), publish("amq.fanout", "x")])
async def test_the_consumer_can_do_nothing_beyond_its_prefix(desk: Desk, act: object) -> None:
    with pytest.raises(REFUSED):
        await attempt(desk.url("consumer"), act)  # type: ignore[arg-type]
