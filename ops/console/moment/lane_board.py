"""The lanes as rows, sorted by what needs a person: put together of what the ledger and the broker say."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from signalq.consumer.ledger import LaneFacts
from signalq.consumer.orders import lanes
from signalq.consumer.orders.switch import ALL, Change, State
from signalq.consumer.replicas.assignment import desired
from signalq.message.field_rules import EXIT_ACTIONS
from signalq.names import Names
from signalq.ops.console.moment.depths import BrokerLook, Depth
from signalq.ops.console.moment.looking import LedgerLook
from signalq.ops.console.moment.snapshot import STALE_MS, Buckets, Ending, Lane
from signalq.settings.sections import Settings

# So many connectors without a lane of their own have a row: their names are foreign, and without a limit.
SHARED_ROWS_MAX = 200
# The time of the next attempt is told by consumers that count from a clock of their own: less is no change of it.
SAME_ATTEMPT_MS = 50
_NO_FACTS = LaneFacts(0)
_BEHIND_ALL_NAMES = "\U0010ffff"


class _Wanted(NamedTuple):
    """A row that is to be shown: of a connector, or of the shared lane (None)."""

    connector: str | None
    queue: str
    is_own: bool = True
    is_retired: bool = False


class _Row(NamedTuple):
    """The fields of a Lane in their order, without the last. Of 1,900 lanes most are as they were a second ago: this
    tells so in a quarter of the time.
    """

    connector: str | None
    queue: str
    is_own: bool
    state: State
    change: Change | None
    ready: int | None
    held: int
    out: int
    oldest_ms: int | None
    next_ms: int | None
    failures: int
    consumer: str | None
    is_consumed: bool
    short: Buckets
    last: Ending | None
    opens_due: int
    retrying: int
    why: str | None
    doubts: int
    is_old: bool
    is_retired: bool


class LaneBoard:
    """Keeps the rows from look to look."""

    def __init__(self, ledger: LedgerLook, broker: BrokerLook) -> None:
        self._ledger = ledger
        self._broker = broker
        self._before: dict[tuple[str | None, bool], tuple[_Row, Lane]] = {}
        # By queue, the consumer that the assignment gives it to, as long as the same ones live.
        self._assigned: dict[str, str] = {}
        self._living: frozenset[str] = frozenset()

    def lanes(self, settings: Settings, now_ms: int, urgent: frozenset[str]) -> tuple[Lane, ...]:
        """The lanes as they are now; the broker is asked about the `urgent` queues more often."""
        look = _Look(settings, self._ledger, self._broker, now_ms, urgent)
        if look.living.keys() != self._living:
            self._living, self._assigned = frozenset(look.living), {}
        before, self._before = self._before, {}
        for wanted in look.wanted():
            key = wanted.connector, wanted.is_own
            known = before.get(key)
            row = look.row(wanted, self._assigned, None if known is None else known[1])
            depth = self._broker.depths.get(wanted.queue) if wanted.is_own else None
            ready_ms = None if depth is None else depth.at_ms
            if known is None or row != known[0] or ready_ms != known[1].ready_ms:
                known = row, Lane(*row, ready_ms)
            self._before[key] = known
        return tuple(sorted((lane for _row, lane in self._before.values()), key=place_of))


def place_of(lane: Lane) -> tuple[int, bool, str]:
    """The place of a lane among the others: what needs a person first, then what is busy, then by name."""
    needs = (lane.is_unread, lane.doubts > 0, lane.state == "paused", lane.backs_off, lane.state == "close-only")
    rank = needs.index(True) if True in needs else len(needs)
    is_quiet = not (lane.waiting or lane.out or lane.retrying)
    return rank, is_quiet, _BEHIND_ALL_NAMES if lane.connector is None else lane.connector


class _Look:
    """The facts for all rows, looked up once a look; `living` has the names of the consumers that live, by owner."""

    def __init__(
        self, settings: Settings, ledger: LedgerLook, broker: BrokerLook, now_ms: int, urgent: frozenset[str]
    ) -> None:
        self._settings = settings
        self._names = Names(settings.broker.prefix)
        self._moment = ledger.moment
        self._history = ledger.history
        self._depths = broker.depths
        self._now_ms = now_ms
        self._urgent = urgent
        self._own = frozenset(settings.own_lanes())
        replicas = [] if self._moment is None else [one for one in self._moment.replicas if one.lives]
        self.living = {one.owner: one.name for one in replicas}
        self._told: dict[str, LaneFacts] = {}
        for replica in replicas:
            for queue, facts in replica.lanes.items():
                self._told[queue] = _together(self._told.get(queue, _NO_FACTS), facts)
        self._opens_due = _opens_due(settings, ledger.rest.due)
        self._doubts = Counter[str | None]()
        for group in ledger.rest.doubts:
            self._doubts[group.connector] += group.count
        self._out = self._with_shared({} if self._moment is None else self._moment.sending)
        waits = {} if self._moment is None else self._moment.retrying
        self._retrying = self._with_shared({name: one.count for name, one in waits.items()})

    def _with_shared(self, counts: Mapping[str, int]) -> Mapping[str | None, int]:
        """The counts by connector, and under None that of the shared lane."""
        found: dict[str | None, int] = {None: 0}
        for name, count in counts.items():
            found[name] = count
            found[None] += 0 if name in self._own else count
        return found

    def wanted(self) -> Iterator[_Wanted]:
        """Each row that is to be shown."""
        for name in self._own:
            yield _Wanted(name, self._names.lane(name))
        yield _Wanted(None, self._names.orders)
        if self._moment is None:
            return
        for queue in lanes.retired(self._settings, list(self._moment.lanes)):
            depth = self._depths.get(queue)
            if depth is not None and depth.ready is not None:
                yield _Wanted(self._names.connector_of(queue), queue, is_retired=True)
        named = self._moment.switch.states.keys() - {ALL} - self._own
        busy = (self._moment.sending.keys() | self._moment.retrying.keys()) - self._own - named
        for name in islice((*sorted(named), *sorted(busy)), SHARED_ROWS_MAX):
            yield _Wanted(name, self._names.orders, is_own=False)

    def row(self, wanted: _Wanted, assigned: dict[str, str], before: Lane | None) -> _Row:
        """The row as it is now."""
        name, queue, is_own, is_retired = wanted
        depth = self._depths.get(queue) if is_own else None
        facts = self._told.get(queue, _NO_FACTS) if is_own else _NO_FACTS
        series = self._history.of(name)
        state, change = self._switched(name)
        moment, by_name = self._moment, name or ALL
        retrying = None if moment is None else moment.retrying.get(by_name)
        return _Row(
            connector=name,
            queue=queue,
            is_own=is_own,
            state=state,
            change=change,
            ready=None if depth is None else depth.ready,
            held=max(0, facts.held - facts.out),
            out=0 if is_retired else self._out.get(name, 0),
            oldest_ms=facts.oldest_ms,
            next_ms=_steady(facts.next_ms, before),
            failures=0 if moment is None else moment.failures.get(by_name, 0),
            consumer=self._consumer(queue, depth, assigned) if is_own else None,
            is_consumed=depth is None or depth.consumers > 0,
            short=series.short.until(self._now_ms),
            last=series.last,
            opens_due=self._opens_due.get(by_name, 0),
            retrying=self._retrying.get(name, 0),
            why=None if retrying is None else _why(retrying.http_status, retrying.why),
            doubts=self._doubts[name] if name is not None else 0,
            is_old=depth is not None and queue in self._urgent and self._now_ms - depth.at_ms > STALE_MS,
            is_retired=is_retired,
        )

    def _switched(self, name: str | None) -> tuple[State, Change | None]:
        """The state that holds for a connector, and the change that made it."""
        if self._moment is None:
            return "open", None
        switch, changes = self._moment.switch, self._moment.changes
        state = switch.state_of(name or ALL)
        if state == "open":
            return state, None
        return state, changes.get(name if name is not None and switch.own(name) == state else ALL)

    def _consumer(self, queue: str, depth: Depth | None, assigned: dict[str, str]) -> str | None:
        """The consumer that serves a queue, if one does: the one that has recorded the lane, with its first message;
        else the one that the assignment gives it to, which is the same for all consumers.
        """
        lane = None if self._moment is None else self._moment.lanes.get(queue)
        recorded = None if lane is None or lane.owner is None else self.living.get(lane.owner)
        if recorded is not None or depth is None or not depth.consumers or not self.living:
            return recorded
        if queue not in assigned:
            assigned[queue] = desired(queue, self.living)
        return self.living[assigned[queue]]


def _together(one: LaneFacts, other: LaneFacts) -> LaneFacts:
    """The facts of one lane, of which two consumers have something."""
    oldest = [at_ms for at_ms in (one.oldest_ms, other.oldest_ms) if at_ms is not None]
    following = [at_ms for at_ms in (one.next_ms, other.next_ms) if at_ms is not None]
    return LaneFacts(
        one.held + other.held, one.out + other.out, min(oldest, default=None), min(following, default=None)
    )


def _opens_due(settings: Settings, due: Mapping[tuple[str, str], int]) -> Counter[str]:
    """How many of the orders that fall due are opens, by connector."""
    found = Counter[str]()
    for (name, action), count in due.items():
        is_exit = action in EXIT_ACTIONS or (action == "sell" and settings.connector(name).spot_sell_is_exit)
        found[name] += 0 if is_exit else count
    return found


def _steady(next_ms: int | None, before: Lane | None) -> int | None:
    """The time of the next attempt; as it was told before, where that is as good as the same."""
    if next_ms is None or before is None or before.next_ms is None:
        return next_ms
    return before.next_ms if abs(next_ms - before.next_ms) < SAME_ATTEMPT_MS else next_ms


def _why(http_status: int | None, why: str | None) -> str | None:
    return why if http_status is None else f"HTTP {http_status}"
