"""The webhook refusing, hanging, cutting off and babbling: every order ends once, in order."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Self

import pytest

from signalq.names import Names
from tests.support.broker import Broker
from tests.support.intents import Intent, make_intents
from tests.support.scene import scene
from tests.support.waiting import elapsed, wait_until
from tests.support.webhook import Answer, Behaviour, CutInTheMiddle, CutOff, EndlessBody, Garbage, Hang, Order, Webhook

CONNECTORS = 8

LEAVES_OPEN: tuple[Behaviour, ...] = (
    Hang(),
    CutOff(),
    CutOff(reset=True),
    CutInTheMiddle(),
    EndlessBody(),
    Garbage(),
    Answer(500, b"oops"),
    Answer(200, b"welcome to the hotel"),
    Answer(408, b"too slow"),
)


class WebhookAt(Webhook):
    """The webhook on a port that was chosen before: it can go, and come back."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    @property
    def port(self) -> int:
        """The port, whether or not anybody listens there now."""
        return self._port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def goes(self) -> None:
        """Stop listening once nothing is on the wire: from now on connections are refused."""
        assert self._server is not None
        self._server.close()
        await wait_until(lambda: self.in_flight == 0)
        await self.__aexit__(None, None, None)


async def test_while_nobody_listens_nothing_is_lost_and_afterwards_everything_arrives_once(
    broker: Broker, names: Names, any_ledger: str | None
) -> None:
    """Refused connections: nothing was sent, so everything may be tried again, and keeps its place."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=51, hook=WebhookAt(_free_port())) as play:
        hook = play.hook
        assert isinstance(hook, WebhookAt)
        consumer = await play.consumer()
        intents = make_intents(play.rng, 250, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(60)
        await hook.goes()
        refused = "not taken"
        await wait_until(lambda: len(consumer.events("delivery.attempted", certainty=refused)) > 10)
        await hook.__aenter__()
        account = await play.account()
        # A connection that was open and idle when the webhook went may have taken one POST with it, for each connector.
        account.check(doubts_max=CONNECTORS)


async def test_an_order_that_the_webhook_leaves_open_is_in_doubt_and_never_sent_again_unless_that_is_safe(
    broker: Broker, names: Names
) -> None:
    """Hanging, cutting off before, in and after the answer, answers without end, garbage, a wrong body."""
    async with scene(broker.url, names, seed=52) as play:
        await play.consumer({"webhook.timeout_s": 0.5})
        moods = play.rng

        def mood(order: Order) -> Behaviour:
            return moods.choice(LEAVES_OPEN) if moods.random() < 0.25 else play.well(order)

        play.accountant.answer(mood)
        intents = make_intents(play.rng, 240, connectors=CONNECTORS)
        play.publish(intents)
        account = await play.account()
        account.check(doubts_max=play.accountant.unknown_answers)
        risky = _risky(intents)
        left_open = {post.key for post in play.accountant.posts if post.meaning == "unknown" and post.key in risky}
        doubted = {letter.key for letter in play.accountant.letters}
        assert left_open <= doubted, "an open that was left open is told of"


async def test_connections_that_end_before_a_byte_is_read_cost_doubts_at_most_and_no_repeats(
    broker: Broker, names: Names
) -> None:
    """An order is in doubt where its first byte went out before the close was seen: who knows whether it was read?"""
    async with scene(broker.url, names, seed=53) as play:
        await play.consumer()
        play.hook.close_unread(20)
        play.publish(make_intents(play.rng, 150, connectors=CONNECTORS))
        account = await play.account()
        account.check(doubts_max=20)


async def test_throttled_and_turned_away_orders_keep_their_place(broker: Broker, names: Names) -> None:
    """429, 503 with Retry-After and Cloudflare's own answers say that it was not taken; a 400 is final."""
    async with scene(broker.url, names, seed=54) as play:
        await play.consumer()
        moods = random.Random(54)
        turned_away = (Answer(429), Answer(429, headers={"Retry-After": "0"}), Answer(521), Answer(503, headers=LATER))

        def mood(order: Order) -> Behaviour:
            chance = moods.random()
            if chance < 0.03:
                return Answer(400, b"no")
            return moods.choice(turned_away) if chance < 0.4 else play.well(order)

        play.accountant.answer(mood)
        play.publish(make_intents(play.rng, 250, connectors=CONNECTORS))
        account = await play.account()
        account.check(doubts_max=0, reasons={"rejected"})
        assert account.dead["rejected"] == sum(post.meaning == "refused" for post in play.accountant.posts)


@pytest.mark.long
@pytest.mark.parametrize("seed", [55, 56])
async def test_a_consumer_killed_while_the_webhook_misbehaves_repeats_only_what_is_safe(
    broker: Broker, names: Names, seed: int
) -> None:
    """Killed between two attempts, in a hanging one, and between an answer and its record."""
    async with scene(broker.url, names, seed=seed) as play:
        consumer = await play.consumer()

        def mood(order: Order) -> Behaviour:
            chance = play.rng.random()
            if chance < 0.15:
                return play.rng.choice(LEAVES_OPEN)
            return Answer(429, headers=LATER) if chance < 0.4 else play.well(order)

        play.accountant.answer(mood)
        intents = make_intents(play.rng, 200, connectors=CONNECTORS)
        play.publish(intents)
        for _ in range(4):
            await elapsed(play.rng.uniform(0.3, 1.0))
            await asyncio.to_thread(consumer.kill)
            consumer = await play.consumer()
        account = await play.account()
        without_id = sum(intent.message_id is None for intent in intents)
        account.check(doubts_max=play.accountant.unknown_answers + 4 * CONNECTORS + without_id // 4)


LATER = {"Retry-After": "0"}


def _risky(intents: list[Intent]) -> set[str]:
    return {intent.key for intent in intents if not intent.repeating_is_safe}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
