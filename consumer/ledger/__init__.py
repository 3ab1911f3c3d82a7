"""The memory behind "never twice": what is known of each intent, by identity.

The pipeline recalls an `IntentState`, steps it on, and saves it before the effect that depends on it: the claim before
the first byte of a POST, the outcome before the acknowledgement. This package holds the interface, a form in memory for
tests, and the durable one (SQLite or PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from signalq.consumer.orders.limits import Rate
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import Change, State, Switch
from signalq.message.outcome import Outcome


@dataclass(frozen=True, slots=True)
class LaneMemory:
    """What outlives a lane's consumer of a connector: how often its webhook failed in a row, for how long its next POST
    has to wait for that, and how long ago its last one began; None where that is not known, or has not changed.
    """

    connector: str
    failures: int
    wait_ms: int
    posted_ago_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One consumer's time as the active one of a lane: `number` is the fencing token, raised by each new one.

    `alive_before_ms` is when the consumer before it was last known to live; None on a lane that never had one.
    `opening` counts the times that this process has opened lanes: of two sessions that share an epoch the later one
    has the higher. `settled_after`: of intents without a message_id with a higher number than this nobody is in doubt,
    for whoever consumed the lane since then has left it with all that had ended acknowledged; None where one has not.
    `remembered` is what its connectors have to wait for.
    """

    lane: str
    number: int
    alive_before_ms: int | None
    opening: int = field(default=0, compare=False)
    settled_after: int | None = field(default=None, compare=False)
    remembered: tuple[LaneMemory, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An order, under the identity and creation time that the ledger keeps for it, and its history.

    `began_ms`: when the transaction began that says so, on the clock that nobody sets; 0 where that does not matter.
    `canceled`: what its claim has canceled with the same stroke, if it is a `cancel` or `cancelAll`.
    `over_rates`: the rates, only reported, that its claim was over.
    `maybe_untold`: endings of equal intents without a message_id, one of which its message may have stood for; if its
    consumer died between recording and telling, nobody else would tell of it.
    """

    order: Order
    state: IntentState
    canceled: tuple[Pending, ...] = ()
    maybe_unpublished: tuple[Outcome, ...] = ()
    began_ms: int = field(default=0, compare=False)
    over_rates: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True)
class Live:
    """Who lived when one of them, `me`, looked: their owners, at `seen_s` of this machine's monotonic clock."""

    me: str
    owners: frozenset[str]
    seen_s: float


class Conflict(Exception):
    """The ledger has moved on: another version is saved, or another consumer has taken the lane. Recall again."""


class Fenced(Conflict):
    """Another consumer has become the active one of this lane: what this one holds is no longer its business."""


class RateExceeded(Conflict):
    """A claim found no place left in one of its rates: nothing was saved."""

    def __init__(self, rate: Rate) -> None:
        super().__init__(rate.exceeded.detail)
        self.rate = rate


class SwitchedOff(Conflict):
    """The switch lets no POST of this order begin: its claim is not saved. `state` is what holds for its connector."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state = state


# Called with how the switch stands, and with its latest changes since the last call.
SwitchWatcher = Callable[[Switch, Sequence[Change]], None]


class Ledger(Protocol):
    """Recall and save. Whatever `save` returned from is found by every later `recall`, also after a crash."""

    name: str
    ledger_id: str

    @property
    def scheduled(self) -> int:
        """How many delayed intents are pending, as last counted."""
        ...

    @property
    def why_not_writable(self) -> str | None:
        """None while saves succeed; else why they wait."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since it last took something in; it is asked several times a second."""
        ...

    @property
    def wal_bytes(self) -> int:
        """How large its write-ahead log is, where that is a file of ours; else 0."""
        ...

    @property
    def live(self) -> Live | None:
        """Who shares it and lives, as last seen; None where nobody can."""
        ...

    async def join_lane(self, lane: str) -> int | None:
        """About to consume a lane, active or standing by: until leave_lane it counts as looked after.

        Returns when it was last looked after before, in ms since the epoch; None where it never was.
        """
        ...

    def leave_lane(self, lane: str) -> None:
        """Not consuming it any more."""
        ...

    async def open_lane(self, lane: str, *, alone: bool = True) -> Epoch:
        """Become the active consumer of a lane: from now on nobody before can claim on it.

        Not `alone`: one of several, on a lane without order; then the epoch of the others is shared.
        """
        ...

    async def leave_settled(self, epoch: Epoch) -> None:
        """All that has ended in this epoch is acknowledged, and nothing more of it will end: nobody is in doubt."""
        ...

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """Keep this of a connector for the lane's next consumer, with whatever is saved next."""
        ...

    async def known_lanes(self) -> list[str]:
        """The lanes that were ever looked after, and not forgotten since."""
        ...

    async def forget_lane(self, lane: str) -> None:
        """The lane's queue is gone: forget the lane, once that can't be mistaken any more."""
        ...

    async def recall(self, order: Order, epoch: Epoch) -> LedgerEntry:
        """What is known of the intent; what is delayed, or dated by nobody, is recorded.

        Raises Fenced where that would have to be recorded for one without a message_id, and the lane is another's.
        """
        ...

    async def save(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch | None = None,
        *,
        attempt: Attempt | None = None,
        rates: Sequence[Rate] = (),
    ) -> LedgerEntry:
        """Return once this is durably what is known, with its new version.

        With an epoch (a claim) also only if that is still the lane's. The claim of a `cancel` or `cancelAll` cancels
        what is pending. `attempt` is the one whose end is saved with it, for the intent's timeline. It waits while the
        ledger can't be written. A claim takes a place in each of `rates`, in the same transaction: over all consumers
        no more than there are. Raises Conflict, Fenced, or for a claim SwitchedOff or RateExceeded.
        """
        ...

    async def confirm(self, order: Order, claim: IntentState, epoch: Epoch) -> int:
        """Look again whether a claim that was saved still lets its POST begin: nobody has taken the lane or gone on
        with the intent, and the switch lets it pass.

        Returns when the transaction began that says so, on the clock that nobody sets. Raises as `save` of a claim
        does.
        """
        ...

    def switched(self, connector: str) -> State:
        """What the switch said for this connector when it was last read, about a sign of life ago; a claim reads it
        anew.
        """
        ...

    def watch_switch(self, watcher: SwitchWatcher) -> None:
        """Have it told of the switch with the next sign of life, and with each one that finds it changed."""
        ...

    def count_unacked(self, unacked: Callable[[], Mapping[str, int]]) -> None:
        """Have it told with each sign of life how many messages this consumer holds, by queue."""
        ...

    def release(self, order: Order) -> None:
        """The message is out of the consumer's hands."""
        ...
