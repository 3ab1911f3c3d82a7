"""Strategies that publish with the SDK, as a desk's would, and repeat what was not confirmed."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from signalq import OrderIntent, OrderPublisher
from signalq.errors import Unconfirmed
from tests.support.intents import Intent, Producer
from tests.support.waiting import elapsed

STRATEGIES = 3
AGAIN_S = 0.1


@dataclass
class Strategies(Producer):
    """A Producer of several OrderPublishers; each connector's orders come from one of them, one after the other."""

    _strategies: list[OrderPublisher] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        for at in range(STRATEGIES):
            prefix = self.names.prefix
            orders = OrderPublisher(self.url, strategy=f"strategy-{at}", prefix=prefix, outcomes=False)
            await orders.__aenter__()
            self._strategies.append(orders)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for orders in self._strategies:
            await orders.close()

    async def _publish(self, intent: Intent) -> None:
        """With the same message_id until it is confirmed."""
        content = {"connectorName": intent.connector, "log": intent.key} | intent.fields
        if intent.delay_s:
            content["delaySeconds"] = intent.delay_s
        order = OrderIntent.model_validate(content)
        orders = self._strategies[hash_of(intent.connector) % STRATEGIES]
        while not intent.confirmed:
            intent.sent += 1
            try:
                await orders.publish(order, message_id=intent.message_id)
            except Unconfirmed:
                await elapsed(AGAIN_S)
                continue
            intent.confirmed = True


def hash_of(connector: str) -> int:
    """The same in every run, unlike Python's own."""
    return sum(connector.encode())
