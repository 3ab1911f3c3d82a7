"""Outcome events: following them, and publishing those of intents that a command has ended."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from signalq.amqp.outcome_feed import OutcomeFeed
from signalq.amqp.publisher import ConfirmedPublisher, ConfirmingChannel
from signalq.consumer.orders.outcomes import canceled, event_of
from signalq.consumer.orders.pending import Pending
from signalq.errors import BrokerError
from signalq.message.outcome import Outcome, Status, binding_key
from signalq.names import Names
from signalq.settings.sections import Settings

PUBLISH_AT_ONCE_MAX = 100
# So many of the latest endings are remembered.
SHOWN_MAX = 100_000
PUBLISH_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class OutcomeFilter:
    """The conditions that an event has to meet, all of those that are given."""

    connector: str | None = None
    strategy: str | None = None
    status: Status | None = None

    def bindings(self) -> list[str]:
        """The keys to listen for; duplicates are among them, for they say that an event repeats an ending."""
        statuses = [self.status] if self.status in (None, "duplicate") else [self.status, "duplicate"]
        return [binding_key(connector=self.connector, strategy=self.strategy, status=one) for one in statuses]

    def fits(self, outcome: Outcome) -> bool:
        """Whether the event meets the conditions: different names can share a routing key."""
        given = ((self.connector, outcome.connector), (self.strategy, outcome.strategy), (self.status, outcome.status))
        return all(wanted in (None, found) for wanted, found in given)


class ShownOutcomes:
    """The endings that were shown: an event may come again, as the answer to a duplicate or after a crash."""

    def __init__(self) -> None:
        self._shown: OrderedDict[tuple[str, str, int, Status], datetime | None] = OrderedDict()

    def is_news(self, outcome: Outcome) -> bool:
        """Whether the ending is to be shown; from now on it counts as shown.

        Each duplicate is an event of its own. The ending that it repeats is no news, even if it was not shown: then it
        came before this command listened.
        """
        key = outcome.strategy, outcome.intent_id, outcome.generation
        second_at = self._shown.get((*key, "duplicate"))
        is_repeated = (*key, outcome.status) in self._shown or (
            second_at is not None and outcome.updated_at is not None and outcome.updated_at <= second_at
        )
        self._shown[*key, outcome.status] = outcome.updated_at
        self._shown.move_to_end((*key, outcome.status))
        if len(self._shown) > SHOWN_MAX:
            self._shown.popitem(last=False)
        return outcome.status == "duplicate" or not is_repeated


class _Teller:
    """Gives the outcomes that are news and fit to `on_outcome`, those of the past first; until then it holds them.

    If `on_outcome` raises OSError, the reader of our output has closed it: that is kept, and all ends.
    """

    def __init__(self, wanted: OutcomeFilter, on_outcome: Callable[[Outcome], None], until: asyncio.Event) -> None:
        self.broken: list[OSError] = []
        self._wanted = wanted
        self._on_outcome = on_outcome
        self._until = until
        self._shown = ShownOutcomes()
        self._held: list[Outcome] | None = []

    def begin(self, past: Sequence[Outcome]) -> None:
        """Tell the past, and what has come meanwhile."""
        held, self._held = self._held or [], None
        for outcome in (*past, *held):
            self.take(outcome)

    def take(self, outcome: Outcome) -> None:
        """Tell an outcome, or hold it until the past is told."""
        if self._held is not None:
            self._held.append(outcome)
        elif self._shown.is_news(outcome) and self._wanted.fits(outcome):
            try:
                self._on_outcome(outcome)
            except OSError as error:
                self.broken.append(error)
                self._until.set()


async def follow(
    settings: Settings,
    wanted: OutcomeFilter,
    *,
    until: asyncio.Event,
    on_outcome: Callable[[Outcome], None],
    on_away: Callable[[str | None], None],
    on_open: Callable[[], None],
    past: Callable[[], Awaitable[Sequence[Outcome]]] | None = None,
) -> None:
    """Give outcomes to `on_outcome` from `on_open` until `until`, over lost connections (`on_away`, see OutcomeFeed).

    The outcomes of the `past` come first; it is asked once events are listened for, so none is missed in between.
    Raises BrokerError if it can't begin or may not go on, what `past` raises, and the OSError that `on_outcome` raises.
    """
    teller = _Teller(wanted, on_outcome, until)
    feed = OutcomeFeed(
        settings.broker.url.get_secret_value(),
        Names(settings.broker.prefix),
        wanted.bindings(),
        name="signalq outcomes",
        on_outcome=teller.take,
        on_away=on_away,
        heartbeat_s=settings.broker.heartbeat_s,
    )

    async def listen() -> None:
        await feed.open()
        on_open()
        teller.begin(await past() if past is not None else ())
        await feed.keep_open()

    keeping = asyncio.create_task(listen(), name="listen for outcomes")
    asked_to_stop = asyncio.create_task(until.wait(), name="until it is enough")
    try:
        await asyncio.wait({keeping, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        keeping.cancel()
        asked_to_stop.cancel()
        (ended, _) = await asyncio.gather(keeping, asked_to_stop, return_exceptions=True)
        await feed.close()
    for error in (*teller.broken, ended):
        if isinstance(error, Exception):
            raise error


async def publish_canceled(
    publisher: ConfirmedPublisher | ConfirmingChannel, names: Names, ended: Sequence[Pending]
) -> str | None:
    """Publish the outcome of each canceled intent; None once all are confirmed, else why not.

    If this fails, the consumer publishes the outcome when the canceled message comes back from the ladder.
    """

    async def publish(one: Pending) -> None:
        event = event_of(canceled(one))
        await publisher.publish(names.outcomes, event.routing_key, event.body, event.properties, mandatory=False)

    try:
        for at in range(0, len(ended), PUBLISH_AT_ONCE_MAX):
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await asyncio.gather(*(publish(one) for one in ended[at : at + PUBLISH_AT_ONCE_MAX]))
    except TimeoutError:
        return f"RabbitMQ did not confirm within {PUBLISH_TIMEOUT_S:g} s"
    except BrokerError as error:
        return str(error)
    return None
