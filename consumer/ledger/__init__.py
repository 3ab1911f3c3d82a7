"""The memory behind "never twice": what is known of each intent, by identity.

The pipeline recalls an `IntentState`, steps it on, and saves it before the effect that depends on it: the claim
before the first byte of a POST, the outcome before the acknowledgement. Here are the values that the ledger answers
with; the ledger itself is in ledger.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from signalq.consumer.orders.limits import Rate
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.state import IntentState
from signalq.consumer.orders.switch import Change, Switch
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
    `maybe_unpublished`: endings of equal intents without a message_id, one of which its message may have stood for; if
    its consumer died between recording and telling, nobody else would tell of it.
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


# Called with how the switch stands, and with its latest changes since the last call.
SwitchWatcher = Callable[[Switch, Sequence[Change]], None]
