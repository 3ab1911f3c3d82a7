"""This version takes over the ledger and the topology, with the messages in it, that the version before left behind.

The folder `version_before` says how they were made. Each order is named after what had become of it there.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from signalq.consumer.ledger.database import machine_ms
from signalq.consumer.orders.state import Status
from signalq.names import Names
from tests.support.amqp import RawProperties, plain_channel
from tests.support.broker import Broker
from tests.support.commands import Signalq
from tests.support.consumer import Consumer
from tests.support.outcomes import Heard
from tests.support.postgres import execute
from tests.support.stores import Store, file_of
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

FOLDER = Path(__file__).parent / "version_before"
PREFIX = "former"
ACKNOWLEDGED = "acknowledged"
CONFIG = """
[connectors.main]
lane = "own"

[connectors.halted]
lane = "own"

[connectors.counted]
lane = "shared"
orders_per_minute_max = 1
"""
# A moment in ms since the epoch (a rank has three more digits), and one as people write it.
MOMENT_MS = re.compile(r"\b(1[78]\d{11})(\d{3})?\b")
MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# An order that could go is late by no more, also on a busy machine.
LATE_MS_MAX = 5_000
# The entries of a timeline that say what is to come; when it has come, others take their place.
OPEN_ENDS = {"sending", "next attempt", "dead-lettering"}
# The orders that the consumer of this version POSTs by itself; and the dead letters, its own ones included.
GOES_ON = (
    *("retried", "behind-the-retried", "retried-without-an-id", "cut-off-exit", "no-answer-to-an-exit"),
    *("parked-once", "parked-twice"),
)
DEAD = {
    "refused": "rejected",
    "forbidden": "forbidden",
    "superseded": "superseded",
    "dying": "rejected",
    "no-answer-to-an-open": "outcome-unknown",
    "too-many": "forbidden",
}

pytestmark = pytest.mark.bare_prefix


@dataclass(frozen=True)
class Left:
    """What the version before left: its ledger, its messages, and what its `orders show` said of each order."""

    sql: str
    messages: Sequence[dict[str, Any]]
    orders: Sequence[dict[str, Any]]

    @property
    def lying(self) -> list[dict[str, Any]]:
        """The messages that lay on the broker."""
        return [message for message in self.messages if message["queue"] != ACKNOWLEDGED]

    @property
    def acknowledged(self) -> dict[str, Any]:
        """The message of the order `delivered`."""
        (found,) = (message for message in self.messages if message["queue"] == ACKNOWLEDGED)
        return found


def left_behind(store: Store, prefix: str) -> Left:
    """What it left, under this prefix and as if it had ended just now."""
    folder = FOLDER / ("sqlite" if store.url.startswith("sqlite") else "postgresql")
    taken, *messages = (folder / "messages.jsonl").read_text("utf-8").splitlines()
    later_ms = machine_ms() - json.loads(taken)["taken_ms"]

    def moved(text: str) -> str:
        text = text.replace(f"{PREFIX}.", f"{prefix}.")
        text = MOMENT_MS.sub(lambda found: f"{int(found[1]) + later_ms}{found[2] or ''}", text)
        return MOMENT.sub(lambda found: _later(found[0], later_ms), text)

    orders = (folder / "orders.jsonl").read_text("utf-8").splitlines()
    return Left(
        moved((folder / "ledger.sql").read_text("utf-8")),
        [json.loads(moved(message)) for message in messages],
        [json.loads(moved(order)) for order in orders],
    )


def _later(moment: str, by_ms: int) -> str:
    later = datetime.fromisoformat(moment) + timedelta(milliseconds=by_ms)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def lay_ledger(store: Store, left: Left) -> None:
    if store.url.startswith("sqlite"):
        with closing(sqlite3.connect(file_of(store.url))) as connection:
            connection.executescript(left.sql)
    else:
        await execute(store.url, left.sql)


async def declare(url: str, prefix: str) -> None:
    """Declare the exchanges, queues and bindings as that version had them; it set no policy."""
    objects = json.loads((FOLDER / "topology.json").read_text("utf-8").replace(f"{PREFIX}.", f"{prefix}."))
    assert objects["policies"] == []
    async with plain_channel(url) as channel:
        for one in objects["exchanges"]:
            await channel.exchange_declare(
                one["name"], exchange_type=one["type"], durable=one["durable"], arguments=one["arguments"]
            )
        for one in objects["queues"]:
            await channel.queue_declare(one["name"], durable=one["durable"], arguments=one["arguments"])
        for one in objects["bindings"]:
            await channel.queue_bind(one["destination"], one["source"], one["routing_key"], arguments=one["arguments"])


async def lay_messages(url: str, names: Names, left: Left) -> None:
    """Publish the messages that lay on the broker; what its consumers held in the lanes comes back from them."""
    await publish_again(url, *left.lying)
    for queue in (names.orders, names.lane("halted")):
        await give_back(url, queue, sum(message["queue"] == queue for message in left.lying))


async def publish_again(url: str, *messages: dict[str, Any]) -> None:
    async with plain_channel(url) as channel:
        for message in messages:
            await channel.basic_publish(
                message["body"].encode(),
                exchange=message["exchange"],
                routing_key=message["routing_key"],
                properties=RawProperties(Basic.Properties(**message["properties"]).marshal()),
                mandatory=True,
            )


async def give_back(url: str, queue: str, count: int) -> None:
    """Take so many messages and give them back, in order, as a consumer does that is killed."""
    held: list[DeliveredMessage] = []

    async def hold(message: DeliveredMessage) -> None:
        held.append(message)

    async with plain_channel(url) as channel:
        await channel.basic_qos(prefetch_count=count)
        await channel.basic_consume(queue, hold)
        await wait_until(lambda: len(held) == count, what=f"{count} messages in {queue}")


@pytest.fixture
def signalq(signalq: Signalq, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signalq:
    """Runs a command with the settings of this test's consumer."""
    settings_file = tmp_path / "signalq.toml"
    settings_file.write_text(CONFIG, "utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(settings_file))
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", store.url)
    return signalq


async def timelines(signalq: Signalq, orders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `orders show` says of each of these orders."""
    shown = await asyncio.gather(*(signalq("orders", "show", order["intent_id"], "--json") for order in orders))
    assert [(ran.status, ran.err, len(ran.rows)) for ran in shown] == [(0, "", 1)] * len(orders)
    return [row for ran in shown for row in ran.rows]


def without_lease(order: dict[str, Any]) -> dict[str, Any]:
    """An order without the sentence on a POST on its way: it changes when the lease of the POST is over."""
    timeline = [{**entry, "detail": entry["what"] != "sending" and entry.get("detail")} for entry in order["timeline"]]
    return order | {"timeline": timeline}


async def test_orders_show_tells_every_timeline_as_the_version_before_told_it(
    store: Store, prefix: str, signalq: Signalq
) -> None:
    left = left_behind(store, prefix)
    await lay_ledger(store, left)
    assert {status for (status,) in await store.rows("SELECT DISTINCT status FROM intents")} == set(get_args(Status))
    assert (await signalq("ledger", "upgrade")).status == 0
    told = await timelines(signalq, left.orders)
    assert {order.pop("order", "missing") for order in told} == {None}, "that version did not keep what was ordered"
    assert [without_lease(order) for order in told] == [without_lease(order) for order in left.orders]


async def moments(store: Store) -> dict[str, int]:
    """When each order that goes on by itself may go: when it is due, its backoff is over, or its POST's lease."""
    rows = await store.rows(
        "SELECT intent_id, connector, coalesce(due_ms, lease_until_ms, next_attempt_ms) FROM intents"
        " WHERE status IN ('scheduled', 'sending', 'retrying')"
    )
    found = {"retried-without-an-id" if connector == "limping" else name: ms for name, connector, ms in rows}
    return found | {"behind-the-retried": found["retried"]}


async def test_a_consumer_takes_over_the_orders_of_the_version_before_and_posts_each_once_at_its_time(
    broker: Broker, names: Names, store: Store, webhook: Webhook, heard: Heard, signalq: Signalq
) -> None:
    await declare(broker.url, names.prefix)
    left = left_behind(store, names.prefix)
    await lay_ledger(store, left)
    await lay_messages(broker.url, names, left)
    earliest_ms = await moments(store)
    settings = {"ledger.url": store.url}
    async with Consumer(broker.url, names.prefix, webhook.url, settings, config=CONFIG) as consumer:
        await consumer.started()
        started_ms = machine_ms()
        await say_again(broker.url, left)

        posted = await webhook.received(len(GOES_ON))
        assert sorted(order.json["log"] for order in posted) == sorted(GOES_ON)
        for order in posted:
            at_ms, earliest = order.at_ns // 1_000_000, earliest_ms[order.json["log"]]
            assert earliest <= at_ms <= max(earliest, started_ms) + LATE_MS_MAX, order.json["log"]
        logs = [order.json["log"] for order in posted]
        assert logs.index("retried") < logs.index("behind-the-retried")
        for ended in ("dying", "no-answer-to-an-open", "too-many"):
            await wait_until(lambda ended=ended: heard.of(ended), what=f"the ending of {ended}")
        await wait_until(lambda: len(heard.of("delivered")) == 2, what="the endings of the message that came again")
        # Its ending is told once more: the consumer that was killed may not have told it.
        assert sorted(event["status"] for event in heard.of("delivered")) == ["delivered", "duplicate"]

        listed = await signalq("dead", "list", "--queue", "--json")
        assert {row["intent_id"]: row["reason"] for row in listed.rows} == DEAD
        replayed, lanes, scheduled = await asyncio.gather(
            signalq("dead", "replay", "--id", "refused", "--json"),
            signalq("lanes", "list", "--json"),
            signalq("scheduled", "list", "--json"),
        )
        assert [(row["intent_id"], row["result"]) for row in replayed.rows] == [("refused", "replayed")]
        states = {row["connector"]: row["state"] for row in lanes.rows}
        assert states == {"main": "open", "halted": "paused", None: "open", "leaving": "close-only"}
        assert [row["intent_id"] for row in scheduled.rows] == ["later"]
        await webhook.received(len(GOES_ON) + 1)
        assert (await signalq("lanes", "resume", "halted")).status == 0
        await webhook.received(len(GOES_ON) + 3)
        await wait_until(lambda: len(consumer.events("intent.settled", status="delivered")) == len(GOES_ON) + 3)
        assert {line["event"] for line in consumer.lines if line["level"] == "error"} == {"intent.dead_lettered"}
    logs = [order.json["log"] for order in webhook.orders]
    assert logs[len(GOES_ON) :] == ["refused", "replayed-and-halted", "halted-without-an-id"]
    went_on = [order for order in left.orders if order["intent_id"] in {*GOES_ON, *DEAD}]
    for before, now in zip(went_on, await timelines(signalq, went_on), strict=True):
        kept = [entry for entry in before["timeline"] if entry["what"] not in OPEN_ENDS]
        assert now["timeline"][: len(kept)] == kept, before["intent_id"]


async def say_again(url: str, left: Left) -> None:
    """Let the message of a delivered order come again, and a second open to a connector that may have one a minute."""
    again = left.acknowledged
    body = json.loads(again["body"]) | {"connectorName": "counted", "log": "too-many"}
    too_many = {"body": json.dumps(body), "properties": again["properties"] | {"message_id": "too-many"}}
    await publish_again(url, again, again | too_many | {"routing_key": "counted"})
