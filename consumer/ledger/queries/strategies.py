"""The strategies of the intents that the ledger knows, by leaps along the index of the identities.

That index begins with the strategy. With the strategies in hand it also answers for an id alone, and no order pays for
an index of the ids.
"""

from sqlalchemy import ColumnElement, func, select

from signalq.consumer.ledger.tables import intents

_lowest = select(func.min(intents.c.strategy))
_known = _lowest.cte("strategies", recursive=True)
_strategy = _known.c[0]
_next_one = select(_lowest.where(intents.c.strategy > _strategy).scalar_subquery()).where(_strategy.is_not(None))
_strategies = select(_known.union_all(_next_one).c[0])


def of_any_strategy() -> ColumnElement[bool]:
    """The condition that every intent meets, beside one on the id: the two are looked up in the index of identities."""
    return intents.c.strategy.in_(_strategies)
