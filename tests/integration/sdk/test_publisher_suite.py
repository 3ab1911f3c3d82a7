"""One suite for every publisher: OrderPublisher on a real RabbitMQ, its blocking form, and the in-memory twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import pytest_asyncio

from signalq import (
    InvalidIntent,
    NotAllConfirmed,
    OrderIntent,
    OrderPublisher,
    Receipt,
    SyncOrderPublisher,
    Unconfirmed,
)
from signalq.publishing.results import Given
from signalq.testing import InMemoryOrderPublisher
from tests.support.amqp import drain

INTENT = OrderIntent(connector_name="main", action="openLong", percent="50", delay_seconds=1)


class Publisher(Protocol):
    """The calls that the suite makes on a publisher."""

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt: ...

    async def publish_many(self, intents: Iterable[Given], **options: Any) -> int: ...

    async def close(self) -> None: ...


class InThreads:
    """A SyncOrderPublisher, each call in a thread."""

    def __init__(self, blocking: SyncOrderPublisher) -> None:
        self._blocking = blocking

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt:
        return await asyncio.to_thread(self._blocking.publish, intent, message_id=message_id)

    async def publish_many(self, intents: Iterable[Given], **options: Any) -> int:
        return await asyncio.to_thread(self._blocking.publish_many, intents, **options)

    async def close(self) -> None:
        await asyncio.to_thread(self._blocking.close)


@dataclass
class Sent:
    """One message as it was published."""

    body: bytes
    message_id: str
    strategy: str | None
    created_ms: int


@dataclass
class Subject:
    """A publisher under test, and what it has published so far (asking once takes it away)."""

    orders: Publisher
    sent: Callable[[int], Any]


@asynccontextmanager
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    broker, topology = request.getfixturevalue("broker"), request.getfixturevalue("topology")
    async with OrderPublisher(broker.url, strategy="momentum", prefix=topology.names.prefix) as orders:
        yield Subject(orders, lambda count: taken(broker.url, topology.names.orders, count))


@asynccontextmanager
async def blocking(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    broker, topology = request.getfixturevalue("broker"), request.getfixturevalue("topology")
    publisher = SyncOrderPublisher(broker.url, strategy="momentum", prefix=topology.names.prefix)
    await asyncio.to_thread(publisher.__enter__)
    try:
        yield Subject(InThreads(publisher), lambda count: taken(broker.url, topology.names.orders, count))
    finally:
        await asyncio.to_thread(publisher.close)


@asynccontextmanager
async def in_memory(_request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with InMemoryOrderPublisher(strategy="momentum") as orders:

        async def sent(count: int) -> list[Sent]:
            assert len(orders.published) == count
            return [Sent(one.body, one.message_id, one.strategy, one.created_ms) for one in orders.published]

        yield Subject(orders, sent)


async def taken(url: str, queue: str, count: int) -> list[Sent]:
    return [
        Sent(
            message.body,
            message.properties.message_id or "",
            message.properties.app_id,
            message.headers["signalq-created-ms"],
        )
        for message in await drain(url, queue, count)
    ]


SUBJECTS = {"OrderPublisher": real, "SyncOrderPublisher": blocking, "InMemoryOrderPublisher": in_memory}


@pytest.fixture(params=SUBJECTS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of publisher; the real ones need their fixtures set up outside the running loop."""
    if request.param != "InMemoryOrderPublisher":
        request.getfixturevalue("topology")
    return request.param


@pytest_asyncio.fixture
async def subject(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each publisher in turn."""
    async with SUBJECTS[kind](request) as one:
        yield one


async def test_an_intent_arrives_with_its_bytes_its_strategy_and_the_identity_of_the_receipt(subject: Subject) -> None:
    receipt = await subject.orders.publish(INTENT)
    (sent,) = await subject.sent(1)
    assert sent.body == INTENT.to_message()
    assert sent.strategy == "momentum"
    assert (sent.message_id, sent.created_ms) == (receipt.message_id, receipt.created_ms)


async def test_the_creation_time_is_the_time_of_publishing(subject: Subject) -> None:
    before_ms = time.time_ns() // 1_000_000
    receipt = await subject.orders.publish(INTENT)
    assert before_ms <= receipt.created_ms <= time.time_ns() // 1_000_000


async def test_an_identity_of_ones_own_is_kept_and_may_be_published_again(subject: Subject) -> None:
    for _ in range(2):
        assert (await subject.orders.publish(INTENT, message_id="id-1")).message_id == "id-1"
    assert [sent.message_id for sent in await subject.sent(2)] == ["id-1", "id-1"]


async def test_without_one_each_intent_gets_its_own(subject: Subject) -> None:
    receipts = [await subject.orders.publish(INTENT) for _ in range(3)]
    assert len({receipt.message_id for receipt in receipts}) == 3
    assert [sent.message_id for sent in await subject.sent(3)] == [receipt.message_id for receipt in receipts]


async def test_intents_arrive_in_the_order_of_the_calls(subject: Subject) -> None:
    for number in range(20):
        await subject.orders.publish(INTENT, message_id=f"id-{number}")
    assert [sent.message_id for sent in await subject.sent(20)] == [f"id-{number}" for number in range(20)]


async def test_calls_may_overlap(subject: Subject) -> None:
    ids = [f"id-{number}" for number in range(50)]
    await asyncio.gather(*(subject.orders.publish(INTENT, message_id=one) for one in ids))
    assert sorted(sent.message_id for sent in await subject.sent(50)) == sorted(ids)


async def test_calls_with_one_identity_may_overlap(subject: Subject) -> None:
    await asyncio.gather(*(subject.orders.publish(INTENT, message_id="id-1") for _ in range(5)))
    assert [sent.message_id for sent in await subject.sent(5)] == ["id-1"] * 5


async def test_an_invalid_intent_is_refused_by_field_and_nothing_is_published(subject: Subject) -> None:
    with pytest.raises(InvalidIntent, match="percent: must be at most 100"):
        await subject.orders.publish(INTENT.model_copy(update={"percent": "100.1"}))
    await subject.orders.publish(INTENT, message_id="after")
    assert [sent.message_id for sent in await subject.sent(1)] == ["after"]


@pytest.mark.parametrize("message_id", ["", "x" * 256], ids=["empty", "too long"])
async def test_an_identity_that_amqp_cannot_carry_is_refused(subject: Subject, message_id: str) -> None:
    with pytest.raises(InvalidIntent, match="message_id: must have 1 to 255 bytes"):
        await subject.orders.publish(INTENT, message_id=message_id)


async def test_many_arrive_in_their_order_and_each_is_told_with_its_receipt(subject: Subject) -> None:
    told: list[Any] = []
    ids = [f"id-{number}" for number in range(600)]
    count = await subject.orders.publish_many(((INTENT, one) for one in ids), on_result=told.append)
    assert count == 600
    assert [sent.message_id for sent in await subject.sent(600)] == ids
    assert [(result.number, result.message_id) for result in told] == list(enumerate(ids, start=1))
    assert [result.receipt.message_id for result in told] == ids
    assert all(result.intent is INTENT and result.error is None for result in told)


async def test_many_without_identities_get_their_own_and_none_is_fine_too(subject: Subject) -> None:
    told: list[Any] = []
    assert await subject.orders.publish_many([INTENT] * 3, on_result=told.append) == 3
    ids = [sent.message_id for sent in await subject.sent(3)]
    assert len(set(ids)) == 3
    assert ids == [result.message_id for result in told]
    assert await subject.orders.publish_many([]) == 0


async def test_an_invalid_intent_among_many_is_told_and_the_others_go_out(subject: Subject) -> None:
    invalid = INTENT.model_copy(update={"percent": "101"})
    given: list[Given] = [(INTENT, "a"), (invalid, "b"), (INTENT, "x" * 256), (INTENT, "c")]
    told: list[Any] = []
    with pytest.raises(NotAllConfirmed) as refusal:
        await subject.orders.publish_many(given, on_result=told.append)
    assert [sent.message_id for sent in await subject.sent(2)] == ["a", "c"]
    assert [type(result.error) for result in told] == [type(None), InvalidIntent, InvalidIntent, type(None)]
    error = refusal.value
    assert (error.confirmed, error.invalid_count, error.unconfirmed, error.taken) == (2, 2, (), 4)
    assert [result.message_id for result in error.invalid] == ["b", "x" * 256]
    assert str(error) == (
        "of 4 intents 2 were confirmed; 2 invalid, the first is number 2 (percent: must be at most 100)"
    )


class Stop(Exception):
    """An error of the caller's own code."""


async def test_an_error_of_the_iterable_is_raised_once_all_that_it_gave_is_confirmed(subject: Subject) -> None:
    def given() -> Iterator[Given]:
        yield INTENT, "a"
        yield INTENT, "b"
        raise Stop

    told: list[Any] = []
    with pytest.raises(Stop):
        await subject.orders.publish_many(given(), on_result=told.append)
    assert [result.message_id for result in told if result.receipt] == ["a", "b"]
    assert [sent.message_id for sent in await subject.sent(2)] == ["a", "b"]


async def test_an_error_of_on_result_is_raised_once_all_that_was_taken_is_settled(subject: Subject) -> None:
    taken: list[str] = []

    def given() -> Iterator[Given]:
        for number in range(2000):
            taken.append(f"id-{number}")
            yield INTENT, taken[-1]

    def on_result(result: Any) -> None:
        if result.number == 2:
            raise Stop

    with pytest.raises(Stop):
        await subject.orders.publish_many(given(), on_result=on_result)
    assert len(taken) < 2000
    # The twin stops at the intent itself; the others have up to a window's worth in flight.
    assert [sent.message_id for sent in await subject.sent(len(taken))] == taken


async def test_an_object_that_is_no_intent_is_a_type_error_that_quotes_nothing(subject: Subject) -> None:
    with pytest.raises(TypeError, match="takes an OrderIntent, or a tuple of one and its message_id, not dict"):
        await subject.orders.publish_many([{"connectorToken": "s3cret"}])  # type: ignore[list-item]


async def test_publish_many_takes_no_more_than_may_be_in_flight(subject: Subject) -> None:
    settled, ahead = 0, 0

    def given() -> Iterator[Given]:
        nonlocal ahead
        for number in range(50):
            ahead = max(ahead, number - settled)
            yield INTENT, f"id-{number}"

    def on_result(_result: Any) -> None:
        nonlocal settled
        settled += 1

    assert await subject.orders.publish_many(given(), on_result=on_result, in_flight_max=4) == 50
    # The step of the generator that gives the next comes before that is taken.
    assert ahead <= 4
    assert [sent.message_id for sent in await subject.sent(50)] == [f"id-{number}" for number in range(50)]


async def test_many_after_closing_are_in_doubt_or_refused(subject: Subject) -> None:
    await subject.orders.close()
    with pytest.raises((NotAllConfirmed, RuntimeError)) as refusal:
        await subject.orders.publish_many([(INTENT, "a"), (INTENT, "b")])
    if isinstance(refusal.value, NotAllConfirmed):
        assert refusal.value.to_repeat[0] == (INTENT, "a")
        assert "the publisher is closed" in str(refusal.value)


async def test_closing_twice_is_fine_and_publishing_after_it_is_not(subject: Subject) -> None:
    await subject.orders.close()
    await subject.orders.close()
    with pytest.raises((Unconfirmed, RuntimeError)):
        await subject.orders.publish(INTENT)
