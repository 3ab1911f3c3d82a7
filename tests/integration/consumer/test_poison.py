"""Messages whose properties cannot be decoded must not end the connection that reads them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from signalq.amqp.connection import open_channel
from signalq.amqp.port import Arrival, Port
from signalq.amqp.topology import Topology
from signalq.amqp.wire import BASIC
from signalq.message.creation import creation
from signalq.message.envelope import republish_properties, strategy
from signalq.names import UNREADABLE_HEADERS
from tests.support.amqp import RawProperties, drain, plain_channel, publish, wait_until

HEADERS, PRIORITY, MESSAGE_ID, TIMESTAMP, TYPE, APP_ID, CLUSTER_ID = 8192, 2048, 128, 64, 32, 8, 4


def raw(flags: int, *values: bytes) -> RawProperties:
    return RawProperties(struct.pack(">H", flags) + b"".join(values))


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def table(*entries: bytes) -> bytes:
    return struct.pack(">I", len(b"".join(entries))) + b"".join(entries)


def nested(levels: int) -> bytes:
    inner = table()
    for _ in range(levels):
        inner = table(short(b"a") + b"F" + inner)
    return inner


MICROSECONDS = struct.pack(">Q", 1_673_000_000_000_000)  # as seconds, the year 53 million
YEAR_55000 = struct.pack(">Q", 1_673_000_000_000)

HOSTILE = {
    "a timestamp of the year 55000": raw(TIMESTAMP, YEAR_55000),
    "a timestamp in microseconds": raw(TIMESTAMP, MICROSECONDS),
    "the largest timestamp": raw(TIMESTAMP, b"\xff" * 8),
    "a message_id that is not UTF-8": raw(MESSAGE_ID, short(b"\xff\xfe" * 127)),
    "an app_id that is half a character": raw(APP_ID, short("é".encode()[:1])),
    "a header whose name is not UTF-8": raw(HEADERS, table(short(b"\xff") + b"S" + struct.pack(">I", 1) + b"x")),
    "a header whose text is not UTF-8": raw(HEADERS, table(short(b"a") + b"S" + struct.pack(">I", 1) + b"\xff")),
    "a header with a timestamp beyond the calendar": raw(HEADERS, table(short(b"a") + b"T" + b"\xff" * 8)),
    "a header with a decimal of 255 places": raw(HEADERS, table(short(b"a") + b"D" + b"\xff" * 5)),
    "a header with the largest double": raw(HEADERS, table(short(b"a") + b"d" + struct.pack(">d", 1.7e308))),
    "headers nested 5,000 deep": raw(HEADERS, nested(5_000)),
    "a cluster_id": raw(CLUSTER_ID, short(b"abc")),
    "a priority of 255": raw(PRIORITY, b"\xff"),
    "all of it": raw(
        HEADERS | MESSAGE_ID | TIMESTAMP | TYPE,
        table(short(b"\xff") + b"V"),
        short(b"\xc3"),
        b"\xff" * 8,
        short(b"\xff"),
    ),
}

PREFERRED = b"a priority of 255"


@pytest.fixture
def hostile_bodies() -> list[bytes]:
    """The bodies of the hostile messages: their descriptions."""
    return [name.encode() for name in HOSTILE]


@pytest.mark.parametrize("reads", ["a port", "aiormq"])
async def test_hostile_properties_end_no_connection_and_hold_up_nothing_behind_them(
    broker: Any, connection: AbstractConnection, topology: Topology, hostile_bodies: list[bytes], reads: str
) -> None:
    """A consumer reads its lanes by ports, and the commands read the dead letters by aiormq."""
    queue = topology.names.due
    for name, properties in HOSTILE.items():
        await publish(broker.url, "", queue, name.encode(), properties)
    await publish(broker.url, "", queue, b"behind them all")
    received: list[DeliveredMessage | Arrival] = []
    channel = await open_channel(connection, prefetch=100)
    if reads == "a port":
        await channel.consume(queue, Port(BASIC.DELIVER, received.append))
    else:
        await channel.basic_consume(queue, received.append)
    await wait_until(lambda: len(received) > len(HOSTILE), what="the message behind the hostile ones")
    # The one with a priority may come first: from 4.0 on, RabbitMQ's quorum queues mind it.
    bodies = [message.body for message in received]
    assert sorted(bodies) == sorted([*hostile_bodies, b"behind them all"])
    bodies.remove(PREFERRED)
    assert bodies == [body for body in [*hostile_bodies, b"behind them all"] if body != PREFERRED]
    assert not connection.is_closed
    assert connection.connected.is_set()
    await channel.close()


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_properties_can_be_passed_on_as_they_were_read(
    broker: Any, connection: AbstractConnection, topology: Topology, name: str
) -> None:
    """As a dead letter would be: with a creation time, a strategy, and properties that the broker takes again."""
    await publish(broker.url, "", topology.names.due, b"x", HOSTILE[name])
    (message,) = await drain(broker.url, topology.names.due, 1)
    assert creation(message.properties, 1_700_000_000_000).age_ms <= 1_700_000_000_000
    assert strategy(message.properties)
    passed_on = republish_properties(message.properties, {"signalq-reason": "invalid"}, "given-id")
    async with plain_channel(broker.url) as channel:
        await channel.basic_publish(b"x", routing_key=topology.names.dead, properties=passed_on, mandatory=True)
    (letter,) = await drain(broker.url, topology.names.dead, 1)
    assert letter.headers["signalq-reason"] == "invalid"
    assert letter.properties.message_id


async def test_an_unreadable_header_table_is_marked_as_such(
    broker: Any, connection: AbstractConnection, topology: Topology
) -> None:
    await publish(broker.url, "", topology.names.due, b"x", HOSTILE["a header whose name is not UTF-8"])
    (message,) = await drain(broker.url, topology.names.due, 1)
    assert message.headers == {UNREADABLE_HEADERS: True}


async def test_a_64_bit_float_header_is_passed_on_with_all_its_digits(
    broker: Any, connection: AbstractConnection, topology: Topology
) -> None:
    double = raw(HEADERS, table(short(b"a") + b"d" + struct.pack(">d", 0.1)))
    await publish(broker.url, "", topology.names.due, b"x", double)
    (message,) = await drain(broker.url, topology.names.due, 1)
    await publish(broker.url, "", topology.names.dead, b"x", republish_properties(message.properties, {}, "i"))
    (letter,) = await drain(broker.url, topology.names.dead, 1)
    assert letter.headers == {"a": 0.1}
