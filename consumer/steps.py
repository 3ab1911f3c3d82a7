"""The steps of a message, noted with their times as they go by: once it is acknowledged, its spans are made of them.

Nothing is carried through tasks for that, and nothing is made while an order waits for it. Where traces are off,
nothing is noted either.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.state import NEVER_CONCLUDED, Attempt, IntentState

_NOT_NOTED = nullcontext()


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that has ended: which of its intent's it was, counted from 1, where it went, when its claim was asked
    for, and when it ended. Times are ns since the epoch.
    """

    number: int
    url: str
    attempt: Attempt
    asked_ns: int
    ended_ns: int

    @property
    def began_ns(self) -> int:
        """When the POST began."""
        return self.ended_ns - round(self.attempt.duration_s * 1e9)


class Steps:
    """The steps of a message; this class notes nothing."""

    def has_turn(self) -> None:
        """The turn of its connector has come."""

    def waiting(self) -> AbstractContextManager[None]:
        """The block in which it waits with its turn, for a backoff or a pace."""
        return _NOT_NOTED

    def claims(self) -> None:
        """Its claim is asked for."""

    def claimed(self, order: Order, state: IntentState) -> None:
        """Its claim is saved, as this state, and its POST begins."""

    def tried(self, attempt: Attempt) -> None:
        """The attempt of the claim has ended."""

    def publishes_letter(self) -> None:
        """Its dead letter goes out."""

    def letter_confirmed(self) -> None:
        """The broker has its dead letter."""

    def settled(self, order: Order | Unreadable, status: str, state: IntentState | None = None) -> None:
        """Its end here is recorded; `state` is its intent's, where the message stands for that."""


NO_STEPS = Steps()


class NotedSteps(Steps):
    """The steps of a message, which came just now. Times are ns since the epoch."""

    def __init__(self) -> None:
        self.received_ns = self.turn_ns = time.time_ns()
        self.waited_ns = 0
        self.tries: list[Tried] = []
        self.letter_ns = self.letter_confirmed_ns = 0
        # As it was known last; without a status, where it was not settled here.
        self.order: Order | Unreadable | None = None
        self.state: IntentState | None = None
        self.status: str | None = None
        self.settled_ns = 0
        self._asked_ns = 0
        # The attempt that is on the wire: its number, where it goes, and since when.
        self._posting: tuple[int, str, int] | None = None

    def has_turn(self) -> None:
        """See Steps."""
        self.turn_ns = time.time_ns()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """See Steps."""
        began_ns = time.time_ns()
        try:
            yield
        finally:
            self.waited_ns += time.time_ns() - began_ns

    def claims(self) -> None:
        """See Steps."""
        self._asked_ns = time.time_ns()

    def claimed(self, order: Order, state: IntentState) -> None:
        """See Steps."""
        self.order, self.state = order, state
        self._posting = state.attempts, order.policy.url, time.time_ns()

    def tried(self, attempt: Attempt) -> None:
        """See Steps."""
        if self._posting is not None:
            number, url, _ = self._posting
            self.settled_ns = time.time_ns()
            self.tries.append(Tried(number, url, attempt, self._asked_ns, self.settled_ns))
            self._posting = None

    def ended(self) -> None:
        """Nothing follows: a POST that is on the wire was cut off."""
        if self._posting is not None:
            *_, began_ns = self._posting
            self.status = "sending"
            self.tried(replace(NEVER_CONCLUDED, failure="cut_off", duration_s=(time.time_ns() - began_ns) / 1e9))

    def publishes_letter(self) -> None:
        """See Steps."""
        self.letter_ns = time.time_ns()

    def letter_confirmed(self) -> None:
        """See Steps."""
        self.letter_confirmed_ns = time.time_ns()

    def settled(self, order: Order | Unreadable, status: str, state: IntentState | None = None) -> None:
        """See Steps."""
        self.settled_ns = time.time_ns()
        self.order, self.status, self.state = order, status, state
