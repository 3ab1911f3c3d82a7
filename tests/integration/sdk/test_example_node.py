"""examples/node, as somebody who writes Node would run it: a real broker, a real consumer, the sandbox behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from yarl import URL

from tests.support.amqp import plain_channel
from tests.support.broker import Broker, through
from tests.support.commands import Ran
from tests.support.examples import TOKEN, platform, run
from tests.support.node import EXAMPLE, node, package
from tests.support.proxy import Proxy
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import wait_until

OPEN = ("--connector", "main", "--action", "openLong", "--percent", "50")
AGAIN = "trying again with the same message_id"
# Class 60, method 80: what the broker says when it has a message.
BASIC_ACK = b"\x00\x3c\x00\x50"


class ConfirmEater(Proxy):
    """Cuts the connection where the first confirm would pass: the broker has the order, and its sender doesn't know."""

    eaten = 0

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65_536):
            if BASIC_ACK in chunk and not self.eaten:
                self.eaten += 1
                break
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError


@pytest_asyncio.fixture
async def eater(broker: Broker) -> AsyncIterator[ConfirmEater]:
    url = URL(broker.url)
    if url.host not in {"127.0.0.1", "localhost"}:
        skip_outside_ci("the proxy reaches a broker on this machine only")
    async with ConfirmEater(url.port or 5672) as proxy:
        yield proxy


async def order(url: str, prefix: str, *arguments: str, token: str = TOKEN) -> Ran:
    package(EXAMPLE, "amqplib")
    environment = {"SIGNALQ_BROKER__URL": url, "SIGNALQ_BROKER__PREFIX": prefix, "CONNECTOR_TOKEN": token}
    return await run(node(), str(EXAMPLE / "order.js"), *arguments, environment=environment)


async def test_an_order_is_delivered_once_also_where_its_confirm_is_lost_and_a_bad_one_says_why(
    broker: Broker, eater: ConfirmEater, prefix: str
) -> None:
    async with platform(broker.url, prefix) as (sandbox, consumer):
        plain = await order(broker.url, prefix, *OPEN, "--wait", "20")
        assert (plain.status, plain.out) == (0, "delivered\n"), plain.err
        assert AGAIN not in plain.err

        repeated = await order(through(eater, broker.url), prefix, *OPEN, "--strategy", "a b", "--wait", "20")
        assert (repeated.status, repeated.out) == (0, "delivered\n"), repeated.err
        assert AGAIN in repeated.err
        assert eater.eaten == 1
        await wait_until(
            lambda: consumer.events("intent.settled", status="duplicate", strategy="a b"), what="the second one's end"
        )

        bad = await order(broker.url, prefix, *OPEN, "--colour", "red")
        assert (bad.status, bad.out) == (2, "")
        bad = await order(broker.url, prefix, "--connector", "main", "--action", "fly", "--wait", "20")
        assert (bad.status, bad.out) == (1, "dead: invalid\n"), bad.err

        posted = [came.body for came in sandbox.orders]
    assert posted == [{"connectorName": "main", "action": "openLong", "percent": "50", "connectorToken": "***"}] * 2
    assert TOKEN not in plain.err + repeated.err + bad.err


@pytest.mark.bare_prefix
async def test_an_unroutable_and_a_refused_order_are_told_and_not_tried_again(broker: Broker, prefix: str) -> None:
    for missing in ("no exchange", "no queue"):
        if missing == "no queue":
            async with plain_channel(broker.url) as channel:
                await channel.exchange_declare(f"{prefix}.orders", durable=True, timeout=10)
        ran = await order(broker.url, prefix, *OPEN)
        assert (ran.status, ran.out) == (1, ""), missing
        assert "signalq topology apply" in ran.err, missing
        assert AGAIN not in ran.err, missing
    stranger = await order(str(URL(broker.url).with_password("wrong")), prefix, *OPEN)
    assert stranger.status == 1
    assert "ACCESS" in stranger.err
    assert AGAIN not in stranger.err
    assert "wrong" not in stranger.err


async def test_the_example_gives_up_after_its_time_and_tells_the_id_to_ask_for() -> None:
    ran = await order("amqp://127.0.0.1:9/", "signalq", *OPEN, "--message-id", "id-7", "--give-up", "0.5")
    assert ran.status == 1
    assert "its message_id is id-7" in ran.err


async def test_a_price_that_could_not_be_computed_makes_no_order() -> None:
    package(EXAMPLE, "amqplib")
    program = """
    const { makeOrder } = await import(process.argv[1]);
    const valid = { connectorName: 'main', action: 'openLong', percent: '50', limit: '1' };
    makeOrder(valid);
    for (const limit of [NaN, Infinity, null, undefined, new Date(NaN), [NaN], { at: null }]) {
      try { makeOrder({ ...valid, limit }); console.log('made', limit); } catch (error) { console.log(error.name); }
    }"""
    publisher = str(EXAMPLE / "publisher.js")
    ran = await run(node(), "--input-type=module", "--eval", program, publisher, environment={})
    assert ran.out == "TypeError\n" * 7, ran.err
