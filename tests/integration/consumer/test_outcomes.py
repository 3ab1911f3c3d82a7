"""Every ending is told: the real consumer, a real RabbitMQ, and whoever listens."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import pytest
import pytest_asyncio
from pamqp.commands import Basic

from signalq import OrderIntent, OrderPublisher, SyncOrderPublisher
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.message.identity import digest_of, separate_id
from signalq.names import Names
from tests.support.amqp import depth, publish_all
from tests.support.broker import ExternalBroker, close_connections
from tests.support.commands import Signalq, start
from tests.support.consumer import Consumer
from tests.support.outcomes import Heard
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Hang, Webhook

Broker = PrivateRabbitMQ | ExternalBroker

FIELDS = [
    "intent_id",
    "generation",
    "connector",
    "strategy",
    "action",
    "client_order_id",
    "status",
    "reason",
    "attempts",
    "http_status",
    "created_at",
    "due_at",
    "updated_at",
]
SETTINGS = {"webhook.connect_timeout_s": 2, "webhook.timeout_s": 3, "delivery.drain_timeout_s": 8}
OPEN = OrderIntent(connector_name="main", connector_token="t", action="openLong", percent="50")


@pytest_asyncio.fixture
async def consumer(broker: Broker, names: Names, heard: Heard, webhook: Webhook) -> AsyncIterator[Consumer]:
    """A consumer, started; whoever listens was there before."""
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as running:
        await running.started()
        yield running


async def publish_plainly(broker: Broker, names: Names, messages: Sequence[tuple[bytes, Basic.Properties]]) -> None:
    await publish_all(broker.url, names.orders, "main", messages)


async def test_a_delivered_order_is_published_once_with_all_known_facts(
    orders: OrderPublisher, heard: Heard, consumer: Consumer
) -> None:
    receipt = await orders.publish(OPEN.model_copy(update={"client_order_id": "c1"}), message_id="id-1")
    outcome = await receipt.outcome(timeout_s=10)
    assert (outcome.status, outcome.reason, outcome.attempts, outcome.http_status) == ("delivered", None, 1, 200)
    assert (outcome.intent_id, outcome.generation, outcome.strategy) == ("id-1", 1, "momentum")
    await wait_until(lambda: heard.events)
    ((routing_key, headers, fields),) = heard.events
    assert routing_key == "main.momentum.delivered"
    assert headers == {"signalq-intent-id": "id-1", "signalq-generation": 1}
    assert list(fields) == FIELDS
    assert fields == outcome.row()
    assert (fields["action"], fields["client_order_id"], fields["due_at"]) == ("openLong", "c1", None)
    created_at, updated_at = (datetime.fromisoformat(fields[name]) for name in ("created_at", "updated_at"))
    assert round(created_at.timestamp() * 1000) == receipt.created_ms
    assert created_at <= updated_at


async def test_a_refused_order_is_published_as_dead_with_its_reason_and_the_webhooks_answer(
    orders: OrderPublisher, webhook: Webhook
) -> None:
    webhook.behave(Answer(status=400, body=b"no"))
    outcome = await (await orders.publish(OPEN)).outcome()
    assert (outcome.status, outcome.reason, outcome.http_status) == ("dead", "rejected", 400)


async def test_an_unreadable_message_is_published_as_dead_invalid(
    broker: Broker, names: Names, consumer: Consumer, heard: Heard
) -> None:
    await publish_plainly(broker, names, [(b"not JSON", Basic.Properties(message_id="bad", app_id="a.b c"))])
    (fields,) = await heard.first(1)
    assert (fields["status"], fields["reason"], fields["intent_id"]) == ("dead", "invalid", "bad")
    assert (fields["connector"], fields["action"], fields["created_at"]) == ("main", None, None)
    assert heard.events[0][0] == "main.a_b_c.dead"


async def test_a_duplicate_is_published_as_such_and_answered_with_the_first_ones_outcome(
    orders: OrderPublisher, heard: Heard
) -> None:
    first = await (await orders.publish(OPEN, message_id="id-1")).outcome()
    await wait_until(lambda: len(heard.of("id-1")) == 1)
    assert await (await orders.publish(OPEN, message_id="id-1")).outcome() == first
    events = await heard.first(3)
    assert [fields["status"] for fields in events] == ["delivered", "duplicate", "delivered"]
    assert [fields["attempts"] for fields in events] == [1, 0, 1]


async def test_other_bytes_under_a_known_id_are_published_as_dead_under_their_own_id_and_to_their_own_receipt(
    orders: OrderPublisher, heard: Heard
) -> None:
    other = OPEN.model_copy(update={"percent": "51"})
    first = await orders.publish(OPEN, message_id="id-1")
    second = await orders.publish(other, message_id="id-1")
    assert (await second.outcome()).reason == "invalid"
    assert (await second.outcome()).intent_id == separate_id("id-1", digest_of(other.to_message()))
    assert (await first.outcome()).status == "delivered"
    await heard.first(2)


async def test_the_outcome_of_a_canceled_order_is_published_before_the_cancels_post_is_answered(
    orders: OrderPublisher, heard: Heard, webhook: Webhook
) -> None:
    delayed = OPEN.model_copy(update={"delay_seconds": 30, "client_order_id": "c1"})
    canceled = await orders.publish(delayed)
    webhook.behave(Hang())
    await orders.publish(OrderIntent(connector_name="main", connector_token="t", action="cancelAll"))
    outcome = await canceled.outcome(timeout_s=10)
    assert (outcome.status, outcome.attempts) == ("canceled", 0)
    assert outcome.due_at is not None
    assert outcome.created_at is not None
    assert (outcome.due_at - outcome.created_at).total_seconds() == 30
    assert webhook.orders[0].answered_ns is None
    webhook.behave(Answer())


async def test_an_order_that_a_person_cancels_is_told_at_once_and_again_when_its_message_comes_back(
    orders: OrderPublisher, heard: Heard, signalq: Signalq
) -> None:
    receipt = await orders.publish(OPEN.model_copy(update={"delay_seconds": 3}), message_id="id-1")
    await wait_until(lambda: signalq_knows(signalq))
    ran = await signalq("scheduled", "cancel", "--all")
    assert ran.status == 0, ran.err
    assert (await receipt.outcome(timeout_s=2)).status == "canceled"
    events = await heard.first(2)
    assert [fields["status"] for fields in events] == ["canceled", "canceled"]
    assert events[0] == events[1]


async def signalq_knows(signalq: Signalq) -> bool:
    return bool((await signalq("scheduled", "list", "--json")).rows)


async def test_a_person_can_cancel_while_the_broker_is_away_and_a_sentence_says_when_the_events_come(
    orders: OrderPublisher, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orders.publish(OPEN.model_copy(update={"delay_seconds": 60}))
    await wait_until(lambda: signalq_knows(signalq))
    monkeypatch.setenv("SIGNALQ_BROKER__URL", "amqp://guest:guest@127.0.0.1:1/")
    ran = await signalq("scheduled", "cancel", "--all")
    assert ran.status == 0
    assert "1 intent canceled" in ran.err
    assert "their outcome events come when they would have been due" in ran.err


async def test_the_next_order_of_a_connector_does_not_wait_for_the_event_of_the_one_before(
    broker: Broker, names: Names, consumer: Consumer, heard: Heard, webhook: Webhook
) -> None:
    """And the events of one connector come in the order of their endings."""
    body = OPEN.to_message()
    messages = [(body, Basic.Properties(message_id=f"id-{number}", app_id="s")) for number in range(50)]
    await publish_plainly(broker, names, messages)
    events = await heard.first(50)
    assert [fields["intent_id"] for fields in events] == [f"id-{number}" for number in range(50)]
    assert {fields["status"] for fields in events} == {"delivered"}


async def test_a_drain_tells_and_acknowledges_what_was_on_the_wire(
    orders: OrderPublisher, heard: Heard, webhook: Webhook, consumer: Consumer, broker: Broker, names: Names
) -> None:
    webhook.behave(Answer(delay_s=1.0))
    await orders.publish(OPEN, message_id="id-1")
    await webhook.received(1)
    assert await consumer.terminate() == 0
    assert [fields["status"] for fields in await heard.first(1)] == ["delivered"]
    assert await depth(broker.url, names.orders) == 0


async def test_an_ending_that_was_recorded_and_not_told_before_a_kill_is_told_by_the_next_consumer(
    broker: Broker, names: Names, heard: Heard, webhook: Webhook
) -> None:
    ids = [f"id-{number}" for number in range(200)]
    messages = [(OPEN.to_message(), Basic.Properties(message_id=one, app_id="s")) for one in ids]
    publishing = None
    for _ in range(2):
        posted = len(webhook.orders)
        consumer = Consumer(broker.url, names.prefix, webhook.url, SETTINGS)
        try:
            consumer.start()
            await consumer.started()
            publishing = publishing or asyncio.create_task(publish_plainly(broker, names, messages))
            await webhook.received(posted + 40)
            consumer.kill()
        finally:
            await asyncio.to_thread(consumer.close)
        await publishing
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as last:
        await last.started()
        await wait_until(lambda: {fields["intent_id"] for _, _, fields in heard.events} == set(ids))
        by_id = {one: {(fields["status"], fields["reason"]) for fields in heard.of(one)} for one in ids}
    assert all(len(told) == 1 for told in by_id.values()), "no event contradicts another"
    doubtful = [one for one, told in by_id.items() if told != {("delivered", None)}]
    assert len(doubtful) <= 2
    assert all(by_id[one] == {("dead", "outcome-unknown")} for one in doubtful)


async def test_the_blocking_publisher_has_outcomes_too(
    broker: Broker, names: Names, consumer: Consumer, heard: Heard
) -> None:
    def publish_and_ask() -> str:
        with SyncOrderPublisher(broker.url, strategy="momentum", prefix=names.prefix) as blocking:
            receipt = blocking.publish(OPEN)
            first = receipt.outcome(timeout_s=10)
            assert receipt.outcome(timeout_s=0) == first
            return first.status

    assert await asyncio.to_thread(publish_and_ask) == "delivered"


async def test_without_a_strategy_its_name_is_a_dash_and_the_outcome_comes_all_the_same(
    broker: Broker, names: Names, consumer: Consumer, heard: Heard
) -> None:
    async with OrderPublisher(broker.url, prefix=names.prefix) as publisher:
        outcome = await (await publisher.publish(OPEN)).outcome()
    assert outcome.strategy == "-"
    await heard.first(1)
    assert heard.events[0][0] == "main.-.delivered"


# --- the command -----------------------------------------------------------------------------------------------------


async def told(process: asyncio.subprocess.Process, what: str) -> None:
    """Read its standard error up to a line with this."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while what not in (line := (await process.stderr.readline()).decode()):
            assert line, f"it ended without saying {what}"


async def test_the_command_follows_the_chosen_outcomes_until_it_is_interrupted(
    orders: OrderPublisher, environment: None, webhook: Webhook
) -> None:
    process = await start("outcomes", "--status", "dead", "--connector", "main", "--json")
    await told(process, "following")
    assert (await (await orders.publish(OPEN, message_id="good")).outcome()).status == "delivered"
    webhook.behave(Answer(status=400))
    await orders.publish(OPEN.model_copy(update={"connector_name": "other"}), message_id="another connector")
    await orders.publish(OPEN, message_id="bad")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        row = json.loads(await process.stdout.readline())
    assert (row["intent_id"], row["status"], row["reason"]) == ("bad", "dead", "rejected")
    assert list(row) == FIELDS
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert b"Traceback" not in err


async def test_the_command_shows_the_endings_since_a_moment_before_it_follows(
    orders: OrderPublisher, environment: None, webhook: Webhook
) -> None:
    assert (await (await orders.publish(OPEN, message_id="before")).outcome()).status == "delivered"
    webhook.behave(Answer(status=400))
    assert (await (await orders.publish(OPEN, message_id="refused")).outcome()).status == "dead"
    process = await start("outcomes", "--since", "15m", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        past = [json.loads(await process.stdout.readline()) for _ in range(2)]
        await orders.publish(OPEN, message_id="after")
        after = json.loads(await process.stdout.readline())
    assert [(row["intent_id"], row["status"], row["reason"]) for row in (*past, after)] == [
        ("before", "delivered", None),
        ("refused", "dead", "rejected"),
        ("after", "dead", "rejected"),
    ]
    assert [list(row) for row in past] == [FIELDS] * 2
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")


@pytest.mark.bare_prefix
async def test_the_command_says_that_the_exchange_is_missing(signalq: Signalq) -> None:
    ran = await signalq("outcomes")
    assert ran.status == 1
    assert "signalq topology apply" in ran.err


async def test_the_command_says_when_the_connection_was_lost_and_goes_on_when_it_is_back(
    own_broker: PrivateRabbitMQ, topology: Topology, environment: None
) -> None:
    process = await start("outcomes")
    await told(process, "following")
    await close_connections(own_broker, "signalq outcomes")
    await told(process, "lost")
    await told(process, "listening again")
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0
