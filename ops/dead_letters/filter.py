"""Which dead letters a command is about."""

from __future__ import annotations

from dataclasses import dataclass

from signalq.ops.dead_letters.letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters, all of which a letter has to fit; none at all means every letter.

    `seen` is what somebody was shown and said yes to: then no other.
    """

    ids: frozenset[str] = frozenset()
    reason: str | None = None
    connector: str | None = None
    strategy: str | None = None
    seen: frozenset[bytes] | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is filtered out."""
        return not self.ids and self.reason is None and self.connector is None and self.strategy is None

    def fits(self, letter: DeadLetter) -> bool:
        """Whether it is about this letter."""
        return (
            (not self.ids or letter.intent_id in self.ids)
            and self.reason in {None, letter.reason}
            and self.connector in {None, letter.connector}
            and self.strategy in {None, letter.strategy}
            and (self.seen is None or letter.mark in self.seen)
        )
