"""The publisher's twin for your own tests: no broker, the same checks, the same errors.

orders = InMemoryOrderPublisher(strategy="momentum")
await strategy.run(orders)
assert [sent.intent.action for sent in orders.published] == ["openLong"]

The test says the outcomes: `orders.settle_all("dead", reason="expired")` for every intent published from then on,
`orders.settle(message_id, "delivered")` for one that was published.
"""

import time
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from signalq.amqp.publisher import CLOSED
from signalq.errors import InvalidIntent, Unconfirmed, Unroutable
from signalq.message.intent import OrderIntent, intent_from_body
from signalq.message.outcome import ABSENT, Outcome, Status, at
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.publishing.outcomes import ExpectedOutcomes
from signalq.publishing.prepare import prepare
from signalq.publishing.results import Given, PublishResult, Receipt, ResultCollector, each_of, intent_and_id


@dataclass(frozen=True, slots=True)
class Published:
    """One message as the broker would hold it."""

    intent: OrderIntent
    """The intent, read from the body."""
    message_id: str
    """The intent's identity within its strategy."""
    body: bytes
    """The body, as UTF-8 JSON."""
    strategy: str | None
    """The publisher's strategy."""
    created_ms: int
    """The creation time, in ms since the epoch."""


class InMemoryOrderPublisher:
    """Keeps every published intent in `published`; passes the test suite that OrderPublisher passes."""

    published: list[Published]
    """Every published intent, in order."""

    def __init__(self, *, strategy: str | None = None) -> None:
        self.published = []
        self._strategy = strategy
        self._failures: list[type[Unroutable] | type[Unconfirmed]] = []
        self._is_closed = False
        self._expected = ExpectedOutcomes()
        self._settled_as: tuple[Status, str | None] | None = None

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt:
        """Do as OrderPublisher.publish does, but keep the intent in `published`; an error of `fail_next` is raised."""
        now_ms = time.time_ns() // 1_000_000
        prepared = prepare(intent, strategy=self._strategy, message_id=message_id, now_ms=now_ms)
        identity = prepared.receipt.message_id
        if self._is_closed:
            raise Unconfirmed("the publisher is closed", identity)
        if self._failures:
            raise self._failures.pop(0)("a failure that the test asked for", identity)
        expected = self._expected.expect(identity, prepared.body)
        created_ms = prepared.receipt.created_ms
        sent = Published(intent_from_body(prepared.body), identity, prepared.body, self._strategy, created_ms)
        self.published.append(sent)
        if self._settled_as is not None:
            status, reason = self._settled_as
            self.settle(identity, status, reason=reason)
        return replace(prepared.receipt, expected=expected)

    async def publish_many(
        self,
        intents: Iterable[Given] | AsyncIterable[Given],
        *,
        on_result: Callable[[PublishResult], object] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> int:
        """Do as OrderPublisher.publish_many does; an error of `fail_next` ends it, as if the broker were gone."""
        if in_flight_max < 1:
            raise ValueError("in_flight_max must be at least 1")
        results = ResultCollector(on_result)
        failure: Exception | None = None
        number = 0
        try:
            async for given in intents if isinstance(intents, AsyncIterable) else each_of(intents):
                intent, message_id = intent_and_id(given)
                number += 1
                result = await self._result(number, intent, message_id)
                results.add(result)
                if isinstance(result.error, (Unroutable, Unconfirmed)):
                    break
        except Exception as error:  # noqa: BLE001 - the caller's own, raised to the caller as it concludes
            failure = error
        return results.conclude(failure)

    async def _result(self, number: int, intent: OrderIntent, message_id: str) -> PublishResult:
        try:
            receipt = await self.publish(intent, message_id=message_id)
        except (InvalidIntent, Unroutable, Unconfirmed) as error:
            return PublishResult(number, intent, message_id, None, error)
        return PublishResult(number, intent, message_id, receipt)

    def settle_all(self, status: Status, *, reason: str | None = None) -> None:
        """Let every intent published from now on end so, at once. `reason` is that of a `dead` one."""
        self._settled_as = status, reason

    def settle(self, message_id: str, status: Status, *, reason: str | None = None) -> None:
        """Let the intent published under this id end so, for its receipts too. Raises LookupError for an unknown id."""
        sent = next((one for one in self.published if one.message_id == message_id), None)
        if sent is None:
            raise LookupError("nothing was published under this message_id")
        self._expected.take(_outcome_of(sent, status, reason))

    def fail_next(self, error: type[Unroutable] | type[Unconfirmed]) -> None:
        """Let the next publish raise this error; of several calls, each stands for one publish."""
        self._failures.append(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let every publish raise Unconfirmed from now on; `published` stays, and so do the outcomes that are known."""
        self._is_closed = True
        self._expected.end(CLOSED)


def _outcome_of(sent: Published, status: Status, reason: str | None) -> Outcome:
    """The outcome as the consumer would publish it; `delivered` means one POST, answered 200."""
    is_posted = status == "delivered"
    return Outcome(
        intent_id=sent.message_id,
        generation=1,
        connector=sent.intent.connector_name,
        strategy=sent.strategy or ABSENT,
        action=sent.intent.action,
        client_order_id=sent.intent.client_order_id,
        status=status,
        reason=reason,
        attempts=1 if is_posted else 0,
        http_status=200 if is_posted else None,
        created_at=at(sent.created_ms),
        due_at=at(sent.created_ms + sent.intent.delay_ms) if sent.intent.delay_ms else None,
        updated_at=datetime.now(UTC),
    )
