"""The statements that every order needs: compiled once by SQLAlchemy, and run on the driver's own connection.

To build and to run one by SQLAlchemy costs several times what the database does for it. They belong to the transaction
that SQLAlchemy has open on the connection, and their errors are its errors. Each row is a run of its own, in its order,
so it is known of each whether it changed something.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Integer, Select, Update, bindparam, cast, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.exc import DBAPIError, StatementError

Parameters = Mapping[str, Any]

_PLACE = "place_in_batch"
_NUMBER = "transaction_number"
_SQLITE: Dialect = sqlite.dialect(paramstyle="named")
_POSTGRESQL: Dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]


class HotStatement:
    """A statement with named parameters. `columns`: those that it sets. `on_postgresql`: where it differs there."""

    def __init__(
        self,
        statement: Select[Any] | Insert | Update,
        columns: Sequence[str] | None = None,
        *,
        on_postgresql: Select[Any] | Insert | None = None,
    ) -> None:
        self.on_sqlite = str(statement.compile(dialect=_SQLITE, column_keys=columns))
        there = statement if on_postgresql is None else on_postgresql
        if not isinstance(there, Select):
            # One round trip for all rows: those that changed nothing are the ones whose places don't come back.
            there = there.returning(cast(bindparam(_PLACE), Integer))
        compiled = there.compile(dialect=_POSTGRESQL, column_keys=columns)
        self.on_postgresql = str(compiled)
        self.names = tuple(compiled.positiontup or ())


# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
_assigned_number = HotStatement(select(func.txid_current_if_assigned()))


def run(connection: Connection, statement: str) -> None:
    """Run a statement of SQLite's that changes nothing and answers nothing."""
    try:
        connection.connection.cursor().execute(statement)
    except _driver_errors(connection) as error:
        raise _as_sqlalchemys(connection, error) from error


def select_all(connection: Connection, statement: HotStatement, parameters: Parameters) -> Sequence[Any]:
    """Run a SELECT; all that is found. On PostgreSQL it may be the first statement of the transaction."""
    cursor = connection.connection.cursor()
    try:
        if connection.dialect.name == "sqlite":
            cursor.execute(statement.on_sqlite, parameters)
        else:
            cursor.execute(statement.on_postgresql, _in_order(statement, parameters))
        return cursor.fetchall()
    except _driver_errors(connection) as error:
        raise _as_sqlalchemys(connection, error) from error


def change_each(connection: Connection, statement: HotStatement, rows: Sequence[Parameters]) -> list[bool]:
    """Run an INSERT or UPDATE once for each row; whether it changed something."""
    if not rows:
        return []
    change = _change_each_on_sqlite if connection.dialect.name == "sqlite" else _change_each_on_postgresql
    try:
        return change(connection, statement, rows)
    except _driver_errors(connection) as error:
        raise _as_sqlalchemys(connection, error) from error


def _change_each_on_sqlite(connection: Connection, statement: HotStatement, rows: Sequence[Parameters]) -> list[bool]:
    cursor = connection.connection.cursor()
    return [cursor.execute(statement.on_sqlite, row).rowcount > 0 for row in rows]


def _change_each_on_postgresql(
    connection: Connection, statement: HotStatement, rows: Sequence[Parameters]
) -> list[bool]:
    given = [_in_order(statement, {**row, _PLACE: place}) for place, row in enumerate(rows)]
    ours: Any = connection.connection.dbapi_connection
    if not ours.driver_connection.is_in_transaction():
        connection.exec_driver_sql("SELECT 1")  # SQLAlchemy begins a transaction with its own first statement
    found = ours.run_async(lambda driver: driver.fetchmany(statement.on_postgresql, given))
    changed = {place for (place,) in found}
    return [place in changed for place in range(len(rows))]


def note_number(connection: Connection, number: int) -> None:
    """Note the number that PostgreSQL has given to the transaction."""
    connection.info[_NUMBER] = number


def forget_number(connection: Connection) -> None:
    """Forget that of the transaction before."""
    connection.info.pop(_NUMBER, None)


def number_of(connection: Connection) -> int | None:
    """The number of the transaction, as noted or asked for; None for one that has none, as it has written nothing."""
    number: int | None = connection.info.get(_NUMBER)
    if number is None:
        ((number,),) = select_all(connection, _assigned_number, {})
    return number


def _in_order(statement: HotStatement, parameters: Parameters) -> tuple[Any, ...]:
    return tuple(parameters[name] for name in statement.names)


def _as_sqlalchemys(connection: Connection, error: Exception) -> StatementError:
    """SQLAlchemy's error for one of the driver's."""
    wrapped = DBAPIError.instance(None, None, error, Exception, hide_parameters=True)
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql" and driver.is_closed():
        connection.invalidate(wrapped)  # nothing can be rolled back on it, and nobody is to get it again
    return wrapped


def _driver_errors(connection: Connection) -> tuple[type[Exception], ...]:
    """The driver's; on PostgreSQL also those that SQLAlchemy makes of them."""
    dbapi: Any = connection.dialect.loaded_dbapi
    if connection.dialect.name == "sqlite":
        return (dbapi.Error,)
    return dbapi.Error, dbapi.asyncpg.PostgresError, dbapi.asyncpg.InterfaceError
