"""The switch as an operator has it: `signalq lanes …` beside a real consumer, a real broker and a real webhook."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio

from signalq import OrderIntent, OrderPublisher
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.commands import Ran, Signalq
from tests.support.consumer import Consumer
from tests.support.waiting import PATIENCE_S, elapsed, wait_until
from tests.support.webhook import Answer, Webhook

# Two looks at the switch, and a sign of life besides: who would go on has gone on by then.
A_WHILE_S = 1.0
CONFIG = """
[connectors.main]
lane = "shared"

[connectors.own]
"""
ROW_FIELDS = ["connector", "queue", "ready", "unacked", "state", "active_consumer"]


@dataclass
class Floor:
    """A consumer, its producer, and the commands beside it."""

    broker: Broker
    names: Names
    hook: Webhook
    signalq: Signalq
    stack: AsyncExitStack
    consumers: list[Consumer] = field(default_factory=list)
    _orders: OrderPublisher | None = None

    @property
    def consumer(self) -> Consumer:
        """The one that was started last."""
        return self.consumers[-1]

    async def start(self, **settings: object) -> Consumer:
        """Start a consumer; keys have two underscores for the point."""
        chosen = {key.replace("__", "."): value for key, value in settings.items()}
        consumer = Consumer(self.broker.url, self.names.prefix, self.hook.url, chosen, config=CONFIG)
        await self.stack.enter_async_context(consumer)
        self.consumers.append(consumer)
        await consumer.started()
        return consumer

    async def publish(self, connector: str = "main", action: str = "openLong", **fields: Any) -> str:
        """One intent; its id."""
        if self._orders is None:
            publisher = OrderPublisher(self.broker.url, strategy="momentum", prefix=self.names.prefix)
            self._orders = await self.stack.enter_async_context(publisher)
        fields |= {} if action.startswith("cancel") else {"percent": "50"}
        intent = OrderIntent(connector_name=connector, connector_token="t", action=action, **fields)  # type: ignore[arg-type]
        return (await self._orders.publish(intent)).message_id

    async def lanes(self, *arguments: str) -> Ran:
        """`signalq lanes …`, which is to succeed."""
        ran = await self.signalq("lanes", *arguments)
        assert ran.status == 0, ran.err
        return ran

    async def states(self) -> dict[str | None, str]:
        """The states that `lanes list` shows, by connector."""
        return {row["connector"]: row["state"] for row in (await self.lanes("list", "--json")).rows}

    async def settled(self, intent_id: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the ending of an intent: its log line."""
        await wait_until(lambda: self.consumer.events("intent.settled", intent_id=intent_id), timeout_s)
        return self.consumer.events("intent.settled", intent_id=intent_id)[0]

    async def held(self) -> None:
        """Assert that nothing more is POSTed for a while."""
        seen = len(self.hook.orders)
        await elapsed(A_WHILE_S)
        assert len(self.hook.orders) == seen


@pytest_asyncio.fixture
async def floor(
    broker: Broker,
    names: Names,
    webhook: Webhook,
    signalq: Signalq,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Floor]:
    (tmp_path / "signalq.toml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(tmp_path / "signalq.toml"))
    async with AsyncExitStack() as stack:
        yield Floor(broker, names, webhook, signalq, stack)


async def test_a_paused_connector_keeps_its_orders_in_their_order_and_holds_up_no_other(floor: Floor) -> None:
    await floor.start()
    await floor.lanes("pause", "main", "--why", "odd fills")
    waiting = [await floor.publish("main", action) for action in ("openLong", "closeLong", "openShort")]
    others = [await floor.publish(connector) for connector in ("other", "third")]
    for intent_id in others:
        assert (await floor.settled(intent_id))["status"] == "delivered"
    await floor.held()
    assert {order.connector for order in floor.hook.orders} == {"other", "third"}
    await floor.lanes("resume", "main")
    for intent_id in waiting:
        assert (await floor.settled(intent_id))["status"] == "delivered"
    assert [order.json["action"] for order in floor.hook.orders[2:]] == ["openLong", "closeLong", "openShort"]
    (paused, resumed) = floor.consumer.events("switch.changed")
    assert (paused["connector"], paused["state"], paused["why"], paused["level"]) == (
        "main",
        "paused",
        "odd fills",
        "warning",
    )
    assert resumed["state"] == "open"
    assert paused["who"] == resumed["who"]


async def test_an_order_that_gets_too_old_while_it_is_paused_is_expired_within_a_second_of_its_deadline(
    floor: Floor,
) -> None:
    await floor.start(delivery__open_max_age_s=2)
    await floor.lanes("pause", "--all")
    began_s = time.time()
    intent_id = await floor.publish()
    settled = await floor.settled(intent_id)
    assert (settled["status"], settled["reason"]) == ("dead", "expired")
    late_s = datetime.fromisoformat(settled["timestamp"]).timestamp() - began_s - 2
    assert -0.1 < late_s < 1, f"it was dead {late_s:.2f} s after its deadline"
    assert floor.hook.orders == []


async def test_close_only_lets_exits_go_and_opens_are_dead_when_they_would_be_posted(floor: Floor) -> None:
    """A delayed one when it is due, not before; a replayed one again."""
    await floor.start()
    await floor.lanes("close-only", "main")
    delayed = await floor.publish("main", delay_seconds=2)
    exits = [await floor.publish("main", "closeLong"), await floor.publish("main", "cancelAll")]
    opened = await floor.publish("main", "openShort")
    for intent_id in exits:
        assert (await floor.settled(intent_id))["status"] == "delivered"
    settled = await floor.settled(opened)
    assert (settled["status"], settled["reason"]) == ("dead", "forbidden")
    canceled = await floor.settled(delayed)
    assert canceled["status"] == "canceled", "the cancelAll came after it"
    late = await floor.publish("main", delay_seconds=1)
    settled = await floor.settled(late)
    assert (settled["status"], settled["reason"]) == ("dead", "forbidden")
    assert floor.consumer.events("intent.scheduled", intent_id=late)
    (letter,) = (await floor.signalq("dead", "list", "--id", opened, "--json")).rows
    assert letter["detail"] == "its connector is switched to close-only: exits go, opens don't"
    assert letter["attempts"] == 0
    assert (await floor.signalq("dead", "replay", "--id", opened)).status == 0
    await wait_until(lambda: len(floor.consumer.events("intent.settled", intent_id=opened)) == 2)
    assert floor.consumer.events("intent.settled", intent_id=opened)[1]["reason"] == "forbidden"
    assert (await floor.signalq("dead", "list", "--id", opened, "--json")).rows[0]["generation"] == 2
    await floor.lanes("resume", "main")
    assert (await floor.signalq("dead", "replay", "--id", opened)).status == 0
    await wait_until(lambda: len(floor.consumer.events("intent.settled", intent_id=opened)) == 3)
    assert floor.consumer.events("intent.settled", intent_id=opened)[2]["status"] == "delivered"
    assert [order.json["action"] for order in floor.hook.orders] == ["closeLong", "cancelAll", "openShort"]


async def test_a_pause_outlives_the_consumer_and_the_next_one_says_so(floor: Floor) -> None:
    """Also one of a connector that nobody has seen yet; a drain does not wait for what is held."""
    first = await floor.start()
    await floor.lanes("pause", "never-seen", "--why", "not yet")
    waiting = await floor.publish("never-seen")
    await wait_until(lambda: first.events("switch.changed"))
    await floor.held()
    began_s = time.monotonic()
    await first.end()
    assert time.monotonic() - began_s < 10, "half of the time to drain, which waiting for what is held would use up"
    second = await floor.start()
    await wait_until(lambda: second.events("switch.found"))
    assert second.events("switch.found")[0]["connectors"] == "never-seen: paused"
    assert second.events("switch.changed") == []
    await floor.held()
    await floor.lanes("resume", "--all")
    assert (await floor.settled(waiting))["status"] == "delivered"
    assert len(floor.hook.orders) == 1


async def test_the_stricter_of_two_switches_counts_and_resume_all_clears_both(floor: Floor) -> None:
    consumer = await floor.start()
    await floor.lanes("pause", "main")
    await floor.lanes("close-only", "--all")
    assert await floor.states() == {"own": "close-only", None: "close-only", "main": "paused"}
    await floor.lanes("pause", "--all")
    ran = await floor.lanes("resume", "main")
    assert ran.out == (
        "main is paused as before: all connectors are, and main itself is open now (`signalq lanes resume --all` opens "
        "all); 1 consumer has taken it up\n"
    )
    assert await floor.states() == {"own": "paused", None: "paused"}
    waiting = await floor.publish("main")
    await floor.held()
    for label in ("*", "main", "own"):
        assert await consumer.metric("signalq_lane_paused", connector=label) == 1
    await floor.lanes("close-only", "main")
    await floor.lanes("resume", "--all")
    assert await floor.states() == {"own": "open", None: "open"}
    assert (await floor.settled(waiting))["status"] == "delivered"
    await floor.publish("main")
    await floor.hook.received(2)
    for label in ("*", "main", "own"):
        assert await consumer.metric("signalq_lane_paused", connector=label) == 0


async def test_a_post_on_the_wire_is_finished_and_a_failed_one_is_tried_again_only_after_the_pause(
    floor: Floor,
) -> None:
    await floor.start(delivery__backoff_base_s=0.05)
    floor.hook.script(Answer(status=429, delay_s=3))
    intent_id = await floor.publish()
    await floor.hook.received(1)
    await floor.lanes("pause", "--all")
    await wait_until(lambda: floor.consumer.events("delivery.attempted"))
    await floor.held()
    await floor.lanes("resume", "--all")
    assert (await floor.settled(intent_id))["status"] == "delivered"
    assert len(floor.hook.orders) == 2


async def test_the_list_says_what_waits_what_is_held_and_who_serves_it(floor: Floor) -> None:
    consumer = await floor.start(delivery__shared_window=2)
    await floor.lanes("pause", "main")
    for _ in range(5):
        await floor.publish()

    async def listed() -> list[dict[str, Any]] | None:
        found = (await floor.lanes("list", "--json")).rows
        return found if found[1]["unacked"] == 2 else None

    own, shared, main = await wait_until(listed, what="2 messages that are held")
    assert [list(row) for row in (own, shared, main)] == [ROW_FIELDS] * 3
    assert (own["connector"], own["queue"]) == ("own", f"{floor.names.orders}.own")
    assert (shared["connector"], shared["queue"], shared["ready"]) == (None, floor.names.orders, 3)
    assert shared["active_consumer"].endswith(f":{consumer.pid}")
    assert (main["state"], main["queue"], main["ready"], main["unacked"]) == ("paused", floor.names.orders, None, None)
    table = (await floor.lanes("list")).out
    assert table.splitlines()[0].split() == ["CONNECTOR", "STATE", "READY", "UNACKED", "QUEUE", "CONSUMER"]
    checked = await floor.signalq("check", "--json")
    assert [row["found"] for row in checked.rows if row["check"] == "switch"] == ["main paused"]
    consumer.kill()
    ran = await floor.lanes("resume", "main", "--json")
    assert ran.rows[0]["taken_up_by"] == []
    assert (await floor.lanes("list", "--json")).rows[1]["active_consumer"] is None
    ran = await floor.lanes("pause", "mian")
    assert ran.out == "mian is paused now; no consumer runs, it holds for those that come\n"
    assert ran.err == "the settings name no connector mian, the nearest is main\n"
    assert (await floor.lanes("pause", "zebra")).err == "the settings name no connector zebra\n"


async def test_wrong_usage_is_told_in_a_sentence(floor: Floor) -> None:
    for arguments in (
        ("pause",),
        ("pause", "main", "--all"),
        ("resume", ""),
        ("close-only", "a\nb"),
        ("pause", "x" * 129),
    ):
        ran = await floor.signalq("lanes", *arguments)
        assert ran.status == 2, arguments
        assert ran.err.count("\n") == 1
    ran = await floor.signalq("lanes", "pause", "main")
    assert (ran.status, ran.out) == (1, "")
    assert "there is no ledger" in ran.err


class SlowToConnect(Webhook):
    """A webhook whose port takes no connection before the server is started: connecting goes on meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._fillers = [self._fill() for _ in range(4)]

    def _fill(self) -> socket.socket:
        filler = socket.socket()
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect(self.socket.getsockname())
        return filler

    async def __aenter__(self) -> Self:
        for filler in self._fillers:
            filler.close()
        self._server = await asyncio.start_server(self._serve, sock=self.socket)
        return self


async def test_a_post_that_had_to_wait_for_its_connection_looks_at_the_switch_again_and_sends_nothing(
    floor: Floor,
) -> None:
    """Its claim was made before the pause; then connecting took longer than the pause may."""
    slow = SlowToConnect()
    port = slow.socket.getsockname()[1]
    url = f"http://127.0.0.1:{port}/hook"
    patient = {"webhook__connect_timeout_s": 18, "webhook__timeout_s": 20, "delivery__drain_timeout_s": 45}
    consumer = await floor.start(webhook__url=url, delivery__backoff_base_s=0.05, **patient)
    intent_id = await floor.publish()

    async def is_claimed() -> bool:
        rows = (await floor.signalq("orders", "list", "--json")).rows
        return [row["status"] for row in rows] == ["sending"]

    await wait_until(is_claimed)
    await floor.lanes("pause", "--all")
    async with slow:
        await wait_until(lambda: consumer.events("delivery.attempted", intent_id=intent_id))
        (attempted,) = consumer.events("delivery.attempted", intent_id=intent_id)
        assert attempted["certainty"] == "not taken"
        assert attempted["why"] == "too late or not allowed any more once there was a connection"
        assert slow.orders == []
        await floor.lanes("resume", "--all")
        assert (await floor.settled(intent_id))["status"] == "delivered"
        assert len(slow.orders) == 1
