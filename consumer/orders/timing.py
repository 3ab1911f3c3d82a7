"""The times of an order, and its age."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from signalq.consumer.orders.delays import KnownSkew
from signalq.message.creation import Creation

NO_SKEW = KnownSkew()


@dataclass(frozen=True, slots=True)
class Timing:
    """When an order was created, when it is due, and when it came in; ms since the epoch."""

    creation: Creation
    due_ms: int | None
    received_ms: int
    # Its message says that it came in before its due time: it has no turn, whatever the ledger says of that time.
    came_early: bool = False
    # When it was replayed, and its delay, if it had one, was over.
    replayed_ms: int | None = None
    # Nobody consumed since then, and the message had waited when we began; None where that is not so.
    unattended_since_ms: int | None = None
    # When the broker took it, by its clock, where it says so.
    stamped_ms: int | None = None
    # The known errors of this machine's clock when the order came.
    skew: KnownSkew = field(default=NO_SKEW, compare=False, repr=False)

    @property
    def is_due(self) -> bool:
        """Whether its delay, if it has one, was over when it came in. Judged once: it decides about its turn too."""
        return not self.came_early and (self.due_ms is None or self.due_ms <= self.received_ms)

    @property
    def age_from_ms(self) -> int:
        """Where its age begins: its creation, its due time if it is delayed, its replay if it was replayed."""
        if self.replayed_ms is not None:
            return self.replayed_ms
        return self.due_ms if self.due_ms is not None else self.creation.age_ms

    @property
    def clock_ahead_ms(self) -> int:
        """How far our clock is known to be ahead of the one that dated it, at most."""
        return self.skew.ahead_of(self.creation.age_ms)

    def known_as(self, created: Creation, delay_ms: int | None, replayed_ms: int | None) -> Timing:
        """The same, from the creation time that the ledger keeps.

        A delay that was over at its replay is not served again, and its age counts from there. One whose message says
        that it came early has no turn yet: it goes round by the ladder first, as any other.
        """
        due_ms = created.delay_ms + delay_ms if delay_ms else None
        if replayed_ms is not None and self.is_due and (due_ms is None or due_ms <= replayed_ms):
            return replace(self, creation=created, due_ms=None, replayed_ms=replayed_ms)
        return replace(self, creation=created, due_ms=due_ms, came_early=not self.is_due)
