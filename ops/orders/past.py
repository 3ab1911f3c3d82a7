"""The endings of the past, by the ledger, as the outcomes that were told of them."""

from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import orders
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.consumer.orders.outcomes import of_row
from signalq.message.outcome import Outcome, Status
from signalq.ops.ledger import open_ledger, since_ms
from signalq.settings.sections import Settings

PAST_MAX = 10_000


async def past_outcomes(
    settings: Settings,
    since: datetime | timedelta,
    *,
    connector: str | None = None,
    strategy: str | None = None,
    status: Status | None = None,
) -> tuple[list[Outcome], bool]:
    """See `past_of`; by the ledger of these settings. Raises CommandFailed."""
    async with open_ledger(settings) as ledger:
        return await past_of(ledger, since, connector=connector, strategy=strategy, status=status)


async def past_of(
    ledger: LedgerClient,
    since: datetime | timedelta,
    *,
    connector: str | None = None,
    strategy: str | None = None,
    status: Status | None = None,
) -> tuple[list[Outcome], bool]:
    """The endings since then, the latest PAST_MAX, in their order; and whether these are all of them.

    The ledger has no record of duplicates and of unreadable messages. Raises LedgerUnavailable.
    """
    if status == "duplicate":
        return [], True

    def look(connection: Connection) -> list[Recorded]:
        fits = Filter(connector=connector, strategy=strategy, status=status)
        return orders.ended_since(connection, fits, since_ms(connection, since), PAST_MAX + 1)

    found = await ledger.read(look)
    return [of_row(one, cast("Status", one.status)) for one in found[-PAST_MAX:]], len(found) <= PAST_MAX
