"""The SDK without a broker: what is checked before anything is sent."""

from __future__ import annotations

import asyncio
import copy
import pickle
from decimal import Decimal
from typing import Any

import pytest

from signalq import (
    BrokerError,
    BrokerUnreachable,
    InvalidIntent,
    OrderIntent,
    OrderPublisher,
    OutcomeError,
    OutcomesUnavailable,
    OutcomeTimeout,
    Problem,
    Receipt,
    SignalQError,
    SyncOrderPublisher,
    Unconfirmed,
    Unroutable,
)
from signalq.amqp.connection import connect
from signalq.message.intent import intent_from_body
from signalq.names import Names
from signalq.publishing.prepare import prepare
from signalq.secrets.masking import masked
from signalq.testing import InMemoryOrderPublisher

INTENT = OrderIntent(connector_name="main", action="openLong", percent="50")
TRAVELLED: OrderIntent = pickle.loads(pickle.dumps(INTENT))  # noqa: S301 - our own bytes
# Port 1 of loopback: nobody listens, connecting is refused at once.
NOBODY = "amqp://user:topsecret@127.0.0.1:1/"


def prepared(**options: Any) -> Any:
    return prepare(INTENT, **({"strategy": None, "message_id": None, "now_ms": 1_700_000_000_123} | options))


def test_a_message_is_routed_by_its_connector_and_carries_its_creation_time() -> None:
    order = prepared(strategy="momentum", message_id="id-1")
    assert order.routing_key == "main"
    assert order.body == b'{"connectorName":"main","action":"openLong","percent":"50"}'
    assert order.receipt.message_id == order.properties.message_id == "id-1"
    assert order.properties.headers["signalq-created-ms"] == order.receipt.created_ms == 1_700_000_000_123


def test_an_intent_without_an_id_is_given_a_new_one() -> None:
    assert prepared().receipt.message_id != prepared().receipt.message_id


@pytest.mark.parametrize("name", ["message_id", "strategy"])
@pytest.mark.parametrize("text", ["", "x" * 256, "é" * 128, "\ud800"], ids=["empty", "256", "128 x 2", "surrogate"])
def test_an_identity_or_a_strategy_that_amqp_cannot_carry_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidIntent, match=f"{name}: must have 1 to 255 bytes of UTF-8"):
        prepared(**{name: text})


@pytest.mark.parametrize("identity", [7, b"bytes", ["list"]])
def test_an_identity_that_is_no_text_is_refused_by_name(identity: object) -> None:
    with pytest.raises(InvalidIntent, match="message_id: must have 1 to 255 bytes of UTF-8"):
        prepared(message_id=identity)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"percent": "101"}, "percent: must be at most 100"),
        ({"percent": float("nan")}, "percent: must not be a float"),
        ({"limit": None}, "limit: is null"),
        ({"action": object()}, "action: must be one of"),
        ({"action": "cancel"}, "client_order_id: is needed with the action cancel"),
    ],
)
def test_a_copy_that_was_never_checked_is_checked_before_it_leaves(changed: dict[str, Any], problem: str) -> None:
    async def run() -> None:
        with pytest.raises(InvalidIntent, match=problem):
            await OrderPublisher(NOBODY, outcomes=False).publish(INTENT.model_copy(update=changed))

    asyncio.run(run())


@pytest.mark.parametrize(
    "changed",
    [
        INTENT.model_copy().model_copy(update={"percent": "101"}),
        copy.deepcopy(INTENT).model_copy(update={"limit": None}),
        TRAVELLED.model_copy(update={"delay_seconds": 5.0, "percent": "0"}),
        INTENT.model_copy(update={"unknown": "field"}),
        OrderIntent.model_construct(),
        OrderIntent.model_construct(**{**INTENT.__dict__, "percent": "-1"}),
        intent_from_body(INTENT.to_message()).model_copy(update={"action": "sell short"}),
    ],
)
def test_an_intent_that_was_changed_in_any_way_is_validated_before_it_leaves(changed: OrderIntent) -> None:
    with pytest.raises(InvalidIntent):
        prepare(changed, strategy=None, message_id=None, now_ms=1)


def test_an_intent_is_validated_once() -> None:
    for same in (INTENT, INTENT.model_copy(), copy.deepcopy(INTENT), TRAVELLED):
        assert same.checked() is same
    read = intent_from_body(INTENT.to_message())
    assert read.checked() is read


def test_a_copy_goes_out_as_an_intent_made_of_the_same_fields_does() -> None:
    copied = prepare(INTENT.model_copy(update={"percent": Decimal("1E1")}), strategy=None, message_id="1", now_ms=1)
    assert copied.body == b'{"connectorName":"main","action":"openLong","percent":"10"}'


@pytest.mark.parametrize("name", ["message_id", "strategy"])
def test_an_identity_or_a_strategy_may_have_255_bytes(name: str) -> None:
    properties = prepared(**{name: "é" * 127 + "x"}).properties
    assert "é" * 127 + "x" in (properties.message_id, properties.app_id)


def test_an_intent_that_has_become_invalid_is_caught_before_it_leaves() -> None:
    with pytest.raises(InvalidIntent, match="percent: must be at most 100"):
        prepare(INTENT.model_copy(update={"percent": "101"}), strategy=None, message_id=None, now_ms=1)


def test_an_intent_larger_than_a_message_may_be_is_caught_before_it_leaves() -> None:
    with pytest.raises(InvalidIntent, match="at most 65536"):
        prepare(INTENT.model_copy(update={"log": "x" * 70_000}), strategy=None, message_id=None, now_ms=1)


async def test_an_invalid_intent_needs_no_connection() -> None:
    orders = OrderPublisher(NOBODY)
    with pytest.raises(InvalidIntent):
        await orders.publish(INTENT.model_copy(update={"action": "cancel"}))
    await orders.close()
    blocking = SyncOrderPublisher(NOBODY)
    with pytest.raises(InvalidIntent, match="client_order_id"):
        blocking.publish(INTENT.model_copy(update={"action": "cancel"}))
    with pytest.raises(RuntimeError, match="in a with block"):
        blocking.publish(INTENT)


@pytest.mark.parametrize("given", [None, {"connectorName": "main", "action": "buy"}, b"{}"])
def test_an_object_that_is_no_intent_is_refused_as_invalid(given: Any) -> None:
    with pytest.raises(InvalidIntent, match=f"is no OrderIntent, but of type {type(given).__name__}"):
        prepare(given, strategy=None, message_id=None, now_ms=1)


async def test_entering_without_a_broker_says_so_without_the_password() -> None:
    with pytest.raises(BrokerUnreachable) as refusal:
        async with OrderPublisher(NOBODY):
            pytest.fail("there is no broker on port 1")
    assert "127.0.0.1:1" in str(refusal.value)
    assert "topsecret" not in str(refusal.value)


async def test_publishing_without_a_broker_keeps_trying_until_its_time_is_up() -> None:
    orders = OrderPublisher(NOBODY, publish_timeout_s=0.05)
    with pytest.raises(Unconfirmed) as refusal:
        await orders.publish(INTENT, message_id="id-1")
    assert refusal.value.message_id == "id-1"
    await orders.close()


async def test_a_closed_publisher_opens_no_connection_any_more() -> None:
    orders = OrderPublisher(NOBODY)
    await orders.close()
    with pytest.raises(Unconfirmed, match="closed"):
        await orders.publish(INTENT)


def test_the_blocking_publisher_without_a_broker_says_so_and_ends_its_thread() -> None:
    with pytest.raises(BrokerUnreachable), SyncOrderPublisher(NOBODY):
        pytest.fail("there is no broker on port 1")


def test_the_blocking_publisher_outside_its_block_says_how_to_use_it() -> None:
    with pytest.raises(RuntimeError, match="in a with block"):
        SyncOrderPublisher(NOBODY).publish(INTENT)


@pytest.mark.parametrize("failure", [Unroutable, Unconfirmed])
async def test_the_twin_raises_the_error_that_the_test_asked_for_once(failure: Any) -> None:
    async with InMemoryOrderPublisher() as orders:
        orders.fail_next(failure)
        with pytest.raises(failure) as refusal:
            await orders.publish(INTENT, message_id="id-1")
        assert refusal.value.message_id == "id-1"
        await orders.publish(INTENT, message_id="id-1")
        assert [sent.message_id for sent in orders.published] == ["id-1"]


async def test_the_twins_receipts_have_the_outcome_that_the_test_sets() -> None:
    async with InMemoryOrderPublisher(strategy="momentum") as orders:
        receipt = await orders.publish(INTENT, message_id="id-1")
        with pytest.raises(OutcomeTimeout):
            await receipt.outcome(timeout_s=0.01)
        orders.settle("id-1", "delivered")
        outcome = await receipt.outcome()
        assert (outcome.status, outcome.attempts, outcome.http_status) == ("delivered", 1, 200)
        assert (outcome.intent_id, outcome.connector, outcome.strategy) == ("id-1", "main", "momentum")
        orders.settle_all("dead", reason="expired")
        assert (await (await orders.publish(INTENT)).outcome()).reason == "expired"
        with pytest.raises(LookupError):
            orders.settle("another", "delivered")


async def test_the_twin_ends_every_wait_when_it_settles_or_is_closed() -> None:
    orders = InMemoryOrderPublisher()
    settled, never = await orders.publish(INTENT), await orders.publish(INTENT)
    asked = [asyncio.create_task(receipt.outcome()) for receipt in (settled, never)]
    await asyncio.sleep(0)
    orders.settle(settled.message_id, "canceled")
    assert (await asked[0]).status == "canceled"
    await orders.close()
    with pytest.raises(OutcomesUnavailable, match="closed"):
        await asked[1]


async def test_other_bytes_under_a_known_id_do_not_get_the_outcome_of_the_first() -> None:
    """The consumer ends them under an id of their own."""
    async with InMemoryOrderPublisher() as orders:
        first = await orders.publish(INTENT, message_id="id-1")
        second = await orders.publish(INTENT.model_copy(update={"percent": "51"}), message_id="id-1")
        again = await orders.publish(INTENT, message_id="id-1")
        orders.settle("id-1", "delivered")
        assert await first.outcome() == await again.outcome()
        with pytest.raises(OutcomeTimeout):
            await second.outcome(timeout_s=0.01)


async def test_a_receipt_without_a_listener_says_so_at_once() -> None:
    with pytest.raises(OutcomesUnavailable) as refusal:
        await Receipt("id-1", 0).outcome()
    assert refusal.value.message_id == "id-1"


def test_errors_have_one_root_and_two_levels() -> None:
    for error in (Unroutable, Unconfirmed, BrokerUnreachable):
        assert issubclass(error, BrokerError)
    assert issubclass(BrokerError, SignalQError)
    for error in (OutcomeTimeout, OutcomesUnavailable):
        assert issubclass(error, OutcomeError)
    assert issubclass(OutcomeError, SignalQError)
    assert issubclass(InvalidIntent, SignalQError)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:topsecret@host:5672/v", "amqp://user:***@host:5672/v"),
        ("amqps://user:topsecret@host/?password=topsecret", "amqps://user:***@host/"),
        ("amqp://host/", "amqp://host/"),
        ("amqp://user:topsecret@host:port/", "a malformed URL"),
        ("amqp://user:top#secret@host/", "a malformed URL"),
        ("amqp://user:topsecret@[::1/", "a malformed URL"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize("url", ["", "amqp://", "amqp://h:topsecret@host:99999/", "amqp://u:top/secret@127.0.0.1:1/"])
async def test_a_url_that_leads_nowhere_is_unreachable_and_shows_no_password(url: str) -> None:
    with pytest.raises(BrokerUnreachable) as refusal:
        await connect(url, name="test", timeout_s=5)
    assert "secret" not in str(refusal.value)


def test_every_name_is_under_the_prefix() -> None:
    names = Names("desk.a")
    found = [names.orders, names.unrouted, names.due, names.dead, names.outcomes, names.delay(3)]
    assert found == [f"desk.a.{part}" for part in ("orders", "unrouted", "due", "dead", "outcomes", "delay.3")]


@pytest.mark.parametrize(
    "error",
    [
        InvalidIntent([Problem("percent", "must be at most 100")]),
        Unroutable("no queue", "id-1"),
        Unconfirmed("no confirm", "id-2"),
        OutcomeTimeout("no outcome", "id-3"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_whole_out_of_a_process_pool(error: SignalQError) -> None:
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))
