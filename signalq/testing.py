"""The publisher's twin for your own tests: no broker, the same checks, the same errors.

orders = InMemoryOrderPublisher(strategy="momentum")
await strategy.run(orders)
assert [sent.intent.action for sent in orders.published] == ["openLong"]
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from signalq.client import Outgoing, Receipt, outgoing
from signalq.errors import PublishError, Unconfirmed, Unroutable
from signalq.intent import OrderIntent, intent_from_body


@dataclass(frozen=True, slots=True)
class Published:
    """One message as the broker would hold it."""

    intent: OrderIntent
    message_id: str
    body: bytes
    strategy: str | None
    created_ms: int


class InMemoryOrderPublisher:
    """Keeps what is published in `published`; passes the test suite that OrderPublisher passes."""

    def __init__(self, *, strategy: str | None = None) -> None:
        self.published: list[Published] = []
        self._strategy = strategy
        self._failures: list[type[PublishError]] = []
        self._is_closed = False

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt:
        """See OrderPublisher.publish."""
        order = outgoing(intent, strategy=self._strategy, message_id=message_id, now_ms=time.time_ns() // 1_000_000)
        if self._is_closed:
            raise Unconfirmed("the publisher is closed", order.receipt.message_id)
        if self._failures:
            raise self._failures.pop(0)("a failure that the test asked for", order.receipt.message_id)
        self.published.append(self._kept(order))
        return order.receipt

    def fail_next(self, error: type[Unroutable] | type[Unconfirmed]) -> None:
        """Let the next publish raise this error, as a broker in trouble would make it."""
        self._failures.append(error)

    def _kept(self, order: Outgoing) -> Published:
        return Published(
            intent=intent_from_body(order.body),
            message_id=order.receipt.message_id,
            body=order.body,
            strategy=self._strategy,
            created_ms=order.receipt.created_ms,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Publishing raises Unconfirmed from now on; what was published stays."""
        self._is_closed = True
