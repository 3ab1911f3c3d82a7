"""The switch as its pages show it: what a change would do and undo, and who has taken one up. Values; pure but for the
reads of the ledger, which are one transaction each.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import recent, replicas, switches
from signalq.consumer.ledger.queries.recent import Wire
from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.orders.switch import ALL, Change, State, Switch, milder_for
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.lanes import SWITCH_WAIT_S
from signalq.settings.sections import Settings

RESUME = "resume"
# A name that is longer, or not plain ASCII, is no word that a person types.
TYPED_CHARACTERS_MAX = 40
_TYPEABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_NO_WORD = re.compile(r"[^A-Za-z0-9]")

Taking = Literal["acts", "waits", "late", "silent"]


@dataclass(frozen=True, slots=True)
class Undone:
    """A switch that a change would make milder, and the change that had set it, if that is known."""

    connector: str
    state: State
    change: Change | None


@dataclass(frozen=True, slots=True)
class Question:
    """A change of the switch before it is made: for one `connector`, or ALL; and what it would undo.

    `version` is that of the switch as it was looked at, `state` the connector's own, `all_state` that of all.
    """

    connector: str
    to: State
    version: int
    state: State
    all_state: State
    undone: Sequence[Undone]

    @property
    def is_away(self) -> bool:
        """Whether it leads away from safety."""
        return bool(self.undone)

    @property
    def word(self) -> str:
        """The word that confirms one away from safety."""
        return word_for(self.connector)

    @property
    def pattern(self) -> str:
        """The word as the pattern of a field, a regular expression of JavaScript."""
        return _NO_WORD.sub(lambda found: rf"\x{ord(found[0]):02x}", self.word)


@dataclass(frozen=True, slots=True)
class Figures:
    """How much a change concerns, as last seen: orders that are out, that wait, and the oldest; None is not known."""

    out: int
    waiting: int | None
    oldest_ms: int | None
    opens_due: int
    open_max_age_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A consumer and a change: it acts by it, waits to be asked, is late, or is silent since `since_ms`."""

    name: str
    taking: Taking
    since_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """The fate of a change: the switch now, who has taken it up, and what is on the wire."""

    change: Change
    now_ms: int
    switch: Switch
    later: Change | None
    taken: Sequence[Taken]
    wire: Wire

    @property
    def state(self) -> State:
        """The state that holds now for the changed connector, or for all that have no stricter one of their own."""
        return self.switch.state_of(self.change.connector)

    @property
    def late(self) -> list[Taken]:
        """The consumers that have not taken it up in time."""
        return [one for one in self.taken if one.taking == "late"]

    @property
    def is_open(self) -> bool:
        """Whether more is to be seen soon."""
        on_the_wire = self.change.state == "paused" and self.wire.out > 0
        return any(one.taking in {"waits", "late"} for one in self.taken) or on_the_wire


def word_for(connector: str) -> str:
    """The word that a person types to let a connector, or all of them, go on."""
    is_typeable = len(connector) <= TYPED_CHARACTERS_MAX and _TYPEABLE.fullmatch(connector)
    return connector if is_typeable else RESUME


def question_of(connector: str, to: State, switch: Switch, changes: Mapping[str, Change]) -> Question:
    """The question of a change, by the switch and the latest change of each connector."""
    undone = [Undone(name, switch.own(name), changes.get(name)) for name in milder_for(switch, connector, to)]
    return Question(connector, to, switch.version, switch.own(connector), switch.own(ALL), undone)


def read_switch(connection: Connection) -> tuple[Switch, dict[str, Change]]:
    """The switch, and the latest change of each connector."""
    return switches.read(connection, Switch()), switches.latest(connection)


def figures_of(connector: str, snapshot: Snapshot, settings: Settings) -> Figures:
    """How much a change of this connector's switch concerns, or of all."""
    lanes = [lane for lane in snapshot.lanes if connector in (ALL, lane.connector)]
    # A connector without a lane of its own waits in the shared one, among others.
    depths = [lane.waiting for lane in lanes if lane.is_own or lane.connector is None or connector != ALL]
    known = [depth for depth in depths if depth is not None]
    waiting = sum(known) if known and len(known) == len(depths) else None
    oldest = [lane.oldest_ms for lane in lanes if lane.oldest_ms is not None]
    own_age_s = None if connector == ALL else settings.connector(connector).open_max_age_s
    return Figures(
        sum(lane.out for lane in lanes),
        waiting,
        min(oldest, default=None),
        sum(lane.opens_due for lane in lanes),
        own_age_s or settings.delivery.open_max_age_s,
    )


def read_result(connection: Connection, number: int) -> Result | None:
    """The fate of the change of that number; None where there is none."""
    change = switches.change_of(connection, number)
    if change is None:
        return None
    now_ms = clock_ms(connection)
    later = [one for one in switches.history(connection, change.connector, 1) if one.number > number]
    return Result(
        change,
        now_ms,
        switches.read(connection, Switch()),
        later[0] if later else None,
        [taken_by(one, change, now_ms) for one in replicas.known(connection, now_ms)],
        recent.wire(connection, now_ms, change.connector or None),
    )


def taken_by(replica: Replica, change: Change, now_ms: int) -> Taken:
    """Whether a consumer has taken a change up. A silent one can begin nothing: its next claim reads the switch."""
    if not replica.lives:
        return Taken(replica.name, "silent", now_ms - replica.silent_ms)
    if replica.switch_seen >= change.number:
        return Taken(replica.name, "acts", now_ms)
    is_late = now_ms - change.at_ms >= SWITCH_WAIT_S * 1000
    return Taken(replica.name, "late" if is_late else "waits", change.at_ms)
