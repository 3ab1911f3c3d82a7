"""The search for orders, for people: it answers in a bounded time, and says how far it looked.

An id, a client's id and a status of few intents are looked up in an index. All else is looked for from the newest order
on, among LOOKED_AT_MAX numbers at a time: an empty page that has looked at a part only must not say that there is
nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, select

from signalq.consumer.ledger.queries import orders
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.consumer.ledger.queries.schedule import last_number
from signalq.consumer.ledger.tables import intents

LOOKED_AT_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Looked:
    """The orders that one look has found, the newest first.

    `older`: the next look is for numbers below this one; None where there is nothing more. `back_to_ms`: the look ended
    at its limit before it had found enough, and the newest order beyond was received then.
    """

    found: list[Recorded]
    older: int | None = None
    back_to_ms: int | None = None


def look(connection: Connection, wanted: Filter, rows_max: int) -> Looked:
    """Look for the newest `rows_max` orders that fit."""
    narrowed = orders.in_range(connection, wanted.begins)
    is_looked_up = bool(wanted.intent_ids or wanted.numbers or narrowed or wanted.finds_few)
    limit = None if is_looked_up else _limit(connection, wanted)
    found = orders.page(connection, wanted, rows_max + 1, *narrowed, above=limit and limit.number)
    if len(found) > rows_max:
        return Looked(found[:rows_max], found[rows_max - 1].number)
    if limit is None:
        return Looked(found)
    return Looked(found, limit.number + 1, limit.received_ms)


class _Limit(NamedTuple):
    """The newest order beyond those that one look is to look at."""

    number: int
    received_ms: int


def _limit(connection: Connection, wanted: Filter) -> _Limit | None:
    number = intents.c.number
    query = select(number, intents.c.received_ms).order_by(number.desc()).limit(1)
    if wanted.client_order_id is not None:
        # Along the index of the clients' ids, of which one may be given again and again.
        query = query.where(intents.c.client_order_id == wanted.client_order_id).offset(LOOKED_AT_MAX)
        query = query if wanted.before is None else query.where(number < wanted.before)
    else:
        before = wanted.before if wanted.before is not None else 1 + last_number(connection)
        query = query.where(number < before - LOOKED_AT_MAX)
    row = connection.execute(query).first()
    return None if row is None else _Limit(*row)
