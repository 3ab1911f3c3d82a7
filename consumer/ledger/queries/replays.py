"""The statements of `signalq dead`: the next generation of a dead intent, and the end of its letter.

A change is a compare-and-set on the generation, the status and the version that were found: where the consumer was
quicker, it says False, and the caller looks again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, select, update

from signalq.consumer.ledger.queries.events import DEAD, DISCARDED, REPLAYED
from signalq.consumer.ledger.queries.intents import row_of, save
from signalq.consumer.ledger.row import creation_of, to_columns
from signalq.consumer.ledger.tables import events, intents, letters
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState, Reason
from signalq.message.creation import Creation


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


_OWN_COLUMNS = tuple(name for name in Standing.__dataclass_fields__ if name != "created")
_CREATION_COLUMNS = ("age_from_ms", "delay_from_ms", "created_from")
_of_letters = (
    select(letters.c.mark, *(intents.c[name] for name in (*_OWN_COLUMNS, *_CREATION_COLUMNS)))
    .join(intents, and_(intents.c.strategy == letters.c.strategy, intents.c.intent_id == letters.c.intent_id))
    .where(letters.c.mark.in_(bindparam("marks", expanding=True)))
)


def find(connection: Connection, strategy: str, intent_id: str) -> Standing | None:
    """How the intent stands; None where the ledger does not know it, or has forgotten it."""
    row = row_of(connection, strategy, intent_id)
    return None if row is None else _standing(row)


def of_letters(connection: Connection, marks: Sequence[bytes]) -> dict[bytes, Standing]:
    """How the intents of letters stand, by the letter's mark; without those that the ledger does not know."""
    found = connection.execute(_of_letters, {"marks": list(marks)}) if marks else ()
    return {bytes(row.mark): _standing(row) for row in found}


def _standing(row: Row[Any]) -> Standing:
    return Standing(created=creation_of(row), **{name: getattr(row, name) for name in _OWN_COLUMNS})


def begin(connection: Connection, now_ms: int, standing: Standing, by: str) -> bool:
    """Begin the next generation of what is dead."""
    if not _step(connection, standing, "dead", _anew(standing, standing.generation, now_ms)):
        return False
    _note(connection, now_ms, standing.number, standing.generation + 1, REPLAYED, by)
    return True


def renew(connection: Connection, now_ms: int, standing: Standing) -> bool:
    """Go on with a replay that was begun, and that nobody has taken up: its deadline counts from now."""
    again = {"replayed_ms": now_ms, "updated_ms": now_ms} | _without_past_delay(standing, now_ms)
    return _step(connection, standing, "received", again)


def admit(connection: Connection, now_ms: int, order: Order, generation: int, by: str) -> bool:
    """Replay what the ledger does not know, or has forgotten: as if it had been dead at `generation`."""
    state = IntentState(order.intent_id, order.identity.digest, generation)
    if not save(connection, now_ms, order, state):
        return False
    standing = find(connection, order.strategy, order.intent_id)
    if standing is None:
        raise RuntimeError("what was written in this transaction is there")
    if not _step(connection, standing, "received", _anew(standing, generation, now_ms)):
        raise RuntimeError("what was written in this transaction is nobody else's yet")
    _note(connection, now_ms, standing.number, generation + 1, REPLAYED, by)
    return True


def take_back(connection: Connection, now_ms: int, standing: Standing, reason: Reason, by: str) -> bool:
    """End a replay that nobody has taken up: dead again, and a message of it that is under way is dropped."""
    detail = "its replay was taken back before anybody took it up"
    dead = {"status": "dead", "reason": reason, "detail": detail, "updated_ms": now_ms, "ended_ms": now_ms}
    if not _step(connection, standing, "received", dead):
        return False
    _note(connection, now_ms, standing.number, standing.generation, DEAD, f"{reason}: {detail}")
    _note(connection, now_ms, standing.number, standing.generation, DISCARDED, by)
    return True


def note_discarded(connection: Connection, now_ms: int, standing: Standing, generation: int, by: str) -> None:
    """Note that the letter of a generation is thrown away; once, however often it is tried."""
    _note(connection, now_ms, standing.number, generation, DISCARDED, by)


def _anew(standing: Standing, generation: int, now_ms: int) -> dict[str, Any]:
    """The columns of the generation after this one, at its beginning."""
    dead = IntentState("", b"", generation, status="dead", version=standing.version)
    anew = to_columns(dead.replayed(now_ms), now_ms)
    return anew | {"replayed_ms": now_ms} | _without_past_delay(standing, now_ms)


def _without_past_delay(standing: Standing, now_ms: int) -> dict[str, Any]:
    """A delay that is over is not served again: what is replayed is no part of the schedule."""
    is_over = standing.due_ms is not None and standing.due_ms <= now_ms
    return {"due_ms": None} if is_over else {}


def _step(connection: Connection, standing: Standing, status: str, values: dict[str, Any]) -> bool:
    step = update(intents).where(
        intents.c.number == standing.number,
        intents.c.generation == standing.generation,
        intents.c.status == status,
        intents.c.version == standing.version,
    )
    return connection.execute(step.values({"version": standing.version + 1} | values)).rowcount == 1


def _note(connection: Connection, now_ms: int, number: int, generation: int, what: str, by: str) -> None:
    there = select(events.c.number).where(
        events.c.intent == number, events.c.generation == generation, events.c.what == what
    )
    if connection.execute(there).first() is None:
        values = {"intent": number, "generation": generation, "at_ms": now_ms, "what": what, "detail": by}
        connection.execute(insert(events).values(values))
