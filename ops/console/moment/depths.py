"""The depths of the queues, by questions that change nothing: AMQP has no question about several of them.

At most QUESTIONS_PER_S are asked in any second, however many lanes there are. Those that people look at, and those that
need them, are asked every 2 s; the others take turns.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from heapq import nsmallest

from aio_pika.abc import AbstractConnection

from signalq.amqp.inspect import Inspector
from signalq.amqp.ledger_mark import LedgerMark, held_mark
from signalq.errors import BrokerError, SettingsError
from signalq.names import Names
from signalq.ops.console.moment.contact import Contact
from signalq.ops.console.moment.sources import BrokerSource
from signalq.settings.sections import Settings

QUESTIONS_PER_S = 50
# Of these, so many at most are about urgent queues: a hundred of them are asked every 3.3 s, and the others go on.
URGENT_PER_S = 30
# With a look each second: by every other look.
URGENT_S = 1.8
# The questions of a look that began so long ago, or longer, are a second old when their like are asked again.
LOOK_AGAIN_S = 0.8
# The mark is read by a short visit to its queue, and moves only by `signalq topology adopt-ledger`.
MARK_S = 60.0
# A broker that is away is asked again after so long.
AWAY_S = 2.0


@dataclass(frozen=True, slots=True)
class Depth:
    """The answer about a queue, at `at_ms` by the ledger's clock: the messages ready (None: there is no such queue),
    and how many consume it.
    """

    ready: int | None
    consumers: int
    at_ms: int

    @property
    def is_unread(self) -> bool:
        """Whether messages wait there and nobody takes them."""
        return bool(self.ready) and not self.consumers


class Turns:
    """The turns in which queues are asked about. Pure: the time is given, in seconds of a clock that nobody sets."""

    def __init__(self) -> None:
        self._latest_s: deque[float] = deque(maxlen=QUESTIONS_PER_S)
        self._asked_s: dict[str, float] = {}

    def next(self, urgent: Collection[str], others: Collection[str], now_s: float) -> list[str]:
        """The queues to ask about now, after `pause_s` each: those that were asked longest ago, and of equals the first
        ones.
        """
        allowed = QUESTIONS_PER_S - sum(now_s - asked_s < LOOK_AGAIN_S for asked_s in self._latest_s)
        first = self._longest_ago(urgent, now_s)
        ours = set(urgent)
        then = self._longest_ago([queue for queue in others if queue not in ours], now_s)
        some = first[: min(URGENT_PER_S, allowed)]
        return (some + then + first[len(some) :])[:allowed]

    def pause_s(self, now_s: float) -> float:
        """How long the next question has to wait, so that no second has too many."""
        is_full = len(self._latest_s) == QUESTIONS_PER_S
        return max(0.0, self._latest_s[0] + 1.0 - now_s) if is_full else 0.0

    def note(self, queue: str, now_s: float) -> None:
        """Note a question about a queue."""
        self._latest_s.append(now_s)
        self._asked_s[queue] = now_s

    def forget(self, queue: str) -> None:
        """Let a queue be one that was never asked about."""
        self._asked_s.pop(queue, None)

    def _longest_ago(self, queues: Collection[str], now_s: float) -> list[str]:
        """The queues that may be asked about again, the longest ago first."""
        asked_s = {queue: self._asked_s.get(queue, float("-inf")) for queue in queues}
        ready = (queue for queue, last_s in asked_s.items() if now_s - last_s >= URGENT_S)
        return nsmallest(QUESTIONS_PER_S, ready, key=asked_s.__getitem__)


class BrokerLook:
    """The latest answer about each queue stays while the broker is away.

    `unread_since_ms` has the queues in which messages wait and nobody takes them, and since when they were seen so.
    """

    def __init__(self, settings: Callable[[], Settings], now_ms: Callable[[], int]) -> None:
        self.contact = Contact()
        self.depths: dict[str, Depth] = {}
        self.unread_since_ms: dict[str, int] = {}
        self.mark: LedgerMark | None = None
        self._settings = settings
        self._now_ms = now_ms
        self._source = BrokerSource(settings, name="signalq console watch")
        self._inspector: tuple[AbstractConnection, Inspector] | None = None
        self._turns = Turns()
        self._mark_s = float("-inf")
        self._failed_s = float("-inf")

    def hurry(self, queues: Iterable[str]) -> None:
        """Ask about these as soon as the pace lets us: a person has just changed something."""
        for queue in queues:
            self._turns.forget(queue)

    async def look(self, urgent: Collection[str], others: Collection[str]) -> None:
        """Ask about some of these queues."""
        if time.monotonic() - self._failed_s < AWAY_S:
            return
        self.contact.ask()
        try:
            async with self._source.used() as connection:
                await self._ask(connection, self._turns.next(urgent, others, time.monotonic()))
                if time.monotonic() - self._mark_s >= MARK_S:
                    await self._read_mark(connection)
            self.contact.rest()
        except (BrokerError, SettingsError) as error:
            self._failed_s = time.monotonic()
            self._inspector = None
            self._mark_s = float("-inf")  # by then there may be another broker
            self.contact.fail(self._now_ms(), error)

    def forget(self, known: Collection[str]) -> None:
        """Forget the answers about all other queues."""
        for gone in self.depths.keys() - set(known):
            del self.depths[gone]
            self._turns.forget(gone)
            self.unread_since_ms.pop(gone, None)

    async def close(self) -> None:
        """Close the connection; the next look opens it again."""
        self.contact.rest()
        self._inspector = None
        await self._source.close()

    async def _ask(self, connection: AbstractConnection, queues: Iterable[str]) -> None:
        inspector = self._inspector_on(connection)
        for queue in queues:
            await self._take_turn(queue)
            found = await inspector.depth(queue)
            ready, consumers = (None, 0) if found is None else (found.ready, found.consumers)
            self._note(queue, Depth(ready, consumers, self._now_ms()))

    async def _read_mark(self, connection: AbstractConnection) -> None:
        names = Names(self._settings().broker.prefix)
        await self._take_turn(names.ledger)
        self.mark = await held_mark(connection, names)
        self._mark_s = time.monotonic()

    async def _take_turn(self, queue: str) -> None:
        """Wait until a question may go, and note that it does."""
        self.contact.rest()
        await asyncio.sleep(self._turns.pause_s(time.monotonic()))
        self._turns.note(queue, time.monotonic())
        self.contact.ask()

    def _inspector_on(self, connection: AbstractConnection) -> Inspector:
        """The inspector on this connection; its channel stays open from look to look."""
        if self._inspector is None or self._inspector[0] is not connection:
            self._inspector = connection, Inspector(connection)
        return self._inspector[1]

    def _note(self, queue: str, depth: Depth) -> None:
        self.depths[queue] = depth
        self.contact.answer(depth.at_ms)
        if depth.is_unread:
            self.unread_since_ms.setdefault(queue, depth.at_ms)
        else:
            self.unread_since_ms.pop(queue, None)
