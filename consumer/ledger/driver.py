"""The statements that every order needs: compiled once by SQLAlchemy, and run on the driver's own connection.

To build and to run one by SQLAlchemy costs several times what the database does for it. They belong to the transaction
that SQLAlchemy has open on the connection, and their errors are its errors. Each row is a run of its own, in its order,
so it is known of each whether it changed something.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Integer, Select, Update, bindparam, cast
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.exc import DBAPIError

Parameters = Mapping[str, Any]

_PLACE = "place_in_batch"
_SQLITE: Dialect = sqlite.dialect(paramstyle="named")
_POSTGRESQL: Dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]


class HotStatement:
    """A statement with named parameters. `columns`: those that it sets. `on_postgresql`: where it differs there."""

    def __init__(
        self,
        statement: Select[Any] | Insert | Update,
        columns: Sequence[str] | None = None,
        *,
        on_postgresql: Insert | None = None,
    ) -> None:
        self.on_sqlite = str(statement.compile(dialect=_SQLITE, column_keys=columns))
        there = statement if on_postgresql is None else on_postgresql
        if not isinstance(there, Select):
            # One round trip for all rows: those that changed nothing are the ones whose places don't come back.
            there = there.returning(cast(bindparam(_PLACE), Integer))
        compiled = there.compile(dialect=_POSTGRESQL, column_keys=columns)
        self.on_postgresql = str(compiled)
        self.names = tuple(compiled.positiontup or ())


def change_each(connection: Connection, statement: HotStatement, rows: Sequence[Parameters]) -> list[bool]:
    """Run an INSERT or UPDATE once for each row; whether it changed something."""
    if connection.dialect.name == "sqlite":
        cursor = connection.connection.cursor()
        with _as_errors_of_sqlalchemy(sqlite3.Error):
            return [cursor.execute(statement.on_sqlite, row).rowcount > 0 for row in rows]
    placed = [{**row, _PLACE: place} for place, row in enumerate(rows)]
    changed = {place for (place,) in _fetch_on_postgresql(connection, statement, placed)}
    return [place in changed for place in range(len(rows))]


def select_each(connection: Connection, statement: HotStatement, rows: Sequence[Parameters]) -> list[Any]:
    """Run a SELECT once for each row of parameters; all that is found, in this order."""
    if connection.dialect.name == "sqlite":
        cursor = connection.connection.cursor()
        with _as_errors_of_sqlalchemy(sqlite3.Error):
            return [found for row in rows for found in cursor.execute(statement.on_sqlite, row)]
    return _fetch_on_postgresql(connection, statement, rows)


def _fetch_on_postgresql(connection: Connection, statement: HotStatement, rows: Sequence[Parameters]) -> list[Any]:
    if not rows:
        return []
    given = [tuple(row[name] for name in statement.names) for row in rows]
    ours: Any = connection.connection.dbapi_connection
    if not ours.driver_connection.is_in_transaction():
        connection.exec_driver_sql("SELECT 1")  # SQLAlchemy begins a transaction with its own first statement
    try:
        with _as_errors_of_sqlalchemy(ours.dbapi.asyncpg.PostgresError, ours.dbapi.asyncpg.InterfaceError):
            found: list[Any] = ours.run_async(lambda driver: driver.fetchmany(statement.on_postgresql, given))
    except DBAPIError as error:
        if ours.driver_connection.is_closed():
            connection.invalidate(error)  # nothing can be rolled back on it, and nobody is to get it again
        raise
    return found


@contextmanager
def _as_errors_of_sqlalchemy(*driver_errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except driver_errors as error:
        raise DBAPIError.instance(None, None, error, Exception, hide_parameters=True) from error
