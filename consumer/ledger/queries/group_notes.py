"""The notes that people leave at a group of letters, for the next one who looks: one a group, the latest."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from signalq.consumer.ledger.database import upsert
from signalq.consumer.ledger.queries.letter_groups import Group
from signalq.consumer.ledger.row import storable
from signalq.consumer.ledger.tables import group_notes


@dataclass(frozen=True, slots=True)
class GroupNote:
    """A note, by whom, and when on the ledger's clock."""

    note: str
    who: str
    at_ms: int


def write(connection: Connection, now_ms: int, group: Group, note: str, who: str) -> None:
    """Write the note of a group, in place of the one before; an empty one clears it."""
    if not note:
        connection.execute(delete(group_notes).where(group_notes.c.mark == group.mark))
        return
    names = {"reason": group.reason, "connector": group.connector, "cause": group.cause}
    values = {"note": storable(note), "who": storable(who), "at_ms": now_ms}
    upsert(connection, group_notes, {"mark": group.mark, **names}, values)


def read(connection: Connection, groups: Sequence[Group]) -> dict[bytes, GroupNote]:
    """The notes of these groups, by the group's mark."""
    columns = (group_notes.c[name] for name in GroupNote.__dataclass_fields__)
    query = select(group_notes.c.mark, *columns).where(group_notes.c.mark.in_([one.mark for one in groups]))
    return {bytes(mark): GroupNote(*rest) for mark, *rest in connection.execute(query)}
