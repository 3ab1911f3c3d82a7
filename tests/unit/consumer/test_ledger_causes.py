"""Why a file of the ledger can't be used, by the errors of SQLite itself; PostgreSQL's are in tests/integration."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from signalq.consumer.ledger import client, database
from signalq.consumer.ledger.causes import cause_of
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.consumer.ledger.migrate import migrate
from signalq.errors import SettingsError
from signalq.kinds import Kind


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


async def made(file: Path) -> None:
    """Make a ledger there."""
    there = database.database_at(url_of(file), create=True)
    await migrate(there)
    await there.close()


async def refused(file: Path) -> SettingsError:
    """The error of a command that opens it."""
    with pytest.raises(SettingsError) as error:
        async with LedgerClient(url_of(file)):
            pass
    assert str(file) in str(error.value)
    return error.value


async def test_a_file_that_is_not_there_is_no_ledger(tmp_path: Path) -> None:
    error = await refused(tmp_path / "none.db")
    assert error.kind is Kind.NO_LEDGER
    assert "start `signalq consume`" in str(error)


async def test_a_file_that_is_something_else_is_no_ledger_and_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are my notes.\n" * 100, "utf-8")
    error = await refused(file)
    assert error.kind is Kind.LEDGER_DAMAGED
    assert "can't be opened (it is no ledger" in str(error)
    assert file.read_text("utf-8").startswith("These are")


async def test_an_empty_database_is_no_ledger_yet(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "empty.db")) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    assert (await refused(tmp_path / "empty.db")).kind is Kind.NO_LEDGER


async def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    await made(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = file.read_bytes()
    file.write_bytes(content[:4_096] + b"\xff" * (len(content) - 4_096))
    assert (await refused(file)).kind is Kind.LEDGER_DAMAGED


async def test_a_file_that_another_process_holds_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TRY_FOR_S", 0.1)
    monkeypatch.setattr(database, "SQLITE_BUSY_TIMEOUT_MS", 10)
    file = tmp_path / "ledger.db"
    await made(file)
    async with LedgerClient(url_of(file)) as ledger:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable) as held:
                await ledger.transact(lambda _connection: None)
            other.execute("ROLLBACK")
    assert held.value.kind is Kind.LEDGER_LOCKED
    assert "another process holds it" in str(held.value)


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """SQLite's own limit on its pages ends a file as a full disk does."""
    with closing(sqlite3.connect(tmp_path / "full.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE mine (x)")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("INSERT INTO mine VALUES (?)", ("x" * 100_000,))
    assert cause_of(full.value).kind is Kind.DISK_FULL
    assert "make room" in str(cause_of(full.value))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize(("mode", "kind"), [(0o400, Kind.READ_ONLY), (0o000, Kind.PERMISSION_DENIED)])
async def test_a_file_that_this_user_may_not_write_or_read_is_told(mode: int, kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    await made(file)
    file.chmod(mode)
    assert (await refused(file)).kind is kind


async def test_a_file_that_is_read_only_is_told(tmp_path: Path) -> None:
    await made(tmp_path / "ledger.db")
    connecting = closing(sqlite3.connect(f"file:{tmp_path}/ledger.db?mode=ro", uri=True))
    with connecting as connection, pytest.raises(sqlite3.OperationalError) as failed:
        connection.execute("CREATE TABLE mine (x)")
    assert cause_of(failed.value).kind is Kind.READ_ONLY
    assert "check the rights" in str(cause_of(failed.value))


def test_a_place_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(SettingsError, match="can't be made: Not a directory") as failed:
        database.database_at(url_of(tmp_path / "file" / "below" / "ledger.db"), create=True)
    assert failed.value.kind is Kind.FILE_MISSING
