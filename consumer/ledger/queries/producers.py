"""How the strategies publish, as their latest intents show it: what nobody dated, what nobody gave an identity."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, exists, func, or_, select

from signalq.consumer.ledger.queries.events import EXPIRATION
from signalq.consumer.ledger.tables import events, intents

# So many of the latest intents are looked at, whoever sent them.
LATEST_MAX = 10_000
UNDATED = "first receipt"


@dataclass(frozen=True, slots=True)
class Careless:
    """A strategy, and how many of its latest `intents` came without a message_id, without a creation time, or with an
    AMQP expiration.
    """

    strategy: str
    intents: int
    without_id: int
    without_date: int
    with_expiration: int


def careless(connection: Connection) -> list[Careless]:
    """The strategies of which any of the latest LATEST_MAX intents was so, the most intents first."""
    expires = exists().where(events.c.intent == intents.c.number, events.c.what == EXPIRATION).label("expires")
    columns = intents.c.strategy, intents.c.has_message_id, intents.c.created_from, expires
    latest = select(*columns).order_by(intents.c.number.desc()).limit(LATEST_MAX).subquery()
    without_id = func.sum(case((latest.c.has_message_id, 0), else_=1))
    without_date = func.sum(case((latest.c.created_from == UNDATED, 1), else_=0))
    with_expiration = func.sum(case((latest.c.expires, 1), else_=0))
    counted = (
        select(latest.c.strategy, func.count(), without_id, without_date, with_expiration)
        .group_by(latest.c.strategy)
        .having(or_(without_id > 0, without_date > 0, with_expiration > 0))
        .order_by(func.count().desc(), latest.c.strategy)
    )
    return [Careless(*row) for row in connection.execute(counted)]
