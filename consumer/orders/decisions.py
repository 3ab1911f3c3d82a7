"""Decisions on an intent, as values: rules.py takes them, pipeline.py and settling.py follow them.

before a POST   -> Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
after a POST    -> Done | Retry | DeadLetter
"""

from dataclasses import dataclass

from signalq.consumer.orders.limits import RateExceeded
from signalq.consumer.orders.state import Reason
from signalq.consumer.orders.switch import SwitchedOff


@dataclass(frozen=True, slots=True)
class Deliver:
    """POST it now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Keep the lane's turn and ask again at `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Paused: keep the lane's turn, and look at the switch again at `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Park:
    """Not due yet: onto the ladder until `due_ms`."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass the message on to the queue of its connector's lane: it lies in another one."""

    queue: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The intent ends in the dead-letter queue; `detail` is one sentence that quotes nothing of the body.

    `under_own_id`: the message claims an identity that belongs to another intent, so it gets one of its own.
    """

    reason: Reason
    detail: str
    under_own_id: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Known already: acknowledged, not POSTed. `duplicate`: a producer's second publish, not our own copy."""

    duplicate: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The webhook took it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Tried again in its lane, not before `at_ms`."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits of an order besides its turn.

    `backoff_ms`: its lane's backoff, or its own next attempt. `pace_ms`: its connector's pace. `superseded_by`: the
    kind of an exit behind it that ends its waiting for a backoff, and no other waiting.
    """

    backoff_ms: int = 0
    pace_ms: int = 0
    superseded_by: str | None = None


NO_WAITS = Waits()
# Why its last claim was not saved.
Refusal = SwitchedOff | RateExceeded
Before = Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
After = Done | Retry | DeadLetter
Disposition = Done | Park | Forward | DeadLetter | Drop
