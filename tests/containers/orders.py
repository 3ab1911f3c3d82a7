"""Orders at a steady pace, each with a number of its own, and the account of them at the webhook."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from signalq import OrderIntent, OrderPublisher
from signalq.errors import Unconfirmed
from tests.containers.desk import Desk
from tests.support.waiting import elapsed, wait_until

Json = dict[str, Any]
PAUSE_S = 0.2
# A kill, or a drain, then mostly meets an order that is on the wire.
SLOW: Json = {"mode": "hang", "seconds": 0.15}
CONNECTOR, TOKEN = "main", "a-token-for-the-sandbox"
# What is on the wire in the moment of a kill may be this, and nothing else: nobody can know, so it is not sent again.
IN_DOUBT = "outcome-unknown"
REST_TIMEOUT_S = 30.0
FLOW_TIMEOUT_S = 120.0


class Flow:
    """Orders from a strategy outside the containers, while the block of `flowing` lasts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.confirmed: list[str] = []

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Publish until the block ends; then the last one is confirmed as well."""
        stop = asyncio.Event()
        async with self._publisher() as publisher:
            task = asyncio.create_task(self._publish(publisher, stop), name="orders")
            try:
                yield
            finally:
                stop.set()
                await task

    async def more(self, count: int, timeout_s: float = FLOW_TIMEOUT_S) -> None:
        """Wait until so many more have come to the webhook."""
        wanted = len(await self._desk.orders()) + count
        await wait_until(lambda: self._came(wanted), timeout_s, what=f"{count} more orders at the webhook")

    async def at_rest(self, consumer: Json) -> Sequence[str]:
        """The numbers of those in doubt, once every order has its end; asked in a consumer's container.

        Raises AssertionError for an order that is lost, or at the webhook twice.
        """
        # What is in doubt may not have come, and never will.
        with suppress(AssertionError):
            await wait_until(self._all_came, REST_TIMEOUT_S, what="every order at the webhook")
        numbers = Counter(await self._numbers())
        found = await self._desk.dead_letters(consumer)
        letters = {letter["client_order_id"]: letter["reason"] for letter in found}
        assert not (lost := set(self.confirmed) - set(numbers) - set(letters)), f"lost: {sorted(lost)}"
        assert not (doubled := [number for number, count in numbers.items() if count > 1]), f"twice: {doubled}"
        assert set(letters.values()) <= {IN_DOUBT}, letters
        return sorted(letters)

    async def one(self, number: str) -> None:
        """Publish one order of this number."""
        async with self._publisher() as publisher:
            await confirmed(publisher, intent(number))

    def _publisher(self) -> OrderPublisher:
        return OrderPublisher(
            self._desk.outside(self._desk.secret("strategies-broker-url")), strategy="containers", outcomes=False
        )

    async def _publish(self, publisher: OrderPublisher, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = f"order-{len(self.confirmed)}"
            await confirmed(publisher, intent(number))
            self.confirmed.append(number)
            await elapsed(PAUSE_S)

    async def _came(self, wanted: int) -> bool:
        return len(await self._desk.orders()) >= wanted

    async def _all_came(self) -> bool:
        return set(self.confirmed) <= set(await self._numbers())

    async def _numbers(self) -> list[str]:
        orders = [order["body"] for order in await self._desk.orders()]
        return [body["clientOrderId"] for body in orders if body and body.get("clientOrderId")]


def intent(number: str) -> OrderIntent:
    return OrderIntent(
        connector_name=CONNECTOR, action="openLong", percent="50", connector_token=TOKEN, client_order_id=number
    )


async def confirmed(publisher: OrderPublisher, given: OrderIntent) -> None:
    """Publish it until the broker has confirmed it: with the same number, it is the same order."""
    message_id = None
    while True:
        try:
            await publisher.publish(given, message_id=message_id)
        except Unconfirmed as error:
            message_id = error.message_id
        else:
            return
