"""What `signalq dead` asks of the tables: the next generation of a dead intent, and what became of its letter.

Inside one transaction, synchronous, alike on SQLite and PostgreSQL, as statements.py. What changes an intent does so by
compare-and-set on the generation, the status and the version that were found: where the consumer was quicker, it says
False, and the caller looks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from signalq.consumer.ledger import statements
from signalq.consumer.ledger.schema import intents, steps
from signalq.consumer.ledger.steps import DEAD, DISCARDED, REPLAYED
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState, Reason
from signalq.message.creation import Creation

# Nobody has a claim or a lease on what is replayed.
NO_OWNER = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an intent stands in the ledger."""

    number: int
    generation: int
    version: int
    status: str
    reason: str | None
    created: Creation
    due_ms: int | None
    ended_ms: int | None
    replayed_ms: int | None

    @property
    def is_untouched(self) -> bool:
        """Whether it was replayed, and no consumer has taken it up yet."""
        return self.replayed_ms is not None and self.status == "received"


def find(connection: Connection, strategy: str, intent_id: str) -> Standing | None:
    """How the intent stands; None where the ledger does not know it, or has forgotten it."""
    row = statements.row_of(connection, strategy, intent_id)
    return _standing(row) if row is not None else None


def begin(connection: Connection, now_ms: int, standing: Standing, by: str) -> bool:
    """Begin the next generation of what is dead."""
    anew = _anew(standing.generation, now_ms) | _without_past_delay(standing, now_ms)
    if not _step(connection, standing, "dead", anew):
        return False
    _note(connection, now_ms, standing.number, standing.generation + 1, REPLAYED, by)
    return True


def renew(connection: Connection, now_ms: int, standing: Standing) -> bool:
    """Go on with a replay that was begun, and that nobody has taken up: its deadline counts from now."""
    again = {"replayed_ms": now_ms, "updated_ms": now_ms} | _without_past_delay(standing, now_ms)
    return _step(connection, standing, "received", again)


def admit(connection: Connection, now_ms: int, order: Order, generation: int, by: str) -> bool:
    """Replay what the ledger does not know, or has forgotten: as if it had been dead at `generation`."""
    state = IntentState(order.intent_id, order.digest, generation)
    if not statements.save(connection, now_ms, order, state, NO_OWNER, 0):
        return False
    standing = find(connection, order.strategy, order.intent_id)
    if standing is None:
        raise RuntimeError("what was written in this transaction is there")
    anew = _anew(generation, now_ms) | _without_past_delay(standing, now_ms)
    if not _step(connection, standing, "received", anew):
        raise RuntimeError("what was written in this transaction is nobody else's yet")
    _note(connection, now_ms, standing.number, generation + 1, REPLAYED, by)
    return True


def take_back(connection: Connection, now_ms: int, standing: Standing, reason: Reason, by: str) -> bool:
    """End a replay that nobody has taken up: dead again, and a message of it that is under way is dropped."""
    detail = "its replay was taken back before anybody took it up"
    dead = {
        "status": "dead",
        "reason": reason,
        "detail": detail,
        "updated_ms": now_ms,
        "ended_ms": now_ms,
    }
    if not _step(connection, standing, "received", dead):
        return False
    _note(connection, now_ms, standing.number, standing.generation, DEAD, f"{reason}: {detail}")
    _note(connection, now_ms, standing.number, standing.generation, DISCARDED, by)
    return True


def note_discarded(connection: Connection, now_ms: int, standing: Standing, generation: int, by: str) -> None:
    """Note that the letter of a generation is thrown away; once, however often it is tried."""
    _note(connection, now_ms, standing.number, generation, DISCARDED, by)


def _anew(generation: int, now_ms: int) -> dict[str, Any]:
    """The columns of the generation after this one, at its beginning."""
    state = IntentState("", b"", generation).replayed(now_ms)
    return {
        "generation": state.generation,
        "status": state.status,
        "reason": state.reason,
        "detail": state.detail,
        "attempts": state.attempts,
        "attempts_counted": state.attempts_counted,
        "first_post_ms": state.first_post_ms,
        "next_attempt_ms": state.next_attempt_ms,
        "in_doubt": state.in_doubt,
        "why": state.why,
        "http_status": state.http_status,
        "wait_ms": state.wait_ms,
        "answer": state.answer,
        "replayed_ms": state.replayed_ms,
        "updated_ms": now_ms,
        "ended_ms": None,
    }


def _without_past_delay(standing: Standing, now_ms: int) -> dict[str, Any]:
    """A delay that is over is not served again: what is replayed is no part of the schedule."""
    is_over = standing.due_ms is not None and standing.due_ms <= now_ms
    return {"due_ms": None} if is_over else {}


def _step(connection: Connection, standing: Standing, status: str, values: dict[str, Any]) -> bool:
    result = connection.execute(
        update(intents)
        .where(
            intents.c.number == standing.number,
            intents.c.generation == standing.generation,
            intents.c.status == status,
            intents.c.version == standing.version,
        )
        .values(version=standing.version + 1, **values)
    )
    return result.rowcount == 1


def _note(connection: Connection, now_ms: int, number: int, generation: int, what: str, by: str) -> None:
    there = select(steps.c.number).where(
        steps.c.intent == number, steps.c.generation == generation, steps.c.what == what
    )
    if connection.execute(there).first() is None:
        values = {"intent": number, "generation": generation, "at_ms": now_ms, "what": what, "detail": by}
        connection.execute(insert(steps).values(values))


def _standing(row: Row[Any]) -> Standing:
    return Standing(
        number=row.number,
        generation=row.generation,
        version=row.version,
        status=row.status,
        reason=row.reason,
        created=Creation(row.age_from_ms, row.delay_from_ms, row.created_from),
        due_ms=row.due_ms,
        ended_ms=row.ended_ms,
        replayed_ms=row.replayed_ms,
    )
