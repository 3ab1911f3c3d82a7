"""Create or upgrade the tables, under a lock, before anything is read."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from signalq.consumer.ledger.causes import cause_of, is_deadlock, is_lost
from signalq.consumer.ledger.database import Database, machine_ms
from signalq.consumer.ledger.tables import identity
from signalq.errors import SettingsError
from signalq.kinds import Kind

# Any number will do, as long as all consumers on one PostgreSQL use the same.
ADVISORY_LOCK = 7_305_531
TRIES_MAX = 5
AGAIN_S = 0.2

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Upgrade:
    """From which schema to which; the same where there was nothing to do, None where there was no ledger."""

    from_schema: str | None
    to_schema: str


async def migrate(database: Database) -> str:
    """Bring the ledger to this version's schema, made where there is none; return its id. Raises SettingsError.

    One transaction: on SQLite it holds the write lock, on PostgreSQL an advisory lock, so two consumers that start
    together do it one after the other. A connection that was there and is lost in the middle is no mistake in the
    settings, nor is a deadlock, which PostgreSQL ends: then all of it is tried again, up to TRIES_MAX times.
    """
    return await _transact(database, _migrate)


async def upgrade(database: Database) -> Upgrade | None:
    """The same for a ledger that is there; None where there is none yet: none is made. Raises SettingsError."""
    return await _transact(database, _upgrade_existing)


def schema_of(connection: Connection) -> str | None:
    """The schema of a ledger; None where there is none."""
    return MigrationContext.configure(connection).get_current_revision()


@cache
def newest_schema() -> str:
    """The schema of this version."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def _transact(database: Database, work: Callable[[Connection], T]) -> T:
    tries = 0
    while True:
        tries += 1
        try:
            return await database.transact(work)
        except (SQLAlchemyError, OSError) as error:
            if (is_lost(error) or is_deadlock(error)) and tries < TRIES_MAX:
                await asyncio.sleep(AGAIN_S)
                continue
            cause = cause_of(error)
            why = f"the ledger at {database.shown} can't be opened ({cause})"
            raise SettingsError(why, kind=cause.kind) from error


def _migrate(connection: Connection) -> str:
    done = _bring_up(connection)
    if done.from_schema != done.to_schema:
        log.info("ledger.upgraded", from_schema=done.from_schema, to_schema=done.to_schema)
    known = connection.execute(select(identity.c.ledger_id)).scalar()
    if known is not None:
        return str(known)
    ledger_id = str(uuid.uuid4())
    connection.execute(insert(identity).values(ledger_id=ledger_id, created_ms=machine_ms()))
    return ledger_id


def _upgrade_existing(connection: Connection) -> Upgrade | None:
    return _bring_up(connection) if schema_of(connection) is not None else None


def _bring_up(connection: Connection) -> Upgrade:
    """Upgrade under the lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": ADVISORY_LOCK})
    config = _config()
    config.attributes["connection"] = connection
    found = schema_of(connection)
    script = ScriptDirectory.from_config(config)
    if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
        raise SettingsError(
            f"the ledger has schema {found}, which a newer signalq made: use that version or newer",
            kind=Kind.LEDGER_VERSION,
        )
    head = newest_schema()
    if found != head:
        command.upgrade(config, "head")
    return Upgrade(found, head)


def _config() -> Config:
    """The migrations, as alembic is told of them."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
