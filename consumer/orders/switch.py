"""The switch: whether a connector's orders go out, as a value. A person changes it, see ops/lanes.py.

The ledger keeps it (consumer/ledger); rules.py says what follows from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

State = Literal["open", "close-only", "paused"]

# The connector's name under which the switch of all of them is kept; no connector can have it.
ALL = ""
# From the mildest to the strictest: of two that apply, the stricter counts.
_STRICTNESS: Mapping[State, int] = MappingProxyType({"open": 0, "close-only": 1, "paused": 2})


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the switch: its `number`, and who made it, why and when (ms since the epoch, ledger's clock).

    `connector` is ALL for the switch of all connectors; opening that one opened each connector as well.
    """

    number: int
    connector: str
    state: State
    at_ms: int
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Switch:
    """The switch after the change number `version` (0: nobody has ever changed it).

    `states` has each connector that is not open, and under ALL the switch of all of them.
    """

    version: int = 0
    states: Mapping[str, State] = field(default_factory=dict)

    def own(self, connector: str) -> State:
        """The state that is set for this connector itself, or under ALL for all of them."""
        return self.states.get(connector, "open")

    def state_of(self, connector: str) -> State:
        """The state that holds for this connector: the stricter of its own and that of all."""
        return stricter(self.own(connector), self.own(ALL))


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """The switch lets no POST of an order begin. `state` is what holds for its connector."""

    state: State


def stricter(one: State, other: State) -> State:
    """The stricter of the two."""
    return max(one, other, key=_STRICTNESS.__getitem__)


def milder_for(switch: Switch, connector: str, state: State) -> list[str]:
    """The connectors, ALL among them, whose own switch such a change makes milder; empty where it leads to safety.

    Opening all opens each.
    """
    if connector == ALL and state == "open":
        return sorted(switch.states)
    return [connector] if stricter(state, switch.own(connector)) != state else []


def stops(state: State, *, is_exit: bool) -> bool:
    """Whether the switch lets no POST of such an order begin."""
    return state == "paused" or (state == "close-only" and not is_exit)
