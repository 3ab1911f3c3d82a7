"""A snapshot: everything that the pages show of the present moment, read once for all who look.

Values alone. Times are ms since the epoch on the ledger's clock; None says that a figure is not known, which is not 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.ledger.queries.shift_notes import ShiftNote
from signalq.consumer.orders.switch import ALL, Change, State, Switch
from signalq.kinds import Kind

# Buckets of the charts: 15 minutes by 15 s, and 24 hours by 10 minutes; the last one is the one that fills now.
SHORT_BUCKETS, SHORT_BUCKET_MS = 60, 15_000
LONG_BUCKETS, LONG_BUCKET_MS = 144, 600_000
# An answer of a source that is older is said to be old.
STALE_MS = 5_000

Region = Literal[
    "status", "attention", "lanes", "throughput", "consumers", "letters", "schedule", "orders", "jobs", "activity"
]
REGIONS: frozenset[Region] = frozenset(get_args(Region))


@dataclass(frozen=True, slots=True)
class Source:
    """The ledger or the broker, as last asked.

    `seen_ms`: its last good answer. While it is away, `away_since_ms` is the time of the first question without one,
    and `why` the sentence, of the `kind`.
    """

    seen_ms: int | None = None
    away_since_ms: int | None = None
    why: str = ""
    kind: Kind | None = None

    @property
    def is_away(self) -> bool:
        """Whether the last question had no answer."""
        return self.away_since_ms is not None


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counts of endings, the oldest bucket first; `reasons` are those of `dead`, by reason."""

    delivered: Sequence[int] = ()
    dead: Sequence[int] = ()
    reasons: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ending:
    """The latest ending of a lane or a connector."""

    status: str
    at_ms: int
    reason: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane: of the connector that has it, or the shared one (None); or a connector without a lane of its own that the
    switch names or that has orders (`is_own` is false, `queue` is the shared lane's).

    `ready` waits on the broker, as it said at `ready_ms`; consumers hold `held` more, and `out` are being POSTed. The
    age of the oldest begins at `oldest_ms`. The next attempt, where the first in line waits for one, is at `next_ms`,
    after `failures` failures in a row, the last of them for the reason `why`; `retrying` orders wait for another
    attempt. `change` made the `state`, where that is not open. `doubts` letters of it are in doubt.

    `is_old` says that the broker was asked again and has not answered, so that `ready` is no news; `ready_ms` alone
    makes no difference between two lanes. `is_retired`: no setting names the lane any more, and it still has a queue.
    """

    connector: str | None
    queue: str
    is_own: bool = True
    state: State = "open"
    change: Change | None = None
    ready: int | None = None
    held: int = 0
    out: int = 0
    oldest_ms: int | None = None
    next_ms: int | None = None
    failures: int = 0
    consumer: str | None = None
    is_consumed: bool = True
    short: Buckets = Buckets()
    last: Ending | None = None
    # Pending opens of a close-only connector that fall due within an hour: they will die `forbidden`.
    opens_due: int = 0
    retrying: int = 0
    why: str | None = None
    doubts: int = 0
    is_old: bool = False
    is_retired: bool = False
    ready_ms: int | None = field(default=None, compare=False)

    @property
    def is_unread(self) -> bool:
        """Whether orders wait on the broker and nobody takes them."""
        return not self.is_consumed and bool(self.ready)

    @property
    def backs_off(self) -> bool:
        """Whether an order waits for another attempt."""
        return bool(self.failures) and (self.next_ms is not None or self.retrying > 0)

    @property
    def waiting(self) -> int | None:
        """How many wait: on the broker, or held by a consumer and not out."""
        return None if self.ready is None else self.ready + self.held


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that needs a person: the sentence, since when, on what, and what to do (`advice`).

    `links` are pairs of words and a path of the console. `key` is the same as long as it is the same thing. `on` is
    foreign: the name of a connector, or of a consumer.
    """

    key: str
    sentence: str
    is_grave: bool
    since_ms: int | None = None
    on: str = ""
    links: Sequence[tuple[str, str]] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead letters: as the ledger knows them, and how many messages the queue has ready (None: not known).

    `is_read`: somebody reads the queue now, so that `ready` says nothing of how many there are. `newest` is the number
    of the newest letter in the ledger.
    """

    count: int = 0
    messages: int = 0
    oldest_ms: int | None = None
    ready: int | None = None
    is_read: bool = False
    newest: int = 0


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of durations in ms, of the last 15 minutes; None of nothing. `count` of them were measured: of many
    the latest.
    """

    p50_ms: int | None = None
    p99_ms: int | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The moment `now_ms`. `number` rises from snapshot to snapshot; `ahead_ms` is how far this machine's clock is
    ahead of the ledger's.
    """

    number: int = 0
    now_ms: int = 0
    ahead_ms: int = 0
    ledger: Source = Source()
    broker: Source = Source()
    # Whether the broker's lanes belong to another ledger: then nothing is to be done here.
    other_ledger: str | None = None
    switch: Switch = field(default_factory=Switch)
    # The latest change of each connector, and of all under ALL.
    changes: Mapping[str, Change] = field(default_factory=dict)
    replicas: Sequence[Replica] = ()
    last_consumer: tuple[str, int] | None = None
    lanes: Sequence[Lane] = ()
    attention: Sequence[Notice] = ()
    letters: Letters = Letters()
    scheduled: int = 0
    next_due_ms: int | None = None
    total: Buckets = Buckets()
    posts: Spread = Spread()
    late: Spread = Spread()
    # The shift notes that stand, the newest first.
    notes: Sequence[ShiftNote] = ()
    # Signs of the regions that no figure here is of: the same as long as they have not changed.
    marks: Mapping[Region, object] = field(default_factory=dict)

    @property
    def living(self) -> list[Replica]:
        """The consumers that live."""
        return [one for one in self.replicas if one.lives]

    @property
    def paused(self) -> list[str]:
        """The connectors that are paused by a switch of their own, in the order of their names."""
        return sorted(name for name, state in self.switch.states.items() if state == "paused" and name != ALL)

    @property
    def close_only(self) -> list[str]:
        """The same for close-only."""
        return sorted(name for name, state in self.switch.states.items() if state == "close-only" and name != ALL)

    @property
    def all_state(self) -> State:
        """The switch of all connectors."""
        return self.switch.own(ALL)

    @property
    def waiting(self) -> int:
        """How many orders wait in all lanes, as far as that is known."""
        return sum(lane.waiting or 0 for lane in self.lanes)

    def seen_ms(self, replica: Replica) -> int:
        """When a consumer gave its last sign of life."""
        return (self.now_ms if self.ledger.seen_ms is None else self.ledger.seen_ms) - replica.silent_ms

    def lanes_of(self, replica: Replica) -> int:
        """How many lanes a consumer has."""
        return sum(lane.consumer == replica.name for lane in self.lanes if lane.is_own)

    def lane(self, connector: str | None) -> Lane | None:
        """The lane of a connector, or the shared one; None where there is none."""
        return next((one for one in self.lanes if one.connector == connector), None)
