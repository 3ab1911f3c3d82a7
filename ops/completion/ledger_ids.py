"""Ids of the ledger for completion: the newest ones, read by the driver itself, from a file without writing to it."""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from signalq.ops.completion.place import Candidate
from signalq.ops.terminal.escaping import escaped_whole
from signalq.ops.terminal.moments import ago
from signalq.settings.ledger_url import SQLITE_SCHEME, PostgresServer, SqliteFile, check_ledger_url, read_ledger_url
from signalq.settings.private_files import state_folder
from signalq.settings.secrets import read_secrets, twins_of

# So many rows are looked at, and so many are read: a Tab takes no longer with a larger ledger.
LOOKED_AT_MAX, READ_MAX = 10_000, 1_000
BUSY_TIMEOUT_S = 0.2
TRUE = ("1", "true", "t", "yes", "y", "on")

_DEAD = f"""
SELECT intent_id, action, connector, reason, ended_ms FROM (
    SELECT number, generation, intent_id, action, connector, status, reason, ended_ms FROM intents
    WHERE ended_ms IS NOT NULL ORDER BY ended_ms DESC LIMIT {LOOKED_AT_MAX}
) AS latest
WHERE status = 'dead' AND NOT EXISTS (
    SELECT 1 FROM steps
    WHERE steps.intent = latest.number AND steps.generation = latest.generation AND steps.what = 'discarded'
)
ORDER BY ended_ms DESC LIMIT {READ_MAX}
"""  # noqa: S608 - our own numbers
_SCHEDULED = f"""
SELECT intent_id, action, connector, 'due', due_ms FROM intents
WHERE due_ms IS NOT NULL AND status IN ('received', 'scheduled') ORDER BY due_ms LIMIT {READ_MAX}
"""  # noqa: S608 - our own numbers
_ORDERS = f"""
SELECT intent_id, action, connector, CASE status WHEN 'dying' THEN 'retrying' ELSE status END, updated_ms
FROM intents ORDER BY number DESC LIMIT {READ_MAX}
"""  # noqa: S608 - our own numbers

# By the first word of the command: the ids that it can do something with. The columns of each: the id, the action, the
# connector, a word on the state, and its time in ms.
QUERIES: Mapping[str, str] = {"dead": _DEAD, "scheduled": _SCHEDULED, "orders": _ORDERS}


def ids(command: str, ledger: Mapping[str, Any]) -> Iterator[Candidate]:
    """The ids that a command takes, in the order of its listing; `ledger` is that table of the settings.

    Raises an error of whatever kind if the ledger can't be read, or if there is none.
    """
    read = read_ledger_url(_checked_url(ledger))
    rows = _of_file(read, QUERIES[command]) if isinstance(read, SqliteFile) else _of_server(read, QUERIES[command])
    for intent_id, action, connector, state, at_ms in rows:
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
        yield intent_id, escaped_whole(f"{action} {connector}, {state} {ago(at)}")


def _checked_url(table: Mapping[str, Any]) -> str:
    """ledger.url as the commands take it. Raises ValueError, also for a way that would show the password."""
    forms = ("url", *twins_of("url"))
    url = read_secrets({form: table[form] for form in forms if form in table}, ["url"]).get("url")
    if url is None:
        return f"{SQLITE_SCHEME}:///{state_folder()}/signalq.db"
    check_ledger_url(url, allow_plain=str(table.get("allow_plain", "")).casefold() in TRUE)
    return str(url)


def _of_file(where: SqliteFile, query: str) -> list[Any]:
    # Beside an idle file SQLite would make the files of its log, if it were not told that the file stands still.
    log = [where.file.with_name(where.file.name + ending) for ending in ("-wal", "-shm")]
    stands_still = "" if all(one.exists() for one in log) else "&immutable=1"
    uri = f"file:{quote(str(where.file))}?mode=ro{stands_still}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _of_server(where: PostgresServer, query: str) -> list[Any]:
    return asyncio.run(_asked(where, query))


async def _asked(where: PostgresServer, query: str) -> list[Any]:
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415

    connection = await asyncpg.connect(**where.connect_arguments())
    try:
        rows: list[Any] = await connection.fetch(query)
    finally:
        await connection.close()
    return rows
