"""`signalq dead discard`: the action that throws letters away; batches.py says in which steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replays
from signalq.consumer.orders.state import Reason
from signalq.ops.dead_letters.batches import LOOKS_MAX, LetterResult, result_of
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.rules import BUSY, Discard, DiscardVerdict, TakeBack, judge_discard
from signalq.ops.ledger import who


class DiscardAction:
    """Throws dead letters away, and notes it in the ledger."""

    def __init__(self, ledger: LedgerClient, *, force: bool, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._ledger = ledger
        self._force = force
        self._by = f"by {who()}, with signalq dead discard"

    async def apply(self, letters: Sequence[Letter]) -> list[LetterResult]:
        """See LetterAction."""

        def decide(connection: Connection) -> list[DiscardVerdict]:
            now_ms = clock_ms(connection)
            return [self._decide(connection, now_ms, letter) for letter in letters]

        return [result_of(verdict) for verdict in await self._ledger.transact(decide)]

    def _decide(self, connection: Connection, now_ms: int, letter: Letter) -> DiscardVerdict:
        for _ in range(LOOKS_MAX):
            standing = replays.find(connection, letter.strategy, letter.intent_id or "")
            verdict = judge_discard(letter, standing, force=self._force)
            if self.dry_run or self._is_written(connection, now_ms, letter, verdict):
                return verdict
        return BUSY

    def _is_written(self, connection: Connection, now_ms: int, letter: Letter, verdict: DiscardVerdict) -> bool:
        match verdict:
            case TakeBack(standing):
                return replays.take_back(connection, now_ms, standing, _reason(letter), self._by)
            case Discard(standing) if standing is not None:
                generation = letter.generation if letter.generation is not None else standing.generation
                replays.note_discarded(connection, now_ms, standing, generation, self._by)
        return True


def _reason(letter: Letter) -> Reason:
    """The reason that the letter states: the replay has cleared it in the ledger."""
    reasons: dict[str, Reason] = {reason: reason for reason in get_args(Reason)}
    return reasons.get(letter.reason or "", "undeliverable")
