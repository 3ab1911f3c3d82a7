"""The present moment, put together of what the looks at the ledger and at the broker have found."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from signalq.consumer.orders.switch import ALL
from signalq.names import Names
from signalq.ops.console.moment.attention import Facts, attend
from signalq.ops.console.moment.depths import BrokerLook
from signalq.ops.console.moment.lane_board import LaneBoard
from signalq.ops.console.moment.lane_notices import LASTS_MS
from signalq.ops.console.moment.looking import LedgerLook, Moment
from signalq.ops.console.moment.snapshot import Letters, Region, Snapshot
from signalq.ops.ledger import why_another_ledger
from signalq.settings.sections import Settings

# A lane that nobody has looked after for so long was not left a moment ago.
LEFT_MS = 15_000


class Composer:
    """Makes a snapshot of what was found last; what lasts from one to the next is remembered here."""

    def __init__(self, settings: Callable[[], Settings], ledger: LedgerLook, broker: BrokerLook) -> None:
        self._settings = settings
        self._ledger = ledger
        self._broker = broker
        self._board = LaneBoard(ledger, broker)
        self._last_consumer: tuple[str, int] | None = None
        self._differs: tuple[int, int] | None = None

    def compose(self, number: int, urgent: frozenset[str]) -> Snapshot:
        """The moment, under this number; the broker is asked about the `urgent` queues more often."""
        settings, ledger, now_ms = self._settings(), self._ledger, self._ledger.now_ms
        found = Snapshot(
            number=number,
            now_ms=now_ms,
            ledger=ledger.contact.source(now_ms),
            broker=self._broker.contact.source(now_ms),
            other_ledger=None if ledger.mark is None else why_another_ledger(self._broker.mark, ledger.mark),
            lanes=self._board.lanes(settings, now_ms, urgent),
            letters=self._letters(settings),
            scheduled=ledger.rest.scheduled.count,
            next_due_ms=ledger.rest.scheduled.next_due_ms,
            total=ledger.history.of(ALL).short.until(now_ms),
            posts=ledger.posts,
            late=ledger.late,
        )
        if ledger.moment is not None:
            found = self._with_moment(found, ledger.moment)
        return replace(found, attention=attend(found, self._facts(found, settings), settings))

    def _with_moment(self, found: Snapshot, moment: Moment) -> Snapshot:
        return replace(
            found,
            ahead_ms=moment.ahead_ms,
            switch=moment.switch,
            changes=moment.changes,
            replicas=moment.replicas,
            last_consumer=self._latest_of(moment),
            notes=moment.notes,
            marks=self._marks(moment),
        )

    def _latest_of(self, moment: Moment) -> tuple[str, int] | None:
        """The consumer that gave the last sign of life: one that ends takes its row along, and is remembered."""
        if moment.replicas:
            latest = min(moment.replicas, key=lambda one: one.silent_ms)
            self._last_consumer = latest.name, moment.now_ms - latest.silent_ms
        elif self._last_consumer is None and moment.lanes:
            self._last_consumer = "", max(lane.alive_ms for lane in moment.lanes.values())
        return self._last_consumer

    def _letters(self, settings: Settings) -> Letters:
        known, depth = self._ledger.rest.letters, self._broker.depths.get(Names(settings.broker.prefix).dead)
        return Letters(
            count=known.count,
            messages=known.messages,
            oldest_ms=known.oldest_ms,
            ready=None if depth is None else depth.ready,
            is_read=depth is not None and depth.consumers > 0,
            newest=known.newest,
        )

    def _marks(self, moment: Moment) -> Mapping[Region, object]:
        rest, last = self._ledger.rest, self._ledger.history.of(ALL).last
        retrying = sum(one.count for one in moment.retrying.values())
        orders = *moment.newest, last, sum(moment.sending.values()), retrying
        consumers = [(one.owner, one.lives) for one in moment.replicas]
        return {
            "orders": orders,
            "activity": (moment.newest.act, moment.switch.version, rest.letters.newest, consumers),
            "letters": rest.letters.noted_ms,
            "schedule": rest.scheduled.mark,
        }

    def _facts(self, found: Snapshot, settings: Settings) -> Facts:
        names = Names(settings.broker.prefix)
        since_ms = {queue: self._left_ms(queue, at_ms) for queue, at_ms in self._broker.unread_since_ms.items()}
        due, due_since_ms = self._broker.depths.get(names.due), since_ms.get(names.due, found.now_ms)
        is_due_left = due is not None and found.now_ms - due_since_ms >= LASTS_MS
        return Facts(
            fresh=self._ledger.rest.fresh,
            doubts=self._ledger.rest.doubts,
            unread_since_ms=since_ms,
            due_unread=(due.ready or 0) if due is not None and is_due_left else 0,
            differs=self._difference(found),
        )

    def _left_ms(self, queue: str, seen_ms: int) -> int:
        """Since when nobody consumes a queue that was seen so: since somebody last did, where that is longer ago."""
        moment = self._ledger.moment
        lane = None if moment is None else moment.lanes.get(queue)
        return lane.alive_ms if lane is not None and seen_ms - lane.alive_ms > LEFT_MS else seen_ms

    def _difference(self, found: Snapshot) -> tuple[int, int] | None:
        """By how much the queue of letters differs from the ledger, and since when by as much."""
        letters = found.letters
        is_known = letters.ready is not None and not (letters.is_read or found.ledger.is_away or found.broker.is_away)
        more = letters.ready - letters.messages if letters.ready is not None and is_known else 0
        if not more:
            self._differs = None
        elif self._differs is None or self._differs[0] != more:
            self._differs = more, found.now_ms
        return self._differs
