"""SIGTERM under full load: the process has ended within `delivery.drain_timeout_s`, with status 0 (contract 5)."""

from __future__ import annotations

import sys
import time

import pytest
from yarl import URL

from signalq.names import Names
from tests.support.broker import Broker, through
from tests.support.consumer import Consumer
from tests.support.intents import Intent, make_intents
from tests.support.proxy import Proxy
from tests.support.scene import Scene, scene
from tests.support.waiting import elapsed, wait_until
from tests.support.webhook import Answer, Behaviour, Hang, Order

# As they are by default: the bounds that a chart's grace period is made from.
DEFAULTS = {
    "webhook.connect_timeout_s": 3,
    "webhook.timeout_s": 10,
    "delivery.concurrency": 64,
    "delivery.drain_timeout_s": 20,
}
DRAIN_TIMEOUT_S = 20.0
# Under that, so that a drain is seen to come to its own end.
SEEN_S = 60.0
CONNECTORS, EACH = 80, 6
SLOW_S = 5.0


@pytest.mark.long
async def test_with_slow_answers_and_one_that_never_comes_it_ends_in_time_and_all_are_accounted_for(
    broker: Broker, names: Names, any_ledger: str | None
) -> None:
    """Only the one that hangs is in doubt, by its own time-out; what waits goes to the next consumer, in order."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=81) as play:
        first, intents = await _under_full_load(play)
        took_s = await _terminated_s(first)
        _tell(play, f"{took_s:.1f} s from SIGTERM to the exit, {len(play.hook.orders)} POSTs were on the wire")
        assert took_s <= DRAIN_TIMEOUT_S
        first.check_log()
        play.accountant.answer(play.well)
        await play.consumer()
        account = await play.account()
        assert not account.in_doubt["cut off while sending"], account.table()
        account.check(doubts_max=1 + sum(intent.message_id is None for intent in intents))


@pytest.mark.long
@pytest.mark.parametrize("what", ["broker", "ledger"])
async def test_with_a_broker_or_a_ledger_that_does_not_answer_any_more_it_ends_in_time_all_the_same(
    broker: Broker, names: Names, postgres_url: str, what: str
) -> None:
    """What could not be recorded or published is in doubt, or comes again; nothing is lost."""
    target = broker.url if what == "broker" else postgres_url
    async with Proxy(URL(target).port or 0) as wire, scene(broker.url, names, ledger_url=postgres_url, seed=82) as play:
        if what == "broker":
            first, intents = await _under_full_load(play, url=through(wire, broker.url))
        else:
            first, intents = await _under_full_load(play, {"ledger.url": through(wire, postgres_url)})
        wire.stall()
        took_s = await _terminated_s(first)
        _tell(play, f"{took_s:.1f} s from SIGTERM to the exit, with a {what} that does not answer")
        assert took_s <= DRAIN_TIMEOUT_S
        await wire.cut()
        play.accountant.answer(play.well)
        await play.consumer()
        account = await play.account()
        account.check(doubts_max=64 + sum(intent.message_id is None for intent in intents))


async def _under_full_load(
    play: Scene, settings: dict[str, object] | None = None, *, url: str | None = None
) -> tuple[Consumer, list[Intent]]:
    """A consumer with every place taken, and much more waiting: slow answers, and none for one of them."""
    hangs: list[str] = []

    def slow(order: Order) -> Behaviour:
        if not hangs:
            hangs.append(order.connector)
            return Hang()
        return Answer(delay_s=SLOW_S)

    play.accountant.answer(slow)
    consumer = await play.consumer({**DEFAULTS, **(settings or {})}, url=url)
    intents = make_intents(play.rng, CONNECTORS * EACH, connectors=CONNECTORS, delays_s=None)
    play.publish(intents)
    await wait_until(lambda: play.hook.in_flight == DEFAULTS["delivery.concurrency"], what="a full house")
    await elapsed(0.5)
    return consumer, intents


async def _terminated_s(consumer: Consumer) -> float:
    began_s = time.monotonic()
    assert await consumer.terminate(SEEN_S) == 0
    return time.monotonic() - began_s


def _tell(play: Scene, words: str) -> None:
    sys.stdout.write(f"\n{play.ledger_url.partition(':')[0]}: {words}\n")
