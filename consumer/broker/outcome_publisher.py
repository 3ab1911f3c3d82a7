"""Telling what has ended: an event for each, confirmed, after the ledger knows.

What a message has ended is told before it is acknowledged. What a cancel has canceled is told beside it, for its POST
must not wait: if we die before, the canceled message itself comes back from the ladder, and is told of then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice

import structlog

from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.orders.outcomes import canceled, event_of
from signalq.consumer.orders.pending import Pending
from signalq.consumer.slots import TELL_MAX_S
from signalq.message.outcome import Outcome

# A cancelAll may end thousands of delayed intents.
AT_ONCE_MAX = 100

log = structlog.get_logger()


class OutcomePublisher:
    """Publishes outcome events; owns the tasks that do so beside a POST."""

    def __init__(self, publisher: BrokerPublisher) -> None:
        self._publisher = publisher
        self._beside: set[asyncio.Task[None]] = set()

    async def tell(self, outcomes: Iterable[Outcome]) -> None:
        """Return once the broker has an event for each, in this order."""
        for outcome in outcomes:
            await self._publisher.tell(event_of(outcome))

    def tell_beside(self, ended: Sequence[Pending]) -> None:
        """Tell of what was canceled, while the caller goes on."""
        if not ended:
            return
        task = asyncio.create_task(self._tell_all(ended), name="tell of the canceled")
        self._beside.add(task)
        task.add_done_callback(self._ended)

    async def told(self) -> None:
        """Return once nothing is told beside any more, or after TELL_MAX_S: the rest is told by whoever drops it."""
        if self._beside:
            await asyncio.wait(self._beside, timeout=TELL_MAX_S)

    async def close(self) -> None:
        """Tell nothing any more."""
        tasks = list(self._beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._beside.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("outcome.not_told", why=f"{type(error).__name__}: {error}")

    async def _tell_all(self, ended: Sequence[Pending]) -> None:
        rest = iter(ended)
        while some := list(islice(rest, AT_ONCE_MAX)):
            await asyncio.gather(*(self._publisher.tell(event_of(canceled(one))) for one in some))
