"""The schedule from outside: what is pending can be seen and canceled, by people and by intents (contract 3)."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq.local import PrivateRabbitMQ
from tests.support.amqp import depth, publish_all
from tests.support.broker import ExternalBroker
from tests.support.commands import Ran, Signalq
from tests.support.consumer import Consumer, ledger_file, ledger_url
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

Broker = PrivateRabbitMQ | ExternalBroker

SETTINGS = {"log.level": "debug"}
ROW_FIELDS = ["intent_id", "connector", "strategy", "action", "client_order_id", "due_at", "remaining_s", "order"]
LATER_S = 600


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def intent(
    intent_id: str,
    action: str = "openLong",
    *,
    connector: str = "main",
    strategy: str = "momentum",
    created_ms: int | None = None,
    **fields: object,
) -> tuple[bytes, Basic.Properties]:
    """An intent as a plain AMQP client would publish it; its id is in its log as well."""
    whole = {"connectorName": connector, "connectorToken": "t", "action": action, "log": intent_id} | fields
    properties = Basic.Properties(
        delivery_mode=2,
        message_id=intent_id,
        app_id=strategy,
        headers={"signalq-created-ms": created_ms if created_ms is not None else now_ms()},
    )
    return json.dumps(whole).encode(), properties


class Desk:
    """A consumer with its webhook and its ledger, and the commands beside it."""

    def __init__(self, broker: Broker, prefix: str, hook: Webhook, consumer: Consumer, signalq: Signalq) -> None:
        self.consumer = consumer
        self.hook = hook
        self._broker = broker
        self._prefix = prefix
        self._signalq = signalq

    async def publish(self, *intents: tuple[bytes, Basic.Properties]) -> None:
        """To the shared lane, in this order."""
        await publish_all(self._broker.url, "", f"{self._prefix}.orders", intents)

    async def schedule(self, *intents: tuple[bytes, Basic.Properties]) -> None:
        """Publish them and wait until they are parked."""
        before = len(self.consumer.events("intent.scheduled"))
        await self.publish(*intents)
        await wait_until(lambda: len(self.consumer.events("intent.scheduled")) >= before + len(intents))

    async def scheduled(self, *arguments: str) -> Ran:
        """`signalq scheduled …`"""
        return await self._signalq("scheduled", *arguments)

    async def pending(self) -> list[str]:
        """The ids that `scheduled list` shows, in its order."""
        return [row["intent_id"] for row in (await self.scheduled("list", "--json")).rows]

    async def posted(self, *intent_ids: str) -> None:
        """Wait until exactly these were POSTed, in this order."""
        await self.hook.received(len(intent_ids))
        assert [order.json["log"] for order in self.hook.orders] == list(intent_ids)

    async def settled(self, intent_id: str, status: str) -> dict[str, Any]:
        """Wait for an ending; its log line."""
        found = await wait_until(
            lambda: self.consumer.events("intent.settled", intent_id=intent_id, status=status), what=intent_id
        )
        return found[0]


@pytest.fixture
async def desk(broker: Broker, prefix: str, webhook: Webhook, signalq: Signalq) -> Any:
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        yield Desk(broker, prefix, webhook, consumer, signalq)


async def test_pending_orders_are_listed_the_soonest_due_first_with_the_fields_of_the_contract(desk: Desk) -> None:
    created_ms = now_ms()
    await desk.schedule(
        intent("b", delaySeconds=LATER_S + 1, created_ms=created_ms, clientOrderId="c1"),
        intent("a", delaySeconds=LATER_S, created_ms=created_ms, connector="other", strategy="value"),
    )
    await desk.publish(intent("at once"))
    await desk.posted("at once")
    listed = await desk.scheduled("list", "--json")
    assert (listed.status, listed.err) == (0, "2 intents scheduled\n")
    first, second = listed.rows
    assert list(first) == list(second) == ROW_FIELDS
    assert [first[name] for name in ROW_FIELDS[:5]] == ["a", "other", "value", "openLong", None]
    assert [second[name] for name in ROW_FIELDS[:5]] == ["b", "main", "momentum", "openLong", "c1"]
    assert datetime.fromisoformat(first["due_at"]).timestamp() * 1000 == created_ms + LATER_S * 1000
    assert LATER_S - 60 < first["remaining_s"] < LATER_S
    assert first["order"]["delaySeconds"] == LATER_S
    assert (second["order"]["clientOrderId"], second["order"]["log"]) == ("c1", "b")
    by_connector = await desk.scheduled("list", "--connector", "main", "--json")
    by_strategy = await desk.scheduled("list", "--strategy", "value", "--json")
    by_id = await desk.scheduled("list", "--id", "b", "--id", "nobody", "--json")
    assert [[row["intent_id"] for row in ran.rows] for ran in (by_connector, by_strategy, by_id)] == [
        ["b"],
        ["a"],
        ["b"],
    ]
    sorted_rows = await desk.scheduled("list", "--json", "--sort", "-due_at")
    assert [row["intent_id"] for row in sorted_rows.rows] == ["b", "a"]
    table = await desk.scheduled("list", "--all")
    assert table.status == 0
    assert "DUE AT" in table.out
    assert table.out.index("other") < table.out.index("c1")


async def test_a_pending_intent_is_canceled_by_id_and_dropped_when_it_comes_back_even_after_a_restart(
    broker: Broker, prefix: str, webhook: Webhook, signalq: Signalq
) -> None:
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        desk = Desk(broker, prefix, webhook, consumer, signalq)
        await desk.schedule(intent("no", delaySeconds=9), intent("yes", delaySeconds=9))
        canceled = await desk.scheduled("cancel", "--id", "no", "--json")
        assert (canceled.status, canceled.err) == (0, "1 intent canceled\n")
        assert [(row["intent_id"], row["result"]) for row in canceled.rows] == [("no", "canceled")]
        assert await desk.pending() == ["yes"]
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as successor:
        await successor.started()
        again = Desk(broker, prefix, webhook, successor, signalq)
        await webhook.received(1, 20)
        await wait_until(lambda: len(successor.events("intent.received", intent_id="no")) > 0, what="it to come back")
        await again.settled("yes", "delivered")
        late = await again.scheduled("cancel", "--id", "yes", "--id", "no", "--json")
        assert late.status == 1
        assert [(row["intent_id"], row["result"]) for row in late.rows] == [("no", "canceled"), ("yes", "too late")]
    assert await depth(broker.url, f"{prefix}.due") == await depth(broker.url, f"{prefix}.orders") == 0
    assert [order.json["log"] for order in webhook.orders] == ["yes"]


async def test_a_cancel_takes_all_that_fits_and_nothing_else(desk: Desk) -> None:
    await desk.schedule(
        *(intent(f"main {number}", delaySeconds=LATER_S + number) for number in range(3)),
        intent("other", delaySeconds=LATER_S, connector="other"),
        intent("value", delaySeconds=LATER_S + 50, strategy="value"),
    )
    assert (await desk.scheduled("cancel", "--connector", "main", "--strategy", "momentum")).status == 0
    assert await desk.pending() == ["other", "value"]
    everything = await desk.scheduled("cancel", "--all", "--json")
    assert {row["intent_id"] for row in everything.rows} == {"other", "value"}
    assert await desk.pending() == []
    nothing = await desk.scheduled("cancel", "--all")
    assert (nothing.status, nothing.err) == (0, "nothing that fits is scheduled\n")


async def test_a_producers_second_publish_of_a_canceled_intent_is_a_duplicate(desk: Desk) -> None:
    message = intent("once", delaySeconds=LATER_S)
    await desk.schedule(message)
    await desk.scheduled("cancel", "--id", "once")
    await desk.publish(message)
    await desk.settled("once", "duplicate")
    assert await desk.pending() == []


async def test_a_cancel_intent_cancels_what_is_pending_under_its_client_order_id_and_is_still_posted(
    desk: Desk,
) -> None:
    await desk.publish(
        intent("meant", delaySeconds=LATER_S, clientOrderId="c1"),
        intent("of another strategy", delaySeconds=LATER_S, clientOrderId="c1", strategy="value"),
        intent("another order", delaySeconds=LATER_S + 1, clientOrderId="c2"),
        intent("without one", delaySeconds=LATER_S + 2),
        intent("another connector", delaySeconds=LATER_S + 3, clientOrderId="c1", connector="other"),
        intent("the cancel", "cancel", clientOrderId="c1"),
        intent("published after it", delaySeconds=LATER_S + 4, clientOrderId="c1"),
    )
    await desk.posted("the cancel")
    for canceled in ("meant", "of another strategy"):
        assert (await desk.settled(canceled, "canceled"))["canceled_by"] == "the cancel"
    await wait_until(lambda: desk.consumer.events("intent.scheduled", intent_id="published after it"))
    assert await desk.pending() == ["another order", "without one", "another connector", "published after it"]
    assert await desk.consumer.metric("signalq_intents_total", connector="main", status="canceled", reason="") == 0
    other = await desk.consumer.metric("signalq_intents_total", connector="other", status="canceled", reason="")
    assert other in {0, 2}, "the label is `other` until the connector had an accepted POST"


@pytest.mark.parametrize("spelling", ["cancelAll", "cancellAll", "cancel_all"])
async def test_a_cancel_all_cancels_all_of_its_connector_that_was_created_before_it(desk: Desk, spelling: str) -> None:
    soon = [intent(f"soon {number}", delaySeconds=1.5, clientOrderId=str(number)) for number in range(5)]
    await desk.publish(
        *soon,
        intent("an exit", "closeLong", delaySeconds=LATER_S, strategy="value"),
        intent("another connector", delaySeconds=LATER_S, connector="other"),
        intent("the cancel", spelling),
    )
    await desk.posted("the cancel")
    await desk.publish(intent("created after it", delaySeconds=1.5))
    await desk.posted("the cancel", "created after it")
    assert await desk.pending() == ["another connector"]
    for number in range(5):
        assert len(desk.consumer.events("intent.settled", intent_id=f"soon {number}")) == 1


async def test_an_order_created_after_the_cancel_stays_although_it_was_published_before_it(desk: Desk) -> None:
    at_ms = now_ms()
    await desk.schedule(intent("newer", delaySeconds=LATER_S, created_ms=at_ms - 1_000))
    await desk.publish(intent("older cancel", "cancelAll", created_ms=at_ms - 2_000))
    await desk.posted("older cancel")
    assert await desk.pending() == ["newer"]


async def test_a_delayed_cancel_cancels_when_it_falls_due(desk: Desk) -> None:
    await desk.schedule(
        intent("waits", delaySeconds=LATER_S),
        intent("the cancel", "cancelAll", delaySeconds=1.2),
    )
    assert await desk.pending() == ["the cancel", "waits"]
    await desk.posted("the cancel")
    assert (await desk.settled("waits", "canceled"))["canceled_by"] == "the cancel"
    assert await desk.pending() == []


async def test_the_gauge_counts_what_is_pending(desk: Desk) -> None:
    await desk.schedule(intent("a", delaySeconds=LATER_S), intent("b", delaySeconds=LATER_S))

    async def counted() -> bool:
        return await desk.consumer.metric("signalq_scheduled") == 2

    await wait_until(counted, what="the gauge")


async def test_a_cancel_that_names_nothing_and_ids_that_nobody_knows_are_told_in_one_sentence(desk: Desk) -> None:
    which = await desk.scheduled("cancel")
    assert (which.status, which.out) == (2, "")
    assert "say which: --id, --connector, --strategy, or --all" in which.err
    both = await desk.scheduled("cancel", "--all", "--connector", "main")
    assert (both.status, both.out) == (2, "")
    unknown = await desk.scheduled("cancel", "--id", "nobody\x1b[31m")
    assert (unknown.status, unknown.out) == (1, "")
    assert "the ledger knows no intent nobody\\x1b[31m" in unknown.err
    assert "\x1b" not in unknown.err


async def test_without_a_ledger_the_commands_say_where_they_looked(
    signalq: Signalq, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["list"], ["cancel", "--all"]):
        ran = await signalq("scheduled", *arguments)
        assert (ran.status, ran.out) == (1, "")
        assert str(ledger_file(prefix)) in ran.err
        assert len(ran.err.splitlines()) == 1
    assert not ledger_file(prefix).exists(), "only `consume` and `demo` create one"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", "postgresql+asyncpg://me:hidden@127.0.0.1:1/none")
    gone = await signalq("scheduled", "list")
    assert (gone.status, gone.out) == (1, "")
    assert "hidden" not in gone.err
    assert ledger_url(prefix) not in gone.err
