"""A filter of dead letters: the ones that a command is about."""

from __future__ import annotations

from dataclasses import dataclass

from signalq.ops.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """The conditions that a letter has to meet, all of them; with none, every letter fits.

    `seen` are the marks of the letters that a person was shown and agreed to discard: then no other letter fits.
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

    def fits(self, letter: Letter) -> bool:
        """Whether the letter meets all conditions."""
        return (
            (not self.ids or letter.intent_id in self.ids)
            and self.reason in {None, letter.reason}
            and self.connector in {None, letter.connector}
            and self.strategy in {None, letter.strategy}
            and (self.seen is None or letter.mark in self.seen)
        )
