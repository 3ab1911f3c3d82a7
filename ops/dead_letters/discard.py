"""`signalq dead discard`: letters thrown away, as settling.py says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replays
from signalq.consumer.orders.state import Reason
from signalq.ops.dead_letters.batches import LOOKS_MAX, Outcome, outcome_of
from signalq.ops.dead_letters.letter import DeadLetter
from signalq.ops.dead_letters.rules import BUSY, Discard, DiscardVerdict, TakeBack, judge_discard
from signalq.ops.ledger import who


class Discarding:
    """Throws dead letters away, and says so in the ledger."""

    def __init__(self, ledger: LedgerClient, *, force: bool, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._ledger = ledger
        self._force = force
        self._by = f"by {who()}, with signalq dead discard"

    async def handle(self, letters: Sequence[DeadLetter]) -> list[Outcome]:
        """See Handler."""

        def decide(connection: Connection) -> list[DiscardVerdict]:
            now_ms = clock_ms(connection)
            return [self._decide(connection, now_ms, letter) for letter in letters]

        return [outcome_of(verdict) for verdict in await self._ledger.transact(decide)]

    def _decide(self, connection: Connection, now_ms: int, letter: DeadLetter) -> DiscardVerdict:
        for _ in range(LOOKS_MAX):
            standing = replays.find(connection, letter.strategy, letter.intent_id or "")
            verdict = judge_discard(letter, standing, force=self._force)
            if self.dry_run or self._is_written(connection, now_ms, letter, verdict):
                return verdict
        return BUSY

    def _is_written(self, connection: Connection, now_ms: int, letter: DeadLetter, verdict: DiscardVerdict) -> bool:
        match verdict:
            case TakeBack(standing):
                return replays.take_back(connection, now_ms, standing, _reason(letter), self._by)
            case Discard(standing) if standing is not None:
                generation = letter.generation if letter.generation is not None else standing.generation
                replays.note_discarded(connection, now_ms, standing, generation, self._by)
        return True


def _reason(letter: DeadLetter) -> Reason:
    """As its letter says: the replay has cleared it in the ledger."""
    reasons: dict[str, Reason] = {reason: reason for reason in get_args(Reason)}
    return reasons.get(letter.reason or "", "undeliverable")
