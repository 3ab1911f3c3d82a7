"""The switch in the ledger: read with every claim and every sign of life, changed by a person.

A change is numbered and kept for ever, with who made it and why; the highest number is the switch's version. The states
of a version need not be read again while that version holds.
"""

from sqlalchemy import Connection, delete, func, insert, select, text

from signalq.consumer.ledger.database import upsert
from signalq.consumer.ledger.tables import switch_changes, switches
from signalq.consumer.orders.switch import ALL, Change, State, Switch

_version = select(func.coalesce(func.max(switch_changes.c.number), 0))
_states = select(switches.c.connector, switches.c.state)
# Of two changes at once the later number could be committed first, and a reader of that one would take it for the last.
# Readers need not wait. SQLite has one writer at a time anyway.
_ONE_AT_A_TIME = text("LOCK TABLE switch_changes IN SHARE ROW EXCLUSIVE MODE")


def read(connection: Connection, known: Switch) -> Switch:
    """How the switch stands now; `known` is how it stood when it was read before, and returned where nothing changed.

    The version is read first: states that are newer than it are read again next time, older ones would not be.
    """
    return read_of(connection, connection.execute(_version).scalar_one(), known)


def read_of(connection: Connection, version: int, known: Switch) -> Switch:
    """The same, once its version was read."""
    if version == known.version:
        return known
    return Switch(version, {row.connector: row.state for row in connection.execute(_states)})


def hold(connection: Connection) -> None:
    """Let nobody else change the switch until this transaction ends; on SQLite, no other one writes at all."""
    if connection.dialect.name == "postgresql":
        connection.execute(_ONE_AT_A_TIME)


def change(connection: Connection, now_ms: int, connector: str, state: State, *, who: str, why: str) -> Change:
    """Set the switch of one connector, or of all under ALL; opening all of them opens each."""
    hold(connection)
    if state != "open":
        upsert(connection, switches, {"connector": connector}, {"state": state})
    elif connector == ALL:
        connection.execute(delete(switches))
    else:
        connection.execute(delete(switches).where(switches.c.connector == connector))
    noted = {"connector": connector, "state": state, "at_ms": now_ms, "who": who, "why": why}
    number = connection.execute(insert(switch_changes).values(noted).returning(switch_changes.c.number)).scalar_one()
    return Change(number, connector, state, now_ms, who, why)


def changes_between(connection: Connection, before: int, version: int, changes_max: int) -> list[Change]:
    """The latest changes after the version `before` up to `version`, the oldest of them first.

    Not beyond: on PostgreSQL there may be more by now than when the version was read, and those are told next time.
    """
    query = select(switch_changes).where(switch_changes.c.number > before, switch_changes.c.number <= version)
    rows = connection.execute(query.order_by(switch_changes.c.number.desc()).limit(changes_max))
    return [Change(**row._mapping) for row in rows][::-1]


def history(connection: Connection, connector: str, changes_max: int) -> list[Change]:
    """The latest changes that concern a connector, the newest first: its own, and those of all."""
    query = select(switch_changes).where(switch_changes.c.connector.in_({connector, ALL}))
    rows = connection.execute(query.order_by(switch_changes.c.number.desc()).limit(changes_max))
    return [Change(**row._mapping) for row in rows]


def change_of(connection: Connection, number: int) -> Change | None:
    """The change of that number; None where there is none."""
    row = connection.execute(select(switch_changes).where(switch_changes.c.number == number)).first()
    return None if row is None else Change(**row._mapping)


def latest(connection: Connection) -> dict[str, Change]:
    """The latest change of each connector's switch, by the connector; that of all under ALL."""
    last = select(func.max(switch_changes.c.number)).group_by(switch_changes.c.connector)
    rows = connection.execute(select(switch_changes).where(switch_changes.c.number.in_(last)))
    return {row.connector: Change(**row._mapping) for row in rows}
