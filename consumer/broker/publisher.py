"""Publishing a consumer's messages: each is tried until the broker has confirmed it, over connections of their own."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog
from pamqp.commands import Basic

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.amqp.topology import ladder_entry
from signalq.consumer.broker.connection import Backoff, loop_s
from signalq.consumer.broker.troubles import Troubles
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.orders.delays import park_seconds
from signalq.consumer.orders.outcomes import Event, canceled, event_of
from signalq.consumer.orders.pending import Pending
from signalq.errors import BrokerUnreachable, PublishError
from signalq.message.outcome import Outcome
from signalq.names import Names
from signalq.settings.sections import Settings

# A delay is cut to whole seconds just before it is sent; more on the way at once would wait in the socket meanwhile,
# and come back late (300 at once: up to 0.2 s, seen).
PARKING_MAX = 32
# A message that is withdrawn while its ending is told has so long until the broker has confirmed that.
TELL_MAX_S = 1.0
# A cancelAll may end thousands of delayed intents.
AT_ONCE_MAX = 100

log = structlog.get_logger()


class BrokerPublisher:
    """Publishes onto the ladder, into lanes, into the dead letters, and to the listeners of outcomes."""

    def __init__(self, settings: Settings, jitter: Callable[[], float], skew: Skew | None = None) -> None:
        self._names = Names(settings.broker.prefix)
        self._jitter = jitter
        self._skew = skew or Skew()
        self._parking = asyncio.Semaphore(PARKING_MAX)
        # How many messages are tried again, how often that failed, and what of it was logged.
        self._in_trouble = 0
        self._failures = 0
        self._troubles = Troubles()
        url, heartbeat_s = settings.broker.url.get_secret_value(), settings.broker.heartbeat_s
        self._publisher = ConfirmedPublisher(url, name="signalq consumer publishing", heartbeat_s=heartbeat_s)
        # Apart: events, one for each order, would queue before a parked order, whose delay is cut when it is sent. And
        # an event that the broker refuses must not close the channel of a dead letter.
        self._outcomes = ConfirmedPublisher(url, name="signalq consumer outcomes", heartbeat_s=heartbeat_s)

    async def park(self, due_ms: int, now_ms: Callable[[], int], body: bytes, properties: Basic.Properties) -> None:
        """Publish onto the ladder, for the whole seconds that remain when it is sent."""

        def entry() -> tuple[str, str]:
            at_ms = now_ms()
            return ladder_entry(park_seconds(due_ms, at_ms, self._skew.known().behind_ms(at_ms)), self._names)

        async with self._parking:
            await self._confirmed(entry, body, properties)

    async def forward(self, queue: str, body: bytes, properties: Basic.Properties) -> None:
        """Publish straight into the queue of a lane: through the exchange, a missing binding would make a circle."""
        await self._confirmed(lambda: ("", queue), body, properties)

    async def dead_letter(self, body: bytes, properties: Basic.Properties) -> None:
        await self._confirmed(lambda: ("", self._names.dead), body, properties)

    async def publish_outcome(self, event: Event) -> None:
        """Publish an event to the listeners of outcomes; there may be none."""
        address = (self._names.outcomes, event.routing_key)
        await self._confirmed(lambda: address, event.body, event.properties, mandatory=False)

    async def close(self) -> None:
        await self._publisher.close()
        await self._outcomes.close()

    async def _confirmed(
        self,
        address: Callable[[], tuple[str, str]],
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = True,
    ) -> None:
        """Publish until the broker has confirmed it; its message, unacknowledged, can't be lost meanwhile."""
        publisher = self._publisher if mandatory else self._outcomes
        backoff: Backoff | None = None
        try:
            while True:
                exchange, routing_key = address()
                try:
                    await publisher.publish(exchange, routing_key, body, properties, mandatory=mandatory)
                    break
                except (BrokerUnreachable, PublishError) as error:
                    if backoff is None:
                        backoff = Backoff(self._jitter)
                        self._in_trouble += 1
                    self._log_failure(exchange or routing_key, str(error))
                await backoff.wait()
        finally:
            if backoff is not None:
                self._in_trouble -= 1
        if backoff is not None:
            self._log_recovery()

    def _log_failure(self, to: str, why: str) -> None:
        """Log that a message is not confirmed, and tried again; of lasting failures some are logged."""
        self._failures += 1
        if self._troubles.is_due(f"{to}: {why}", loop_s()):
            log.warning("broker.publish_failed", to=to, why=why)

    def _log_recovery(self) -> None:
        """Log that the last message that was tried again is confirmed: the next failure is a new one."""
        if not self._in_trouble and self._troubles.are_over():
            log.info("broker.publish_recovered", failures=self._failures)
            self._failures = 0


class OutcomePublisher:
    """Publishes an event for each ending, after the ledger has recorded it; owns the tasks in the background.

    The ending of a message is published before the message is acknowledged. Endings of the orders that a cancel has
    canceled are published in the background, for its POST must not wait. If the consumer dies before that, the canceled
    message itself comes back from the ladder, and its ending is published then.
    """

    def __init__(self, publisher: BrokerPublisher) -> None:
        self._publisher = publisher
        self._background: set[asyncio.Task[None]] = set()

    async def publish(self, outcomes: Iterable[Outcome]) -> None:
        """Return once the broker has an event for each, in this order."""
        for outcome in outcomes:
            await self._publisher.publish_outcome(event_of(outcome))

    def publish_in_background(self, ended: Sequence[Pending]) -> None:
        """Publish the endings of canceled orders while the caller goes on."""
        if not ended:
            return
        task = asyncio.create_task(self._publish_canceled(ended), name="publish canceled outcomes")
        self._background.add(task)
        task.add_done_callback(self._done)

    async def drained(self) -> None:
        """Return once nothing is published in the background any more, or after TELL_MAX_S: the rest is told later."""
        if self._background:
            await asyncio.wait(self._background, timeout=TELL_MAX_S)

    async def close(self) -> None:
        """Publish nothing any more."""
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("outcome.not_told", why=f"{type(error).__name__}: {error}")

    async def _publish_canceled(self, ended: Sequence[Pending]) -> None:
        for at in range(0, len(ended), AT_ONCE_MAX):
            some = ended[at : at + AT_ONCE_MAX]
            await asyncio.gather(*(self._publisher.publish_outcome(event_of(canceled(one))) for one in some))
