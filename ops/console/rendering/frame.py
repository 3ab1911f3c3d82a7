"""The frame of every page: what its head says of the present moment, as values for its template."""

from collections.abc import Sequence
from dataclasses import dataclass

from signalq.consumer.orders.switch import ALL, Change, State
from signalq.kinds import Kind
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.console.rendering import charts

# So many connectors are named in a band, and the rest counted.
NAMED_MAX = 2
# Clocks that differ by less are not worth a word.
AHEAD_MS = 2_000
# The session's end is told so long before.
ENDS_SOON_S = 30 * 60
MARKS: dict[State, str] = {"open": "", "close-only": "◧ ", "paused": "■ "}
# The key of the notice that a browser may tell of, where its user has switched that on: see letter_notices.py.
DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the navigation, and the first parts of the paths that belong to it. `key` follows `g`."""

    path: str
    words: str
    key: str
    firsts: frozenset[str]


PLACES = (
    Place("/", "Overview", "o", frozenset({"", "lanes", "shared-lane", "switch"})),
    Place("/dead", "Dead", "d", frozenset({"dead", "jobs"})),
    Place("/schedule", "Schedule", "s", frozenset({"schedule"})),
    Place("/orders", "Orders", "r", frozenset({"orders"})),
    Place("/check", "Check", "c", frozenset({"check"})),
    Place("/activity", "Activity", "a", frozenset({"activity"})),
)
# A page that belongs to no place, such as the one of the keys.
NOWHERE = "none"


@dataclass(frozen=True, slots=True)
class Band:
    """The band over a page while a switch is not open: for all connectors, or for these `names` and `more`.

    `change` is the one that made it so, where it is one.
    """

    state: State
    names: Sequence[str] = ()
    more: int = 0
    change: Change | None = None

    @property
    def connector(self) -> str | None:
        """The connector that a resume would open; None for all, or for several."""
        return self.names[0] if len(self.names) == 1 and not self.more else None

    @property
    def is_one(self) -> bool:
        """Whether one resume opens it."""
        return not self.names or self.connector is not None


def place_of(path: str) -> str:
    """The path of the place that a page belongs to, as its navigation marks it."""
    first = path.split("/", 2)[1] if "/" in path else ""
    return next((place.path for place in PLACES if first in place.firsts), NOWHERE)


def count_of(place: Place, snapshot: Snapshot) -> int:
    """The number beside a place."""
    return {"/dead": snapshot.letters.count, "/schedule": snapshot.scheduled}.get(place.path, 0)


def bands(snapshot: Snapshot) -> list[Band]:
    """The bands, the strictest first. While all connectors are paused, a milder one would say nothing more."""
    found = []
    for state, names in (("paused", snapshot.paused), ("close-only", snapshot.close_only)):
        if snapshot.all_state == state:
            found.append(Band(snapshot.all_state, change=snapshot.changes.get(ALL)))
        elif names:
            change = snapshot.changes.get(names[0]) if len(names) == 1 else None
            found.append(Band(snapshot.switch.own(names[0]), names[:NAMED_MAX], max(0, len(names) - NAMED_MAX), change))
        if snapshot.all_state == "paused":
            break
    return found


def title(snapshot: Snapshot, name: str) -> str:
    """The beginning of a page's title: the switch as a mark, the number of dead letters, and the deployment."""
    letters = f"({snapshot.letters.count}) " if snapshot.letters.count else ""
    return f"{MARKS[_strictest(snapshot)]}{letters}signalq {name}"


def icon(snapshot: Snapshot) -> str:
    """The page's icon, by the same."""
    state = None if snapshot.ledger.is_away else _strictest(snapshot)
    return charts.icon(state, is_alarm=any(notice.is_grave for notice in snapshot.attention))


def doubt(snapshot: Snapshot) -> str:
    """The sentence of the orders in doubt; empty where there are none."""
    return next((notice.sentence for notice in snapshot.attention if notice.key.startswith(DOUBT)), "")


def version_refused(snapshot: Snapshot) -> str:
    """The sentence of a ledger that this version can't use: then nothing else is to be seen. Empty where it can."""
    return snapshot.ledger.why if snapshot.ledger.is_away and snapshot.ledger.kind is Kind.LEDGER_VERSION else ""


def clocks_apart(snapshot: Snapshot) -> int | None:
    """How many ms this machine's clock is ahead of the ledger's (behind, if negative), where that is worth a word."""
    return snapshot.ahead_ms if abs(snapshot.ahead_ms) >= AHEAD_MS else None


def how_to_end(replica_name: str) -> tuple[str, str] | None:
    """The command that ends a consumer, and its host; None where its name does not tell."""
    host, _, process = replica_name.rpartition(":")
    return (f"kill {process}", host) if host and process.isascii() and process.isdigit() else None


def _strictest(snapshot: Snapshot) -> State:
    """The state of all, or that a connector is not open, as the milder mark."""
    if snapshot.all_state == "open" and snapshot.switch.states:
        return "close-only"
    return snapshot.all_state
