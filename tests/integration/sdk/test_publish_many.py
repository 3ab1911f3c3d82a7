"""`publish_many` against a real RabbitMQ: what breaks on the way, and what its caller knows then."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from operator import length_hint
from typing import Any

import pytest
import pytest_asyncio

from signalq import (
    NotAllConfirmed,
    OrderIntent,
    OrderPublisher,
    OutcomeTimeout,
    PublishResult,
    Receipt,
    SyncOrderPublisher,
    Unconfirmed,
    Unroutable,
)
from signalq.amqp.topology import Topology
from signalq.names import Names
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.publishing.results import Given
from tests.support.amqp import depth, drain
from tests.support.broker import Broker, is_under_way, through
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

INTENT = OrderIntent(connector_name="main", action="openLong", percent="50")


def numbered(count: int) -> list[Given]:
    return [(INTENT, f"id-{number}") for number in range(count)]


def ids(results: Any) -> list[str]:
    return [result.message_id for result in results]


async def first_of_each(url: str, queue: str) -> list[str]:
    """The identities in the order in which the consumer would take them: it drops a second one."""
    return list(dict.fromkeys(message.properties.message_id or "" for message in await drain(url, queue)))


@pytest_asyncio.fixture
async def linked(broker: Broker, topology: Topology, link: Proxy) -> AsyncIterator[OrderPublisher]:
    """A publisher whose link to the broker a test can cut."""
    async with OrderPublisher(through(link, broker.url), prefix=topology.names.prefix, outcomes=False) as orders:
        yield orders


async def test_an_asynchronous_generator_is_read_as_it_goes_and_each_goes_out_at_once(
    broker: Broker, names: Names, publisher: OrderPublisher
) -> None:
    told: asyncio.Queue[PublishResult] = asyncio.Queue()

    async def given() -> AsyncIterator[OrderIntent]:
        yield INTENT
        # The first is confirmed before the second is made.
        assert (await told.get()).receipt is not None
        yield INTENT

    assert await publisher.publish_many(given(), on_result=told.put_nowait) == 2
    assert await depth(broker.url, names.orders) == 2


async def test_the_receipts_of_many_can_be_asked_for_their_outcome(publisher: OrderPublisher) -> None:
    told: list[PublishResult] = []
    await publisher.publish_many(numbered(2), on_result=told.append)
    assert told[0].receipt is not None
    with pytest.raises(OutcomeTimeout):
        await told[0].receipt.outcome(timeout_s=0.05)


async def test_a_link_that_breaks_again_and_again_loses_nothing_and_keeps_the_order(
    broker: Broker, names: Names, link: Proxy, linked: OrderPublisher
) -> None:
    told: list[PublishResult] = []
    publishing = asyncio.create_task(linked.publish_many(numbered(1500), on_result=told.append))
    for reached in (100, 600, 1100):
        await wait_until(lambda at=reached: len(told) >= at, what=f"{reached} confirms")
        await link.cut()
    assert await publishing == 1500
    assert ids(told) == [f"id-{number}" for number in range(1500)]
    assert all(result.receipt for result in told)
    assert await first_of_each(broker.url, names.orders) == ids(told)


async def test_when_the_link_stays_broken_it_gives_up_in_time_and_says_which_are_in_doubt(
    broker: Broker, topology: Topology, link: Proxy
) -> None:
    told: list[PublishResult] = []
    given = iter(numbered(2000))
    options = {"prefix": topology.names.prefix, "publish_timeout_s": 1.5, "outcomes": False}
    async with OrderPublisher(through(link, broker.url), **options) as orders:
        publishing = asyncio.create_task(orders.publish_many(given, on_result=told.append))
        await wait_until(lambda: len(told) > 100, what="the first confirms")
        await link.cut(refuse=True)
        with pytest.raises(NotAllConfirmed, match="to be published again") as refusal:
            await publishing
        error = refusal.value
        assert ids(told) == [f"id-{number}" for number in range(error.taken)]
        assert ids(error.unconfirmed) == ids(result for result in told if result.receipt is None)
        assert 0 < len(error.unconfirmed) <= IN_FLIGHT_MAX
        assert all(isinstance(result.error, Unconfirmed) for result in error.unconfirmed)
        link.heal()
        # What is in doubt is repeated with its identity, and the iterable goes on where it was left.
        rest = await orders.publish_many([*error.to_repeat, *given])
        assert error.confirmed + rest == 2000
    assert await first_of_each(broker.url, topology.names.orders) == [f"id-{number}" for number in range(2000)]


@pytest.mark.bare_prefix
async def test_a_topology_that_is_missing_ends_it_at_the_first_one(broker: Broker, prefix: str) -> None:
    async with OrderPublisher(broker.url, prefix=prefix, outcomes=False) as orders:
        with pytest.raises(NotAllConfirmed, match="topology apply") as refusal:
            await orders.publish_many(numbered(2000))
    assert refusal.value.confirmed == 0
    assert isinstance(refusal.value.unconfirmed[0].error, Unroutable)
    assert refusal.value.taken <= IN_FLIGHT_MAX


async def test_a_cancellation_ends_it_at_once_and_tells_what_is_in_doubt(
    broker: Broker, names: Names, link: Proxy, linked: OrderPublisher
) -> None:
    told: list[PublishResult] = []
    left = iter(numbered(2000))
    publishing = asyncio.create_task(linked.publish_many(left, on_result=told.append))
    await wait_until(lambda: len(told) > 100, what="the first confirms")
    link.stall()
    await wait_until(lambda: 2000 - length_hint(left) > len(told) + 10, what="some that are not confirmed")
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert ids(told) == [f"id-{number}" for number in range(len(told))]
    doubtful = [result for result in told if result.receipt is None]
    assert 0 < len(doubtful) <= IN_FLIGHT_MAX
    assert all("interrupted" in str(result.error) for result in doubtful)
    link.heal()
    arrived = set(await first_of_each(broker.url, names.orders))
    assert {result.message_id for result in told if result.receipt} <= arrived <= set(ids(told))


async def test_many_and_single_publishes_side_by_side_all_arrive(
    broker: Broker, names: Names, publisher: OrderPublisher
) -> None:
    singles = [publisher.publish(INTENT, message_id=f"single-{number}") for number in range(300)]
    await asyncio.gather(publisher.publish_many(numbered(300)), *singles)
    arrived = await first_of_each(broker.url, names.orders)
    assert [one for one in arrived if one.startswith("id-")] == [f"id-{number}" for number in range(300)]
    assert len(arrived) == 600


async def test_few_of_thousands_of_overlapping_publishes_are_in_doubt_when_the_link_breaks(
    broker: Broker, names: Names, link: Proxy, linked: OrderPublisher
) -> None:
    ids_given = [f"id-{number}" for number in range(4000)]
    publishing = [asyncio.create_task(linked.publish(INTENT, message_id=one)) for one in ids_given]
    await wait_until(lambda: sum(task.done() for task in publishing) > 500, what="the first confirms")
    await link.cut()
    ends = dict(zip(ids_given, await asyncio.gather(*publishing, return_exceptions=True), strict=True))
    doubtful = {message_id: end for message_id, end in ends.items() if isinstance(end, Unconfirmed)}
    assert len(doubtful) <= IN_FLIGHT_MAX
    assert all(error.message_id == message_id for message_id, error in doubtful.items())
    arrived = set(await first_of_each(broker.url, names.orders))
    assert {message_id for message_id, end in ends.items() if isinstance(end, Receipt)} <= arrived
    assert len(arrived | doubtful.keys()) == 4000


# ---- without asyncio ----


def test_the_blocking_form_uses_your_code_in_your_thread_alone(broker: Broker, topology: Topology) -> None:
    threads = set()

    def given() -> Iterator[Given]:
        for number in range(300):
            threads.add(threading.current_thread())
            yield INTENT, f"id-{number}"

    with SyncOrderPublisher(broker.url, prefix=topology.names.prefix) as orders:
        # Publishing one within the callback would stop a loop that waited for it.
        def on_result(result: Any) -> None:
            threads.add(threading.current_thread())
            if result.number == 1:
                orders.publish(INTENT, message_id="within")

        assert orders.publish_many(given(), on_result=on_result) == 300
    assert threads == {threading.current_thread()}
    assert asyncio.run(depth(broker.url, topology.names.orders)) == 301


def test_ctrl_c_in_the_blocking_form_tells_what_is_in_doubt_and_leaves_nothing_going_on(
    broker: Broker, topology: Topology
) -> None:
    told: list[Any] = []

    def given() -> Iterator[Given]:
        for number in range(100):
            yield INTENT, f"id-{number}"
        signal.raise_signal(signal.SIGINT)
        yield INTENT, "never"

    with SyncOrderPublisher(broker.url, prefix=topology.names.prefix, outcomes=False) as orders:
        with pytest.raises(KeyboardInterrupt):
            orders.publish_many(given(), on_result=told.append)
        assert ids(told) == [f"id-{number}" for number in range(100)]
        orders.publish(INTENT, message_id="after")
    arrived = asyncio.run(first_of_each(broker.url, topology.names.orders))
    assert {result.message_id for result in told if result.receipt} <= set(arrived)
    assert "never" not in arrived
    assert arrived[-1] == "after"


async def test_closing_the_blocking_form_ends_a_publish_many_of_another_thread(
    broker: Broker, topology: Topology, link: Proxy
) -> None:
    orders = SyncOrderPublisher(through(link, broker.url), prefix=topology.names.prefix, outcomes=False)
    await asyncio.to_thread(orders.__enter__)
    link.stall()
    given = [INTENT] * 3
    publishing = asyncio.create_task(asyncio.to_thread(orders.publish_many, given))
    await wait_until(
        lambda: is_under_way(orders._by_process[os.getpid()]._orders._publisher), what="the publishes under way"
    )
    await link.cut(refuse=True)
    await asyncio.to_thread(orders.close)
    with pytest.raises(NotAllConfirmed) as refusal:
        async with asyncio.timeout(10):
            await publishing
    assert len(refusal.value.to_repeat) == 3
