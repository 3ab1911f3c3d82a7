"""An exit ends the waiting of the opens ahead of it, and only that: the real consumer, broker and HTTP (contract 3)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest_asyncio
from pamqp.commands import Basic

from signalq.names import Names
from tests.support.amqp import Message, drain, publish_all
from tests.support.broker import Broker
from tests.support.commands import Signalq
from tests.support.consumer import Consumer
from tests.support.outcomes import Heard, hearing
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Order, Webhook

# Far longer than any test waits: whoever is POSTed within a test did not wait for it.
LONG_S = 120
AT_ONCE_S = 5.0
SETTINGS = {
    "webhook.connect_timeout_s": 2,
    "webhook.timeout_s": 3,
    "delivery.drain_timeout_s": 8,
    "delivery.open_max_age_s": 600,
    "delivery.retry_after_max_s": 300,
    "delivery.backoff_base_s": 100,
    "delivery.backoff_max_s": 200,
}
NOT_NOW = Answer(status=429, headers={"Retry-After": str(LONG_S)})
UNAVAILABLE = Answer(status=503, headers={"Retry-After": str(LONG_S)})


class Play:
    """A consumer, what it is answered, and what became of it."""

    def __init__(self, broker: Broker, names: Names, hook: Webhook, consumer: Consumer, heard: Heard) -> None:
        self.broker, self.names, self.hook, self.consumer, self.heard = broker, names, hook, consumer, heard

    async def publish(self, *intents: tuple[str, dict[str, Any]]) -> None:
        """Each as its id and its fields, in this order."""
        now_ms = time.time_ns() // 1_000_000
        messages = [
            (
                json.dumps({"connectorName": "main", "connectorToken": "t", "log": name} | fields).encode(),
                Basic.Properties(delivery_mode=2, message_id=name, headers={"signalq-created-ms": now_ms}),
            )
            for name, fields in intents
        ]
        await publish_all(self.broker.url, "", self.names.orders, messages)

    async def tried(self, name: str) -> None:
        """Wait until this one has had an attempt."""
        tried = self.consumer.events
        await wait_until(lambda: tried("delivery.attempted", intent_id=name), what=f"an attempt of {name}")

    async def settled(self, name: str) -> tuple[str, str | None]:
        """Wait until this one has ended; its status and reason."""
        settled = self.consumer.events
        (line,) = await wait_until(lambda: settled("intent.settled", intent_id=name), what=f"the end of {name}")
        return line["status"], line["reason"]

    @property
    def posts(self) -> list[str]:
        """The ids of what was POSTed, in that order."""
        return [order.json["log"] for order in self.hook.orders]

    async def letters(self) -> dict[str, Message]:
        """The dead letters, by id."""
        found = await drain(self.broker.url, self.names.dead)
        return {str(letter.headers["signalq-intent-id"]): letter for letter in found}


@pytest_asyncio.fixture
async def play(broker: Broker, names: Names, webhook: Webhook) -> AsyncIterator[Play]:
    async with (
        hearing(broker.url, names.outcomes) as heard,
        Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as consumer,
    ):
        await consumer.started()
        yield Play(broker, names, webhook, consumer, heard)


OPEN_LONG = {"action": "openLong", "percent": "50"}
OPEN_SHORT = {"action": "openShort", "fixed": "1"}
BUY = {"action": "buy", "percent": "5"}
CLOSE_LONG = {"action": "closeLong", "percent": "100"}
CLOSE_SHORT = {"action": "closeShort", "percent": "100.0"}
CANCEL_ALL = {"action": "cancelAll"}


async def test_an_open_that_was_turned_away_is_superseded_and_the_close_goes_at_once(play: Play) -> None:
    play.hook.script(NOT_NOW)
    await play.publish(("open", OPEN_LONG))
    await play.tried("open")
    began_s = time.monotonic()
    await play.publish(("close", CLOSE_LONG))
    assert await play.settled("close") == ("delivered", None)
    assert time.monotonic() - began_s < AT_ONCE_S
    assert await play.settled("open") == ("dead", "superseded")
    assert play.posts == ["open", "close"]
    letter = (await play.letters())["open"]
    assert letter.headers["signalq-reason"] == "superseded"
    assert letter.headers["signalq-attempts"] == 1
    assert letter.headers["signalq-detail"] == (
        "its waiting for the next attempt was ended by a closeLong that came after it; the last of 1 attempts: HTTP 429"
    )
    told = [(event["intent_id"], event["status"], event["reason"]) for event in await play.heard.first(2)]
    assert told == [("open", "dead", "superseded"), ("close", "delivered", None)]


async def test_a_cancel_all_supersedes_all_that_wait_ahead_of_it_and_none_behind_it(play: Play) -> None:
    play.hook.script(UNAVAILABLE)
    await play.publish(("first", OPEN_LONG))
    await play.tried("first")
    await play.publish(("second", OPEN_SHORT), ("third", BUY), ("all", CANCEL_ALL), ("behind", OPEN_LONG))
    assert await play.settled("behind") == ("delivered", None)
    assert play.posts == ["first", "all", "behind"]
    assert [await play.settled(name) for name in ("first", "second", "third")] == [("dead", "superseded")] * 3
    letters = await play.letters()
    assert [letters[name].headers["signalq-attempts"] for name in ("first", "second", "third")] == [1, 0, 0]


async def test_an_exit_that_is_turned_away_itself_backs_off_as_any_other(play: Play) -> None:
    play.hook.script(NOT_NOW, NOT_NOW)
    await play.publish(("open", OPEN_LONG))
    await play.tried("open")
    await play.publish(("close", CLOSE_LONG))
    await play.tried("close")
    (line,) = play.consumer.events("delivery.attempted", intent_id="close")
    assert line["next_attempt_at"] is not None
    assert await play.settled("open") == ("dead", "superseded")
    # The next one has nobody to supersede: it waits behind the first, in order.
    await play.publish(("again", CLOSE_LONG))
    await wait_until(lambda: len(play.consumer.events("delivery.attempted")) == 2)
    assert play.posts == ["open", "close"]


async def test_where_nobody_listens_the_exit_is_tried_at_once(
    broker: Broker, names: Names, webhook: Webhook, unused_tcp_port: int
) -> None:
    """Nothing is sent, so both go on being tried; the close before the open's next attempt."""
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    async with (
        hearing(broker.url, names.outcomes) as heard,
        Consumer(broker.url, names.prefix, url, SETTINGS) as consumer,
    ):
        await consumer.started()
        play = Play(broker, names, webhook, consumer, heard)
        await play.publish(("open", OPEN_SHORT))
        await play.tried("open")
        await play.publish(("close", CLOSE_SHORT))
        await play.tried("close")
        assert await play.settled("open") == ("dead", "superseded")


async def test_opens_that_only_queue_while_the_webhook_works_are_posted_before_the_exit(play: Play) -> None:
    play.hook.script(Answer(delay_s=1.0))
    await play.publish(("wire", OPEN_LONG), ("queued", OPEN_LONG), ("close", CLOSE_LONG), ("all", CANCEL_ALL))
    assert await play.settled("all") == ("delivered", None)
    assert play.posts == ["wire", "queued", "close", "all"]


async def test_nothing_else_ends_the_waiting_of_an_open(play: Play) -> None:
    """Each on a connector of its own, whose open waits: it goes on waiting, and what came stays behind it."""
    others: dict[str, dict[str, Any]] = {
        "other-side": CLOSE_SHORT,
        "half": {"action": "closeLong", "percent": "50"},
        "limit": {**CLOSE_LONG, "limit": "7"},
        "fixed": {**CLOSE_LONG, "fixed": "7"},
        "cancel": {"action": "cancel", "clientOrderId": "c"},
        "open": OPEN_SHORT,
        "not-due": {**CLOSE_LONG, "delaySeconds": 60},
        "expired": CLOSE_LONG,
    }

    def react(order: Order) -> Answer:
        return NOT_NOW if order.json["log"].startswith("first") else Answer()

    play.hook.behave(react)
    await play.publish(*((f"first-{name}", OPEN_LONG | {"connectorName": name}) for name in others))
    for name in others:
        await play.tried(f"first-{name}")
    await play.publish(
        *((name, fields | {"connectorName": name}) for name, fields in others.items() if name != "expired")
    )
    long_ago = Basic.Properties(
        delivery_mode=2, message_id="expired", headers={"signalq-created-ms": 1_000_000_000_000}
    )
    body = json.dumps({"connectorName": "expired", "connectorToken": "t"} | CLOSE_LONG).encode()
    await publish_all(play.broker.url, "", play.names.orders, [(body, long_ago)])
    # A connector whose open is superseded, behind all of these, says that they have been looked at.
    await play.publish(("first-main", OPEN_LONG))
    await play.tried("first-main")
    await play.publish(("main", CLOSE_LONG))
    assert await play.settled("main") == ("delivered", None)
    dead = {line["intent_id"] for line in play.consumer.events("intent.settled", status="dead")}
    assert dead == {"first-main"}
    assert sorted(play.posts) == sorted([*(f"first-{name}" for name in (*others, "main")), "main"])


async def test_an_exit_that_is_known_already_ends_nothing(play: Play) -> None:
    await play.publish(("close", CLOSE_LONG))
    assert await play.settled("close") == ("delivered", None)
    play.hook.script(NOT_NOW)
    await play.publish(("open", OPEN_LONG))
    await play.tried("open")
    await play.publish(("close", CLOSE_LONG), ("cancel", CLOSE_LONG | {"connectorName": "marker"}))
    assert await play.settled("cancel") == ("delivered", None)
    assert play.consumer.events("intent.settled", status="dead") == []
    await play.publish(("new", CLOSE_LONG))
    assert await play.settled("open") == ("dead", "superseded")


async def test_a_delayed_close_supersedes_when_it_falls_due(play: Play) -> None:
    play.hook.script(NOT_NOW)
    await play.publish(("open", OPEN_LONG))
    await play.tried("open")
    await play.publish(("close", CLOSE_LONG | {"delaySeconds": 1.5}))
    assert await play.settled("close") == ("delivered", None)
    assert await play.settled("open") == ("dead", "superseded")
    (delayed,) = [order for order in play.hook.orders if order.json["log"] == "close"]
    (opened,) = play.consumer.events("intent.scheduled")
    assert delayed.at_ns / 1e9 >= datetime.fromisoformat(opened["due_at"]).timestamp()


async def test_after_a_kill_the_open_is_superseded_by_what_came_meanwhile(
    broker: Broker, names: Names, webhook: Webhook, play: Play
) -> None:
    webhook.script(NOT_NOW)
    await play.publish(("open", OPEN_LONG))
    await play.tried("open")
    play.consumer.kill()
    await play.publish(("close", CLOSE_LONG))
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as second:
        await second.started()
        play.consumer = second
        assert await play.settled("close") == ("delivered", None)
        assert await play.settled("open") == ("dead", "superseded")
    assert play.posts == ["open", "close"]


async def test_a_superseded_open_can_be_replayed(play: Play, signalq: Signalq) -> None:
    play.hook.script(NOT_NOW)
    await play.publish(("open", OPEN_LONG))
    await play.tried("open")
    await play.publish(("close", CLOSE_LONG))
    assert await play.settled("close") == ("delivered", None)
    ran = await signalq("dead", "replay", "--reason", "superseded", "--json")
    assert (ran.status, [row["result"] for row in ran.rows]) == (0, ["replayed"]), ran.err
    await wait_until(lambda: play.posts == ["open", "close", "open"], what="the replayed open")
