"""The notes that people leave for the next shift: shown until somebody strikes them out, and kept for ever."""

from dataclasses import dataclass, fields

from sqlalchemy import Connection, bindparam, func, insert, select, update

from signalq.consumer.ledger.row import storable
from signalq.consumer.ledger.tables import shift_notes

NOTE_CHARACTERS_MAX = 500
# So many stand at a time: they are read with each look at the ledger, and by people.
STANDING_MAX = 50


@dataclass(frozen=True, slots=True)
class ShiftNote:
    """A note; `struck_ms` and `struck_by` are None while it stands."""

    number: int
    at_ms: int
    who: str
    note: str
    struck_ms: int | None = None
    struck_by: str | None = None


_columns = tuple(shift_notes.c[one.name] for one in fields(ShiftNote))
_stands = shift_notes.c.struck_ms.is_(None)
_strike = update(shift_notes).where(shift_notes.c.number == bindparam("by_number"), _stands)


def add(connection: Connection, now_ms: int, who: str, note: str) -> int | None:
    """Leave a note; return its number, or None where STANDING_MAX of them stand already."""
    if connection.execute(select(func.count()).select_from(shift_notes).where(_stands)).scalar_one() >= STANDING_MAX:
        return None
    row = {"at_ms": now_ms, "who": storable(who), "note": storable(note)}
    number: int = connection.execute(insert(shift_notes).values(row).returning(shift_notes.c.number)).scalar_one()
    return number


def strike(connection: Connection, now_ms: int, number: int, who: str) -> bool:
    """Strike a note out; False where it does not stand any more, or never did."""
    values = {"struck_ms": now_ms, "struck_by": storable(who)}
    return connection.execute(_strike.values(values), {"by_number": number}).rowcount == 1


def find(connection: Connection, number: int) -> ShiftNote | None:
    """The note of a number, struck out or not."""
    row = connection.execute(select(*_columns).where(shift_notes.c.number == number)).first()
    return None if row is None else ShiftNote(**row._mapping)


def standing(connection: Connection) -> list[ShiftNote]:
    """The notes that stand, the newest first: at most STANDING_MAX."""
    query = select(*_columns).where(_stands).order_by(shift_notes.c.number.desc()).limit(STANDING_MAX)
    return [ShiftNote(**row._mapping) for row in connection.execute(query)]
