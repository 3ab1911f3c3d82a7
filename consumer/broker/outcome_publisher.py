"""Publishing outcomes: an event for each ending, confirmed, after the ledger has recorded it.

The ending of a message is published before the message is acknowledged. Endings of the orders that a cancel has
canceled are published in the background, for its POST must not wait. If the consumer dies before that, the canceled
message itself comes back from the ladder, and its ending is published then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice

import structlog

from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.orders.outcomes import canceled, event_of
from signalq.consumer.orders.pending import Pending
from signalq.message.outcome import Outcome

# A message that is withdrawn while its ending is told has so long until the broker has confirmed that.
TELL_MAX_S = 1.0
# A cancelAll may end thousands of delayed intents.
AT_ONCE_MAX = 100

log = structlog.get_logger()


class OutcomePublisher:
    """Publishes outcome events; owns the tasks that do so in the background."""

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
        """Return once nothing is published in the background any more, or after TELL_MAX_S.

        The rest is published by the consumer that later drops the canceled messages.
        """
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
        rest = iter(ended)
        while some := list(islice(rest, AT_ONCE_MAX)):
            await asyncio.gather(*(self._publisher.publish_outcome(event_of(canceled(one))) for one in some))
