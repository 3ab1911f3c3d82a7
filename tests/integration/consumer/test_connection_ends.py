"""A connection that breaks ends every wait for it by an error; one that was canceled as it opened is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import aiormq
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection, UnderlayConnection
from pamqp.commands import Basic

from signalq import OrderPublisher
from signalq.amqp import publisher as publisher_module
from signalq.amqp.connection import connect, open_channel
from signalq.names import Names
from tests.support.amqp import plain_channel
from tests.support.broker import Broker, through
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

# aiormq writes as many frames at a time as it has room for; far more than that wait.
ACKS = 60
ENDS_WITHIN_S = 10.0


@pytest_asyncio.fixture
async def linked(broker: Broker, link: Proxy) -> AsyncIterator[AbstractConnection]:
    """A connection whose link to the broker a test can cut."""
    connection = await connect(through(link, broker.url), name="signalq test")
    yield connection
    await connection.close()


async def test_acknowledgements_that_wait_to_be_written_end_with_their_connection(
    broker: Broker, names: Names, linked: AbstractConnection
) -> None:
    """Nothing writes them any more; a message whose acknowledgement waits for ever stays in the consumer for ever."""
    async with plain_channel(broker.url) as publishing:
        for number in range(ACKS):
            await publishing.basic_publish(
                b"x", routing_key=names.orders, properties=Basic.Properties(message_id=f"id-{number}")
            )
    tags: list[int] = []

    async def take(message: Any) -> None:
        tags.append(message.delivery.delivery_tag)

    channel = await open_channel(linked, prefetch=ACKS)
    await channel.basic_consume(names.orders, take)
    await wait_until(lambda: len(tags) == ACKS, what="the deliveries")
    cast("Any", linked).socket.hang_up()
    acks = [asyncio.create_task(channel.basic_ack(tag, wait=False)) for tag in tags]
    _, waiting = await asyncio.wait(acks, timeout=ENDS_WITHIN_S)
    for ack in waiting:
        ack.cancel()
    await asyncio.gather(*acks, return_exceptions=True)
    assert not waiting


async def test_a_question_to_a_broker_that_shows_no_sign_of_life_ends_by_an_error_and_cancels_nobody(
    names: Names, link: Proxy, linked: AbstractConnection
) -> None:
    """A lane whose question ended by a CancelledError ended itself, and the consumer with it."""
    channel = await open_channel(linked)
    link.stall()
    asking = asyncio.create_task(channel.queue_declare(names.orders, passive=True))
    await asyncio.sleep(0)
    # What aiormq does when no frame has come for three heartbeats.
    assert linked.transport is not None
    cast("Any", linked.transport.connection)._reader_task.cancel()
    await asyncio.wait({asking}, timeout=ENDS_WITHIN_S)
    assert not asking.cancelled()
    with pytest.raises(aiormq.AMQPConnectionError):
        await asking


async def test_a_connection_whose_opening_is_canceled_in_the_last_moment_does_not_stay_open(
    broker: Broker, link: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = asyncio.Event()
    connect_below = UnderlayConnection.connect

    async def connect_and_wait(*given: Any, **options: Any) -> Any:
        connected = await connect_below(*given, **options)
        is_open.set()
        await asyncio.Event().wait()
        return connected

    monkeypatch.setattr(UnderlayConnection, "connect", connect_and_wait)
    connecting = asyncio.create_task(connect(through(link, broker.url), name="signalq test"))
    await is_open.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await wait_until(lambda: not link.is_used, what="the end of the connection")


async def test_a_publisher_whose_entering_is_canceled_leaves_no_connection_and_may_be_entered_again(
    broker: Broker, names: Names, link: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_connected = asyncio.Event()

    async def open_none(*_given: Any, **_options: Any) -> None:
        is_connected.set()
        await asyncio.Event().wait()

    orders = OrderPublisher(through(link, broker.url), prefix=names.prefix)
    with monkeypatch.context() as patched:
        patched.setattr(publisher_module, "open_channel", open_none)
        entering = asyncio.create_task(orders.__aenter__())
        await is_connected.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
    await wait_until(lambda: not link.is_used, what="the end of the connection")
    async with orders:
        assert link.is_used
    await wait_until(lambda: not link.is_used, what="the end of the connections")
