"""Outcome events, as people follow them; and telling of what a command itself has ended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from signalq.amqp.outcome_feed import OutcomeFeed
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.orders.outcomes import canceled, event_of
from signalq.consumer.orders.pending import Pending
from signalq.errors import BrokerError
from signalq.message.outcome import Outcome, Status, binding_key
from signalq.names import Names
from signalq.settings.sections import Settings

TELL_AT_ONCE_MAX = 100
# Of the endings that were shown the latest so many are remembered.
TOLD_MAX = 100_000
TELL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are meant: those that meet all that is given."""

    connector: str | None = None
    strategy: str | None = None
    status: Status | None = None

    def bindings(self) -> list[str]:
        """The keys to listen for: duplicates too, for by these what is told again is known."""
        statuses = [self.status] if self.status in (None, "duplicate") else [self.status, "duplicate"]
        return [binding_key(connector=self.connector, strategy=self.strategy, status=one) for one in statuses]

    def fits(self, outcome: Outcome) -> bool:
        """Whether the event is meant: different names can share a routing key."""
        given = ((self.connector, outcome.connector), (self.strategy, outcome.strategy), (self.status, outcome.status))
        return all(wanted in (None, found) for wanted, found in given)


class Told:
    """Which endings were shown: an event may come again, as the answer to a duplicate or after a crash."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str, int, Status], datetime | None] = OrderedDict()

    def is_news(self, outcome: Outcome) -> bool:
        """Whether it has not been told; from now on it has. A second publish is an event of its own, each time. What
        it repeats is no news either, though nobody listened when it ended: then it ended before.
        """
        key = outcome.strategy, outcome.intent_id, outcome.generation
        second_at = self._told.get((*key, "duplicate"))
        is_repeated = (*key, outcome.status) in self._told or (
            second_at is not None and outcome.updated_at is not None and outcome.updated_at <= second_at
        )
        self._told[*key, outcome.status] = outcome.updated_at
        self._told.move_to_end((*key, outcome.status))
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        return outcome.status == "duplicate" or not is_repeated


async def follow(
    settings: Settings,
    wanted: Wanted,
    *,
    until: asyncio.Event,
    on_outcome: Callable[[Outcome], None],
    on_away: Callable[[str | None], None],
    on_open: Callable[[], None],
) -> None:
    """Hand on what comes from `on_open` until `until`, over losses of the connection; these are told (see OutcomeFeed).

    Raises BrokerError where it can't begin, or may not go on, and what `on_outcome` raises of OSError.
    """

    broken: list[OSError] = []
    told = Told()

    def take(outcome: Outcome) -> None:
        if not told.is_news(outcome) or not wanted.fits(outcome):
            return
        try:
            on_outcome(outcome)
        except OSError as error:  # whoever read our output has enough of it
            broken.append(error)
            until.set()

    feed = OutcomeFeed(
        settings.broker.url.get_secret_value(),
        Names(settings.broker.prefix),
        wanted.bindings(),
        name="signalq outcomes",
        on_outcome=take,
        on_away=on_away,
        heartbeat_s=settings.broker.heartbeat_s,
    )
    keeping = asyncio.create_task(_listen(feed, on_open), name="listen for outcomes")
    asked_to_stop = asyncio.create_task(until.wait(), name="until it is enough")
    try:
        await asyncio.wait({keeping, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        keeping.cancel()
        asked_to_stop.cancel()
        (ended, _) = await asyncio.gather(keeping, asked_to_stop, return_exceptions=True)
        await feed.close()
    for error in (*broken, ended):
        if isinstance(error, Exception):
            raise error


async def _listen(feed: OutcomeFeed, on_open: Callable[[], None]) -> None:
    await feed.open()
    on_open()
    await feed.keep_open()


async def tell_canceled(settings: Settings, ended: Sequence[Pending]) -> str | None:
    """Tell of what was canceled; None once it is told, else why it could not be.

    What is not told here is told by the consumer, when the canceled message comes back from the ladder.
    """
    publisher = ConfirmedPublisher(settings.broker.url.get_secret_value(), name="signalq scheduled cancel")
    exchange = Names(settings.broker.prefix).outcomes

    async def tell(one: Pending) -> None:
        event = event_of(canceled(one))
        await publisher.publish(exchange, event.routing_key, event.body, event.properties, mandatory=False)

    try:
        for at in range(0, len(ended), TELL_AT_ONCE_MAX):
            async with asyncio.timeout(TELL_TIMEOUT_S):
                await asyncio.gather(*(tell(one) for one in ended[at : at + TELL_AT_ONCE_MAX]))
    except TimeoutError:
        return f"RabbitMQ did not confirm within {TELL_TIMEOUT_S:g} s"
    except BrokerError as error:
        return str(error)
    finally:
        await publisher.close()
    return None
