"""How many opens were POSTed for the first time within the last minute, for each rate that counts them.

Inside the transaction of the claim: of two consumers that want the last place, one has it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from signalq.consumer.ledger.tables import identity, posted_opens
from signalq.consumer.orders.limits import MINUTE_MS, Rate

_count = select(func.count()).where(posted_opens.c.scope == bindparam("scope"))


def lock(connection: Connection) -> None:
    """Let nobody else count until this transaction ends.

    First of all in a transaction, before its clock is read: then none that waited here writes a time that lies before
    one that was written already, and none waits here while others wait for it.
    """
    connection.execute(select(identity.c.ledger_id).with_for_update())


def over(connection: Connection, now_ms: int, rates: Sequence[Rate]) -> list[Rate]:
    """The rates in which no place is left."""
    if not rates:
        return []
    forget(connection, now_ms, [rate.key for rate in rates])
    # An open that lies ahead was POSTed before the clock was set back: it counts for a minute from now, and no longer.
    connection.execute(update(posted_opens).where(posted_opens.c.at_ms > now_ms).values(at_ms=now_ms))
    return [rate for rate in rates if connection.execute(_count, {"scope": rate.key}).scalar_one() >= rate.opens_max]


def take(connection: Connection, now_ms: int, rates: Sequence[Rate]) -> None:
    """Take a place in each of them."""
    if rates:
        connection.execute(insert(posted_opens), [{"scope": rate.key, "at_ms": now_ms} for rate in rates])


def forget(connection: Connection, now_ms: int, keys: Sequence[str] | None = None) -> None:
    """Forget the opens of a minute ago or longer: of these rates, or of all."""
    old = delete(posted_opens).where(posted_opens.c.at_ms <= now_ms - MINUTE_MS)
    connection.execute(old if keys is None else old.where(posted_opens.c.scope.in_(keys)))
