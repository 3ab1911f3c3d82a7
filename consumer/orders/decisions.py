"""The decisions that the rules can take on an intent: values. A decision is matched once, and done elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from signalq.consumer.orders.state import Reason


@dataclass(frozen=True, slots=True)
class Deliver:
    """POST it now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Keep the lane's turn, and ask again at `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The switch says paused: keep the lane's turn, and look at the switch again at `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Park:
    """Put an order that is not due yet onto the ladder, until `due_ms`."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class Forward:
    """Publish a misrouted order into the queue of its connector's lane."""

    queue: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """End an intent in the dead-letter queue; `detail` is one sentence that quotes nothing of the body.

    `under_own_id`: the message claims an identity that belongs to another intent, so it gets one of its own.
    """

    reason: Reason
    detail: str
    under_own_id: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Acknowledge a known intent without a POST. `duplicate`: it is a producer's second publish, no copy of ours."""

    duplicate: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The webhook took it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again in the lane, not before `at_ms`."""

    at_ms: int


Before = Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
After = Done | Retry | DeadLetter
Disposition = Done | Park | Forward | DeadLetter | Drop
