"""The memory behind "never twice": what is known of each intent, by identity.

The pipeline recalls an `IntentState`, steps it on, and saves it before the effect that depends on it: the claim
before the first byte of a POST, the outcome before the acknowledgement. Here are the values that the ledger answers
with, and how long a claim, a lease and a sign of life hold; the ledger itself is in ledger.py.
"""

from dataclasses import dataclass, field

from signalq.consumer.orders.limits import Rate
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.state import IntentState
from signalq.message.outcome import Outcome

# A claim whose transaction began longer ago than this is not POSTed: the process may have been frozen meanwhile (a
# suspended machine, for an hour), its lease run out, and another consumer may have dealt with the intent; and what the
# switch said then may not hold any more.
CLAIM_MS_MAX = 1_000
# A claim is its consumer's business for so long after that one's last sign of life.
LEASE_MS = CLAIM_MS_MAX + 500
# A consumer that was silent for as long as a lease does not count as living: its last claim is too old to be POSTed,
# and its next one reads the switch anew, should it only have stood still.
LIVE_MS = LEASE_MS
# Renewed so often: three signs of life may be late before a lease ends.
ALIVE_PERIOD_S = 0.4


@dataclass(frozen=True, slots=True)
class LaneMemory:
    """A connector's waits, kept for its lane's next consumer: how often its webhook failed in a row, how long its next
    POST waits for that, and how long ago its last POST began; None where that is not known, or has not changed.
    """

    connector: str
    failures: int
    wait_ms: int
    posted_ago_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """The orders of a lane that a consumer has, as AMQP can't tell it.

    `held` messages are unacknowledged here, of which the orders of `out` are claimed and being POSTed. The age of the
    oldest that waits or is POSTed begins at `oldest_ms`, its creation or due time. `next_ms` is when the next attempt
    is due, where the first in line waits for that. Both are ms since the epoch; None where there is none.
    """

    held: int
    out: int = 0
    oldest_ms: int | None = None
    next_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A consumer's time as the active one of a lane: `number` is the fencing token, raised by each new one.

    `alive_before_ms` is when the consumer before it was last known to live; None on a lane that never had one.
    `opening` counts the times that this process has opened lanes: of two sessions that share an epoch the later one
    has the higher. `settled_after`: intents without a message_id that have a higher number are not in doubt, for each
    consumer of the lane since then has left it with all endings acknowledged; None where one has not. `remembered` are
    the waits of its connectors.
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
    """The owners that lived when one of them, `me`, looked, at `seen_s` of this machine's monotonic clock."""

    me: str
    owners: frozenset[str]
    seen_s: float


class Conflict(Exception):
    """The ledger has moved on: another version is saved, or another consumer has taken the lane. Recall again."""


class Fenced(Conflict):
    """Another consumer has become the active one of this lane: the messages of this one are no longer its business."""
