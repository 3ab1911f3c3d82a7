"""A connection that breaks ends every wait for it by an error; one that was canceled as it opened is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import aiormq
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection, UnderlayConnection
from aiormq.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity
from pamqp.commands import Basic

from signalq import OrderPublisher
from signalq.amqp import publisher as publisher_module
from signalq.amqp.connection import connect, open_channel
from signalq.amqp.incoming import Incoming
from signalq.amqp.outbox import Outbox
from signalq.amqp.port import Arrival, Port
from signalq.amqp.wire import BASIC
from signalq.errors import SettingsError
from signalq.names import Names
from tests.support.amqp import plain_channel
from tests.support.broker import Broker, through
from tests.support.proxy import Proxy
from tests.support.waiting import elapsed, wait_until

# Far more than aiormq's own queue of frames has room for.
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


async def test_a_goodbye_that_is_canceled_leaves_nothing_behind_that_waits(
    linked: AbstractConnection, link: Proxy
) -> None:
    """The end of a loop cancels what is left: aiormq, canceled while it says goodbye, would wait for ever."""
    before = asyncio.all_tasks()
    link.stall()
    closing = asyncio.create_task(linked.close())
    await elapsed(0.1)
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    assert asyncio.all_tasks() <= before


async def test_an_acknowledgement_behind_its_channels_close_is_refused_and_the_connection_lives(
    broker: Broker, names: Names, linked: AbstractConnection
) -> None:
    """RabbitMQ would end the connection, and with it all lanes."""
    async with plain_channel(broker.url) as publishing:
        await publishing.basic_publish(b"x", routing_key=names.orders, properties=Basic.Properties(message_id="id"))
    arrived: list[Arrival] = []
    channel = await open_channel(linked, prefetch=1)
    await channel.consume(names.orders, Port(BASIC.DELIVER, arrived.append))
    await wait_until(lambda: len(arrived) == 1, what="the delivery")
    asking = asyncio.create_task(channel.queue_declare(f"{names.prefix}.nowhere", passive=True))
    await wait_until(lambda: channel.number not in channel._outbox.open_channels, what="the close")
    with pytest.raises(ChannelInvalidStateError):
        await channel.basic_ack(arrived[0].tag, wait=False)
    with pytest.raises(ChannelNotFoundEntity):
        await asking
    another = await open_channel(linked)
    assert (await another.queue_declare(names.orders, passive=True)).queue == names.orders


async def test_a_connection_on_which_only_messages_come_is_not_taken_for_a_dead_one(
    broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ sends heartbeats only where it sends nothing else, and aiormq sees no frame of a message."""
    monkeypatch.setattr(aiormq.Connection, "HEARTBEAT_GRACE_MULTIPLIER", 1.25)  # 2.5 s
    connection = await connect(broker.url, name="signalq test", heartbeat_s=1)
    arrived: list[float] = []
    clock = asyncio.get_running_loop().time
    channel = await open_channel(connection, prefetch=1_000)
    await channel.consume(names.orders, Port(BASIC.DELIVER, lambda _arrival: arrived.append(clock())))
    async with plain_channel(broker.url) as publishing:
        began_s = clock()
        while clock() - began_s < 5:
            await publishing.basic_publish(b"x", routing_key=names.orders, properties=Basic.Properties(message_id="id"))
            await elapsed(0.05)
    assert not channel.is_closed
    assert arrived[-1] - arrived[0] > 4
    await connection.close()


@pytest.mark.parametrize("does_not_hear", ["outgoing", "incoming"])
async def test_an_aiormq_that_passes_its_frames_in_another_way_is_refused_by_name(
    linked: AbstractConnection, monkeypatch: pytest.MonkeyPatch, does_not_hear: str
) -> None:
    if does_not_hear == "outgoing":
        monkeypatch.setattr(Outbox, "_note", lambda _outbox, _frame: None)
    else:
        cast("Any", linked).socket.incoming.has_cut = False
        monkeypatch.setattr(Incoming, "_hand_on", pass_on_unseen)
    with pytest.raises(SettingsError, match="aiormq 7"):
        await open_channel(linked)


def pass_on_unseen(incoming: Incoming) -> None:
    data, incoming._uncut = incoming._uncut, b""
    incoming._pass_on(data)


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
