"""A receipt answers for its intent, on a real RabbitMQ; the test makes the events where it needs no consumer."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from yarl import URL

from signalq import OrderIntent, OrderPublisher, OutcomesUnavailable, OutcomeTimeout, Receipt, SyncOrderPublisher
from signalq.amqp.topology import Topology
from signalq.consumer.orders.outcomes import event_of
from signalq.local import PrivateRabbitMQ
from signalq.message.outcome import Outcome
from signalq.names import Names
from tests.support.amqp import plain_channel
from tests.support.broker import STRATEGY, Broker, add_user, delete_user, set_rights, through
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

OPEN = OrderIntent(connector_name="main", action="openLong", percent="50")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SHORT_S = 0.2

Tell = Callable[[Outcome], object]
PublisherAs = Callable[..., AbstractAsyncContextManager[OrderPublisher]]


def delivered(receipt: Receipt, **changed: object) -> Outcome:
    """The event that a consumer would send."""
    outcome = Outcome(
        receipt.message_id, 1, "main", STRATEGY, "openLong", None, "delivered", None, 1, 200, NOW, None, NOW
    )
    return replace(outcome, **changed)


@pytest_asyncio.fixture
async def tell(broker: Broker, topology: Topology) -> AsyncIterator[Tell]:
    """Publishes an outcome event, as a consumer does."""
    async with plain_channel(broker.url) as channel:

        async def publish(outcome: Outcome) -> None:
            event = event_of(outcome)
            await channel.basic_publish(
                event.body,
                exchange=topology.names.outcomes,
                routing_key=event.routing_key,
                properties=event.properties,
            )

        yield publish


async def test_the_outcome_is_there_whether_it_comes_before_or_after_it_is_asked_for(
    publisher: OrderPublisher, tell: Tell
) -> None:
    early, late = await publisher.publish(OPEN), await publisher.publish(OPEN)
    await tell(delivered(early))
    asked = [asyncio.create_task(late.outcome()) for _ in range(3)]
    await tell(delivered(late, status="dead", reason="expired"))
    assert [(await one).reason for one in asked] == ["expired"] * 3
    assert await early.outcome(timeout_s=SHORT_S) == await early.outcome(timeout_s=SHORT_S) == delivered(early)


async def test_no_event_in_time_says_so_and_how_to_find_out(publisher: OrderPublisher) -> None:
    receipt = await publisher.publish(OPEN, message_id="id-1")
    with pytest.raises(OutcomeTimeout) as none_came:
        await receipt.outcome(timeout_s=SHORT_S)
    assert none_came.value.message_id == "id-1"
    assert str(none_came.value) == (
        "no outcome came within 0.2 s: it may still be on its way; ask again, or `signalq orders show id-1` says what "
        "became of it"
    )


async def test_the_events_of_others_and_of_duplicates_are_not_taken_for_the_receipts_own(
    publisher: OrderPublisher, tell: Tell
) -> None:
    receipt = await publisher.publish(OPEN)
    await tell(delivered(receipt, status="duplicate", attempts=0))
    await tell(delivered(receipt, strategy="another"))
    await tell(delivered(receipt, intent_id="another"))
    with pytest.raises(OutcomeTimeout):
        await receipt.outcome(timeout_s=SHORT_S)


async def test_a_replayed_intent_has_the_outcome_of_its_last_generation(publisher: OrderPublisher, tell: Tell) -> None:
    receipt = await publisher.publish(OPEN)
    await tell(delivered(receipt, status="dead", reason="rejected"))
    assert (await receipt.outcome()).status == "dead"
    await tell(delivered(receipt, generation=2))
    await tell(delivered(receipt, status="dead", reason="rejected"))
    last = await publisher.publish(OPEN)
    await tell(delivered(last))
    await last.outcome()
    assert ((await receipt.outcome()).status, (await receipt.outcome()).generation) == ("delivered", 2)


async def test_an_event_without_a_receipt_takes_no_memory(publisher: OrderPublisher, tell: Tell) -> None:
    forgotten = (await publisher.publish(OPEN)).message_id
    kept = await publisher.publish(OPEN)
    gc.collect()
    await tell(replace(delivered(kept), intent_id=forgotten))
    await tell(delivered(kept))
    await kept.outcome()
    expected = publisher._listener.expected
    assert {one.message_id for one in expected._all} == {kept.message_id}
    assert forgotten not in expected.by_id


async def test_events_that_came_while_the_connection_was_lost_are_missed_and_the_time_out_says_so(
    broker: Broker, topology: Topology, link: Proxy, tell: Tell
) -> None:
    url = through(link, broker.url)
    async with OrderPublisher(url, strategy=STRATEGY, prefix=topology.names.prefix) as publisher:
        missed = await publisher.publish(OPEN)
        await link.cut(refuse=True)
        await wait_until(lambda: publisher._listener.expected.away)
        await tell(delivered(missed))
        with pytest.raises(OutcomeTimeout, match=r"none can: (no connection to|the connection to) RabbitMQ"):
            await missed.outcome(timeout_s=SHORT_S)
        link.heal()
        await wait_until(lambda: publisher._listener.expected.away is None)
        with pytest.raises(OutcomeTimeout, match=r"was lost .* may have been missed: `signalq orders show"):
            await missed.outcome(timeout_s=SHORT_S)
        heard = await publisher.publish(OPEN)
        await tell(delivered(heard))
        assert (await heard.outcome()).status == "delivered"


async def test_a_publisher_that_does_not_want_outcomes_says_so(broker: Broker, topology: Topology) -> None:
    async with OrderPublisher(broker.url, prefix=topology.names.prefix, outcomes=False) as publisher:
        receipt = await publisher.publish(OPEN)
        with pytest.raises(OutcomesUnavailable, match="does not listen for outcomes"):
            await receipt.outcome()


async def test_a_publisher_that_was_not_entered_publishes_and_says_how_to_hear_of_outcomes(
    broker: Broker, topology: Topology
) -> None:
    publisher = OrderPublisher(broker.url, prefix=topology.names.prefix)
    receipt = await publisher.publish(OPEN)
    with pytest.raises(OutcomesUnavailable, match="`async with`"):
        await receipt.outcome()
    await publisher.close()


async def test_closing_the_publisher_ends_every_wait_for_an_outcome(publisher: OrderPublisher, tell: Tell) -> None:
    waiting, known = await publisher.publish(OPEN), await publisher.publish(OPEN)
    await tell(delivered(known))
    await known.outcome()
    asked = asyncio.create_task(waiting.outcome())
    await asyncio.sleep(0)
    await publisher.close()
    with pytest.raises(OutcomesUnavailable, match="closed") as refusal:
        await asked
    assert refusal.value.message_id == waiting.message_id
    assert (await known.outcome()).status == "delivered"


async def test_a_blocking_receipt_ends_with_its_publisher_and_keeps_what_it_knows(
    broker: Broker, topology: Topology
) -> None:
    def publish_and_close() -> None:
        with SyncOrderPublisher(broker.url, strategy=STRATEGY, prefix=topology.names.prefix) as publisher:
            receipt = publisher.publish(OPEN)
            with pytest.raises(OutcomeTimeout):
                receipt.outcome(timeout_s=SHORT_S)
        with pytest.raises(OutcomesUnavailable, match="closed"):
            receipt.outcome()

    await asyncio.to_thread(publish_and_close)


# --- rights ----------------------------------------------------------------------------------------------------------

NEEDED = {"configure": "{0}\\.outcomes\\..+", "write": "{0}\\.(orders|outcomes\\..+)", "read": "{0}\\.outcomes(\\..+)?"}


@pytest_asyncio.fixture
async def publisher_as(own_broker: PrivateRabbitMQ, topology: Topology) -> AsyncIterator[PublisherAs]:
    """A publisher whose broker user has these rights, as patterns in which {0} is the prefix."""
    user = f"user-{uuid.uuid4().hex[:8]}"
    await asyncio.to_thread(add_user, own_broker, user)

    @asynccontextmanager
    async def with_rights(*, configure: str, write: str, read: str) -> AsyncIterator[OrderPublisher]:
        prefix = topology.names.prefix
        rights = [f"^{right.format(prefix)}$" for right in (configure, write, read)]
        await asyncio.to_thread(set_rights, own_broker, user, *rights)
        url = str(URL(own_broker.url).with_user(user).with_password("password"))
        async with OrderPublisher(url, strategy=STRATEGY, prefix=prefix) as publisher:
            yield publisher

    yield with_rights
    await asyncio.to_thread(delete_user, own_broker, user)


@pytest.mark.parametrize(
    ("right", "pattern", "missing"),
    [
        ("configure", "", "configure on the queue"),
        ("write", "{0}\\.orders", "write on the queue"),
        ("read", "{0}\\.outcomes", "read on the queue"),
        ("read", "{0}\\.outcomes\\..+", "read on the exchange"),
    ],
)
async def test_without_a_right_for_outcomes_publishing_works_and_outcome_says_which_is_missing(
    publisher_as: PublisherAs, right: str, pattern: str, missing: str
) -> None:
    rights = NEEDED | {right: pattern}
    async with publisher_as(**rights) as publisher:
        receipts = [await publisher.publish(OPEN) for _ in range(3)]
        for receipt in receipts:
            with pytest.raises(OutcomesUnavailable, match="does not let this user listen for outcomes") as refusal:
                await receipt.outcome()
            assert f"the right {missing}" in str(refusal.value)
            assert "password" not in str(refusal.value)


async def test_the_documented_rights_are_enough(publisher_as: PublisherAs, tell: Tell) -> None:
    async with publisher_as(**NEEDED) as publisher:
        receipt = await publisher.publish(OPEN)
        await tell(delivered(receipt))
        assert (await receipt.outcome()).status == "delivered"


@pytest.mark.bare_prefix
async def test_without_the_exchange_publishing_says_what_to_do_and_listening_begins_once_it_is_there(
    broker: Broker, names: Names
) -> None:
    async with OrderPublisher(broker.url, strategy=STRATEGY, prefix=names.prefix) as publisher:
        assert "signalq topology apply" in publisher._listener.expected.away
        async with plain_channel(broker.url) as channel:
            await channel.exchange_declare(names.outcomes, exchange_type="topic", durable=True)
        await wait_until(lambda: publisher._listener.expected.away is None)
