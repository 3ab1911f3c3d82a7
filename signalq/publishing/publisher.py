"""The SDK: publish an order intent, know that the broker has it, and ask for its outcome.

async with OrderPublisher("amqp://…", strategy="momentum") as orders:
    receipt = await orders.publish(OrderIntent(connector_name="main", action="openLong", percent="50"))
    outcome = await receipt.outcome(timeout_s=10)     # delivered, dead (with its reason), canceled
"""

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import Self, TypedDict

from signalq.amqp.address import user_of
from signalq.amqp.connection import HEARTBEAT_S
from signalq.amqp.publisher import FORKED, ConfirmedPublisher
from signalq.errors import BrokerUnreachable, Unconfirmed
from signalq.message.intent import OrderIntent
from signalq.names import Names
from signalq.publishing.bulk import IN_FLIGHT_MAX, RECONNECT_PAUSE_S, ManyPublisher, why_too_late
from signalq.publishing.outcomes import OutcomeListener
from signalq.publishing.prepare import PreparedIntent, prepare
from signalq.publishing.results import NOT_LISTENING, Given, PublishResult, Receipt, ResultCollector
from signalq.publishing.spans import PublishSpans

PUBLISH_TIMEOUT_S = 30.0


class PublisherOptions(TypedDict, total=False):
    """The options of OrderPublisher, for code that passes them on."""

    strategy: str | None
    prefix: str
    publish_timeout_s: float
    heartbeat_s: int
    outcomes: bool
    send_user: bool


class OrderPublisher:
    """Publishes order intents to RabbitMQ and waits for its confirm. One per process is enough; calls may overlap.

    Of overlapping calls, IN_FLIGHT_MAX are sent and not yet confirmed at a time, and the others wait for their turn: a
    connection that breaks leaves no more than these in doubt. They leave in the order of the calls as long as the
    connection lasts; where order matters beyond that, await each, or use `publish_many`.

    `url` is an AMQP URL (`amqps://` for TLS), `strategy` the name of the strategy whose orders these are, `prefix` the
    broker prefix, and `heartbeat_s` the interval of the connection's heartbeats, in seconds. `publish_timeout_s` is the
    time, in seconds, in which one publish is sent and confirmed, its turn and reconnecting included. Use it as an async
    context manager; entering connects, and raises BrokerUnreachable where that fails.

    With a strategy, each message carries the URL's user as its `user_id`, which the broker checks: a consumer may know
    strategies by that alone. `send_user=False` leaves it out, for a broker that knows its users by other means than the
    URL.

    Unless `outcomes` is False, entering also listens for the outcomes of the strategy, on a second connection. So no
    publish waits for that, and no event of an order published here is missed while both connections last. Listening
    needs rights (docs/outcomes.md); without them publishing works all the same, and `outcome()` says which is missing.

    Where the process has OpenTelemetry in use, each publish has a span, and its message carries that span's context
    (docs/traces.md).
    """

    def __init__(
        self,
        url: str,
        *,
        strategy: str | None = None,
        prefix: str = "signalq",
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        heartbeat_s: int = HEARTBEAT_S,
        outcomes: bool = True,
        send_user: bool = True,
    ) -> None:
        self._strategy = strategy
        self._user = user_of(url) if send_user else None
        self._names = Names(prefix)
        self._listener = (
            OutcomeListener(url, self._names, strategy=strategy, heartbeat_s=heartbeat_s) if outcomes else None
        )
        self.publish_timeout_s = publish_timeout_s
        self._turns = asyncio.Semaphore(IN_FLIGHT_MAX)
        name = f"signalq publisher {strategy or '-'}"
        self._publisher = ConfirmedPublisher(url, name=name, heartbeat_s=heartbeat_s)
        self._spans = PublishSpans(url, self._names.orders, name)

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt:
        """Return once the broker has confirmed the intent.

        Repeating with the `message_id` of an earlier call, or of an error, is safe: the same bytes are not ordered
        twice.

        Raises InvalidIntent before anything is sent, Unroutable where no queue takes it, and Unconfirmed where it may
        or may not have arrived. The latter two carry the `message_id`.
        """
        prepared = self._prepare(intent, message_id)
        try:
            await self._send_in_time(prepared)
        except BaseException as error:
            prepared.withdraw(error)
            raise
        prepared.confirmed()
        return prepared.receipt

    async def publish_many(
        self,
        intents: Iterable[Given] | AsyncIterable[Given],
        *,
        on_result: Callable[[PublishResult], object] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> int:
        """Return how many were published, once the broker has confirmed every one of them.

        `intents` gives intents, or tuples of an intent and its `message_id`. It may be a generator, also an
        asynchronous one, and is read no further ahead than `in_flight_max` intents are sent and not confirmed. A plain
        iterable is read in the event loop and should not keep it waiting for seconds.

        `on_result` is called once for each intent that was taken, in their order, as soon as its result is certain:
        with its receipt, or with the error that `publish` would have raised. It is your progress.

        An invalid intent is told, and the others go on. If the connection breaks, everything unconfirmed is sent again
        with the same identities before anything new is; the order is kept. It gives up once one intent has been the
        oldest in flight for `publish_timeout_s`. An error of the iterable or of `on_result` ends the taking: it is
        raised once all in flight are settled. A cancellation tells all in flight as unconfirmed, and ends it at once.

        Raises NotAllConfirmed where some of those taken were not confirmed. It holds them, with their identities:
        repeating these is safe.
        """
        results = ResultCollector(on_result)
        many = ManyPublisher(
            self._publisher,
            self._names.orders,
            prepare=self._prepare,
            tell=results.add,
            in_flight_max=in_flight_max,
            timeout_s=self.publish_timeout_s,
        )
        return results.conclude(await many.publish(intents))

    def _prepare(self, intent: OrderIntent, message_id: str | None) -> PreparedIntent:
        """Check an intent, and expect its outcome: its event may come before its confirm."""
        return prepare(
            intent,
            strategy=self._strategy,
            message_id=message_id,
            now_ms=time.time_ns() // 1_000_000,
            user=self._user,
            outcomes=self._listener.expected if self._listener is not None else None,
            spans=self._spans,
        )

    async def _send_in_time(self, prepared: PreparedIntent) -> None:
        """Send once connected; a connection that can't be made is tried again until the time is up."""
        if self._publisher.is_of_another_process:
            # Before its turn: one that the parent held at the fork is never given back here.
            raise Unconfirmed(FORKED, prepared.receipt.message_id)
        in_the_way = ""
        try:
            async with asyncio.timeout(self.publish_timeout_s), self._turns:
                while True:
                    try:
                        return await self._publisher.publish(
                            self._names.orders, prepared.routing_key, prepared.body, prepared.properties
                        )
                    except BrokerUnreachable as error:
                        if (why := self._publisher.why_closed) is not None:
                            raise Unconfirmed(why, prepared.receipt.message_id) from None
                        in_the_way = f" ({error})"
                    await asyncio.sleep(RECONNECT_PAUSE_S)
        except TimeoutError:
            why = why_too_late(self.publish_timeout_s, in_the_way)
            raise Unconfirmed(why, prepared.receipt.message_id) from None

    async def __aenter__(self) -> Self:
        try:
            await self._publisher.channel()
        except BaseException:
            await self._publisher.disconnect()  # not closed for good: it may be entered again
            raise
        try:
            await self.listen()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def listen(self) -> None:
        """Listen for outcomes from now on, as entering does; nothing happens with `outcomes=False`.

        A failure is not raised here, but by `outcome()`.
        """
        if self._listener is not None:
            await self._listener.start()

    @property
    def why_no_outcomes(self) -> str | None:
        """Why no outcome can be heard of, such as a right that is missing on the broker; None if they can."""
        return self._listener.expected.unavailable if self._listener is not None else NOT_LISTENING

    async def close(self) -> None:
        """Close the connections; publishes in flight raise Unconfirmed, and `outcome()` OutcomesUnavailable."""
        try:
            if self._listener is not None and not self._publisher.is_of_another_process:
                await self._listener.close()
        finally:  # also where the wait for the first goodbye is cut short: an open connection would keep the loop
            await self._publisher.close()
