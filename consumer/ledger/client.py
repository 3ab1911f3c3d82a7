"""A command's way to a ledger that is there: nothing is created or upgraded, and nothing waits for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from signalq.amqp.ledger_mark import LedgerMark
from signalq.consumer.ledger.causes import cause_of, is_hopeless
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.tables import identity, metadata
from signalq.errors import SettingsError, SignalQError
from signalq.kinds import Kind

# A consumer's transactions are short; a disk that is full, or a server that restarts, may take this long.
TRY_FOR_S = 15.0
RETRY_S = 0.2
# The causes that say that there is a ledger, or a server that has it.
IS_THERE = frozenset({
    *(Kind.LEDGER_LOCKED, Kind.LEDGER_DAMAGED, Kind.READ_ONLY, Kind.PERMISSION_DENIED, Kind.DISK_FULL),
    *(Kind.FILE_UNUSABLE, Kind.DATABASE_BUSY, Kind.DATABASE_REFUSED, Kind.WRONG_PASSWORD),
})  # fmt: skip

T = TypeVar("T")


class LedgerUnavailable(SignalQError):
    """The ledger is there, and can't be read or written now."""

    kind = Kind.LEDGER_UNAVAILABLE


class LedgerClient:
    """Transactions on the ledger of a `ledger.url`, each tried for `try_for_s`; use it as an async context manager.

    Entering raises SettingsError that names the place where there is no ledger, or one of another schema.
    """

    def __init__(self, url: str, *, try_for_s: float | None = None) -> None:
        self._try_for_s = TRY_FOR_S if try_for_s is None else try_for_s
        self._database = database_at(url, create=False)
        self.shown = self._database.shown
        self.mark = LedgerMark("", self.shown)

    async def __aenter__(self) -> Self:
        """Enter once; a second time does nothing."""
        if self.mark.ledger_id:
            return self
        try:
            self.mark = await self._database.read(self._mark_of)
        except (SQLAlchemyError, OSError) as error:
            cause = cause_of(error)
            if cause.kind in IS_THERE:
                why = f"the ledger at {self.shown} can't be opened ({cause})"
            else:
                why = f"there is no ledger at {self.shown} ({cause})"
            raise SettingsError(why, kind=cause.kind) from error
        finally:
            if not self.mark.ledger_id:
                await self._database.close()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._database.close()

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, tried again for a while. Raises LedgerUnavailable."""
        return await self._until_done(self._database.transact, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which changes nothing; the consumers go on meanwhile. Raises LedgerUnavailable."""
        return await self._until_done(self._database.read, work)

    async def _until_done(
        self, run: Callable[[Callable[[Connection], T]], Awaitable[T]], work: Callable[[Connection], T]
    ) -> T:
        deadline = time.monotonic() + self._try_for_s
        while True:
            try:
                return await run(work)
            except (SQLAlchemyError, OSError) as error:
                if is_hopeless(error) or time.monotonic() >= deadline:
                    cause = cause_of(error)
                    why = f"the ledger at {self.shown} can't be used ({cause}): try again when it can"
                    raise LedgerUnavailable(why, kind=cause.kind) from error
            await asyncio.sleep(RETRY_S)

    def _mark_of(self, connection: Connection) -> LedgerMark:
        """The ledger's mark, once it is sure that its tables are those of this version."""
        there = inspect(connection)
        known = {table: {column["name"] for column in there.get_columns(table)} for table in there.get_table_names()}
        if identity.name not in known:
            raise SettingsError(
                f"there is no ledger at {self.shown}: start `signalq consume` with it once", kind=Kind.NO_LEDGER
            )
        for table in metadata.sorted_tables:
            if not set(table.columns.keys()) <= known.get(table.name, set()):
                raise SettingsError(
                    f"the ledger at {self.shown} is of an older signalq: start `signalq consume` of this one with it, "
                    "or run `signalq ledger upgrade`",
                    kind=Kind.LEDGER_VERSION,
                )
        ledger_id = connection.execute(select(identity.c.ledger_id)).scalar()
        if ledger_id is None:
            raise SettingsError(
                f"the ledger at {self.shown} is empty: start `signalq consume` with it once", kind=Kind.NO_LEDGER
            )
        return LedgerMark(str(ledger_id), self.shown)
