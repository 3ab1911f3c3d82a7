"""Every connector's name that the contract allows works, in a lane of its own and in the shared one (section 1)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pamqp.commands import Queue

from signalq import OrderIntent, OrderPublisher
from signalq.local import PrivateRabbitMQ
from signalq.message.outcome import routing_key
from signalq.names import Names
from tests.support.amqp import plain_channel
from tests.support.broker import ExternalBroker
from tests.support.commands import Signalq
from tests.support.consumer import Consumer
from tests.support.outcomes import Heard
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

Broker = PrivateRabbitMQ | ExternalBroker

SETTINGS = {"webhook.connect_timeout_s": 2, "webhook.timeout_s": 3, "delivery.drain_timeout_s": 8}
NAMES = [
    "我的機器人",
    "a*b",
    "#",
    "*.*",
    "a b",
    "a\u00a0b",
    '"quoted" & \\back\\slashed\\',
    "[connectors.x]",
    "{[(<>)]}|$%!?;=~`^'",
    "e\u0301 ünï",
    "👩‍💻".replace("\u200d", ""),
    "\ue000",
    "amq.direct",
    "x" * 128,
    "é" * 64,
    "default",
    "-",
    ".",
    "a.b.c",
    "/",
]


class AnyDelete(Queue.Delete):
    def validate(self) -> None:
        """Any name."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A lane of its own for each name, but for a shared one."""
    tables = [f"[connectors.{toml(name)}]\n" for name in NAMES] + [f'[connectors.{toml("共 享")}]\nlane = "shared"\n']
    path = tmp_path / "signalq.toml"
    path.write_text("".join(tables), "utf-8")
    return path


def toml(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


@pytest_asyncio.fixture
async def lanes(broker: Broker, names: Names) -> AsyncIterator[list[str]]:
    """The queues of these lanes, deleted after the test."""
    queues = [names.lane(name) for name in NAMES]
    yield queues
    async with plain_channel(broker.url) as channel:
        for queue in queues:
            await channel.rpc(AnyDelete(queue=queue))


async def test_every_name_that_a_connector_may_have_works_from_its_settings_to_its_outcome(
    broker: Broker,
    names: Names,
    lanes: list[str],
    heard: Heard,
    webhook: Webhook,
    config: Path,
    signalq: Signalq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNALQ_CONFIG", str(config))
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
    applied = await signalq("topology", "apply", "--json")
    assert (applied.status, applied.err) == (0, "")
    assert {f"queue {queue}" for queue in lanes} <= set(applied.rows[0]["added"])
    everybody = [*NAMES, "共 享", "not configured ☃"]
    async with Consumer(broker.url, names.prefix, webhook.url, {**SETTINGS, "config": config}) as consumer:
        assert (await consumer.started())["lanes"] == len(NAMES) + 1
        async with OrderPublisher(broker.url, strategy="m", prefix=names.prefix) as orders:
            for name in everybody:
                intent = OrderIntent(connector_name=name, connector_token="t", action="openLong", percent="5")
                outcome = await (await orders.publish(intent)).outcome(timeout_s=10)
                assert (outcome.status, outcome.connector) == ("delivered", name)
        assert [order.connector for order in webhook.orders] == everybody
        assert not consumer.events("intent.forwarded"), "each lies in its own lane"
        await wait_until(lambda: len(heard.events) == len(everybody), what="an event each")
        assert [key for key, _, _ in heard.events] == [routing_key(name, "m", "delivered") for name in everybody]

        listed = await signalq("lanes", "list", "--json")
        assert [(row["connector"], row["queue"]) for row in listed.rows] == [
            *zip(NAMES, lanes, strict=True),
            (None, names.orders),
        ]
        for name in ("我的機器人", "a*b"):
            paused = await signalq("lanes", "pause", name, "--json")
            assert (paused.status, paused.rows[0]["connector"], paused.rows[0]["state"]) == (0, name, "paused")
        published = await signalq("publish", "--connector", "a b", "--action=buy", "--token=t", "--percent=1")
        assert (published.status, published.err) == (0, ""), published
        await wait_until(lambda: len(webhook.orders) > len(everybody), what="the one of the command")
        shown = await signalq("topology", "show", "--json")
        assert {row["state"] for row in shown.rows} == {"present"}
        checked = await signalq("check", "--json")
        assert [row for row in checked.rows if row["state"] == "wrong"] == []
        assert checked.status == 0


async def test_a_lane_of_any_name_that_no_setting_names_any_more_is_read_empty_and_named(
    broker: Broker,
    names: Names,
    lanes: list[str],
    webhook: Webhook,
    config: Path,
    signalq: Signalq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
    async with Consumer(broker.url, names.prefix, webhook.url, {**SETTINGS, "config": config}) as consumer:
        await consumer.started()
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        await wait_until(lambda: len(consumer.events("lane.retired", unbound=True)) == len(NAMES))
        checked = await signalq("check", "--json")
        retired = [row["found"] for row in checked.rows if row["check"] == "retired lane"]
        assert len(retired) == len(NAMES)
        assert any(names.lane("我的機器人") in found for found in retired)
