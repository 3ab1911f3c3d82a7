"""`signalq ledger upgrade`, and what consumers of the version before do meanwhile; on SQLite and PostgreSQL."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

import signalq.consumer.ledger
from signalq.consumer.ledger.database import database_at
from signalq.consumer.orders.state import Attempt
from signalq.errors import SettingsError
from signalq.ops.ledger import upgrade_ledger
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.connections import LedgerSettings
from signalq.settings.sections import Settings
from tests.support.commands import run
from tests.support.orders import new_id, order, unknown
from tests.support.stores import Store, file_of

MIGRATIONS = Path(signalq.consumer.ledger.__file__).parent / "migrations"
LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="200", status=200)
# What a migration may do: whatever a consumer of the version before need not know of.
ADDS = {"create_table", "create_index", "add_column"}


def settings_for(store: Store) -> Settings:
    return Settings(ledger=LedgerSettings.model_validate({"url": store.url}))


async def make_old(store: Store) -> None:
    """A ledger as the second schema has it, with an identity."""

    def make(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text("INSERT INTO ledger (ledger_id, created_ms) VALUES ('the-old-one', 1)"))

    database = database_at(store.url, create=True)
    await database.transact(make)
    await database.close()


async def test_an_old_ledger_is_upgraded_keeps_its_identity_and_a_second_time_nothing_is_done(store: Store) -> None:
    await make_old(store)
    shown, upgraded = await upgrade_ledger(settings_for(store))
    assert upgraded is not None
    assert (upgraded.from_schema, upgraded.to_schema) == ("0002", "0006")
    assert shown == make_url(store.url).render_as_string(hide_password=True)
    _, again = await upgrade_ledger(settings_for(store))
    assert again is not None
    assert (again.from_schema, again.to_schema) == ("0006", "0006")
    assert (await store.ledger()).ledger_id == "the-old-one"


async def test_where_there_is_no_ledger_none_is_made(store: Store) -> None:
    assert (await upgrade_ledger(settings_for(store)))[1] is None
    if store.url.startswith("sqlite"):
        assert not file_of(store.url).exists()
    else:
        assert await store.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


async def test_a_ledger_of_a_newer_version_is_not_upgraded(store: Store) -> None:
    await store.close(await store.ledger())
    await store.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CommandFailed, match="schema 9999, which a newer signalq made"):
        await upgrade_ledger(settings_for(store))
    assert await store.rows("SELECT version_num FROM alembic_version") == [("9999",)]


async def test_a_consumer_works_on_while_a_newer_version_has_upgraded_its_ledger_and_cant_be_started_again(
    store: Store,
) -> None:
    running = await store.ledger()
    epoch = await running.open_lane(LANE)
    met = order(message_id=new_id())
    claimed = await running.claim(met, unknown(met).claimed(1_000), epoch)
    # What a later version may do, see below: all of it is new, and nothing has to be filled in.
    await store.run("ALTER TABLE intents ADD COLUMN of_a_later_version BIGINT")
    await store.run("CREATE TABLE of_a_later_version (number BIGINT PRIMARY KEY)")
    await store.run("CREATE INDEX ix_of_a_later_version ON intents (of_a_later_version)")
    await store.run("UPDATE alembic_version SET version_num = '9999'")
    await running.record(met, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    other = order(message_id=new_id())
    known = await running.claim(other, unknown(other).claimed(2_000), epoch)
    assert (await running.recall(other, epoch)).state == known.state
    assert (await running.recall(met, epoch)).state.status == "delivered"
    with pytest.raises(SettingsError, match="a newer signalq made"):
        await store.ledger()


def test_a_migration_only_adds() -> None:
    """So consumers of the version before can work on while others are replaced: docs/operate/ledger.md, Upgrading."""
    for file in sorted((MIGRATIONS / "versions").glob("v*.py")):
        for call in (
            node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ):
            if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "op":
                assert call.func.attr in ADDS, f"{file.name} does more than add: {call.func.attr}"
                if call.func.attr == "add_column":
                    column = ast.unparse(call.args[1])
                    assert "nullable=False" not in column or "server_default" in column, f"{file.name}: {column}"


async def test_the_command_says_what_it_did_and_what_it_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/signalq.db", None)  # type: ignore[arg-type]
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", store.url)
    nothing = await run("ledger", "upgrade")
    assert (nothing.status, nothing.out) == (1, "")
    assert f"there is no ledger at {store.url}" in " ".join(nothing.err.split())
    nothing = await run("ledger", "upgrade", "--if-there")
    assert (nothing.status, nothing.err) == (0, "")
    assert "there is no ledger at" in " ".join(nothing.out.split())
    await make_old(store)
    done = await run("ledger", "upgrade", "--json")
    assert (done.status, done.err) == (0, "")
    assert done.rows == [{"ledger": store.url, "from_schema": "0002", "to_schema": "0006"}]
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", "postgresql+asyncpg://signalq:secret@127.0.0.1:1/signalq")
    away = await run("ledger", "upgrade")
    assert (away.status, away.out) == (1, "")
    assert "can't be opened" in away.err
    assert "secret" not in away.err
