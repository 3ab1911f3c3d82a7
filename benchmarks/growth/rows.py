"""A ledger made large: copies of an order that was delivered, each under an identity of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Table

from signalq.consumer.ledger.tables import events, intents

CHUNK_ROWS = 100_000
# The columns of a copy that are not those of the pattern.
OWN = {"intent_id": "lower(hex(randomblob(16)))", "digest": "randomblob(16)"}


def fill(file: Path, rows: int) -> None:
    """Copy the newest delivered order of a ledger until the ledger has so many. No consumer may run on it."""
    with closing(sqlite3.connect(file)) as ledger:
        (pattern,) = ledger.execute("SELECT max(number) FROM intents WHERE status = 'delivered'").fetchone()
        while (missing := rows - _count(ledger)) > 0:
            with ledger:
                _copy(ledger, pattern, min(missing, CHUNK_ROWS))
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _count(ledger: sqlite3.Connection) -> int:
    (rows,) = ledger.execute("SELECT count(*) FROM intents").fetchone()
    return int(rows)


def _copy(ledger: sqlite3.Connection, pattern: int, rows: int) -> None:
    """So many copies of the order and of each of its events."""
    (last,) = ledger.execute("SELECT max(number) FROM intents").fetchone()
    columns = _columns(intents)
    values = ", ".join(OWN.get(column, column) for column in columns)
    copy = f"""
        WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < ?)
        INSERT INTO intents ({", ".join(columns)}) SELECT {values} FROM copies, intents WHERE number = ?
    """  # noqa: S608 - the names of columns
    ledger.execute(copy, (rows, pattern))
    columns = _columns(events)
    values = ", ".join("copy.number" if column == "intent" else f"steps.{column}" for column in columns)
    copy = f"""
        INSERT INTO steps ({", ".join(columns)})
        SELECT {values} FROM intents copy, steps WHERE copy.number > ? AND steps.intent = ?
    """  # noqa: S608 - the names of columns
    ledger.execute(copy, (last, pattern))


def _columns(table: Table) -> list[str]:
    """All but the number, which SQLite gives."""
    return [column.name for column in table.columns if column.name != "number"]
