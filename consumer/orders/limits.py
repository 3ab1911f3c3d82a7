"""Pre-trade limits, of the connector and of the strategy, each judged by itself: pure.

A size limit holds for opens alone: an exit must always get out. With a size limit in force, an open must carry the
field that takes effect (`fixed` where it is there, else `percent`), and that field must have a maximum. A limit that
an order could pass by giving its size in another way would be none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from signalq.message.intent import OrderIntent
from signalq.settings.named import Limits

Scope = Literal["connector", "strategy"]
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that an intent exceeds: the setting's name, its scope, and a sentence that quotes no value."""

    limit: str
    scope: Scope
    detail: str


@dataclass(frozen=True, slots=True)
class Rate:
    """The number of opens that may be POSTed for the first time within any minute, counted under `key`."""

    key: str
    scope: Scope
    opens_max: int
    enforced: bool

    @property
    def exceeded(self) -> Exceeded:
        """The limit that an open exceeds for which there is no place left."""
        detail = f"the {self.scope}'s orders_per_minute_max is reached"
        return Exceeded("orders_per_minute_max", self.scope, detail)


@dataclass(frozen=True, slots=True)
class RateExceeded:
    """A claim found no place left in this rate."""

    rate: Rate


@dataclass(frozen=True, slots=True)
class Scoped:
    """The limits of the connector `name`, or of the strategy."""

    scope: Scope
    name: str
    limits: Limits

    @property
    def enforced(self) -> bool:
        """Whether an intent over a limit is refused; else it is only reported."""
        return self.limits.limits == "enforce"

    def exceeded(self, intent: OrderIntent, *, is_exit: bool) -> Iterator[Exceeded]:
        """The limits that the intent exceeds, but for the rate."""
        # The actions of a strategy are rights: an action that they don't name is unauthorized (rights.py).
        actions = self.limits.actions if self.scope == "connector" else None
        if actions is not None and intent.kind not in actions:
            yield Exceeded("actions", self.scope, "the connector's actions don't have this one")
        if not is_exit and self.limits.limits_size:
            yield from self._size_exceeded(intent)

    def rate(self) -> Rate | None:
        """The rate of opens; None where it has no limit."""
        opens_max = self.limits.orders_per_minute_max
        if opens_max is None:
            return None
        return Rate(f"{self.scope}:{self.name}", self.scope, opens_max, self.enforced)

    def _size_exceeded(self, intent: OrderIntent) -> Iterator[Exceeded]:
        in_force = "fixed_max" if self.limits.fixed_max is not None else "percent_max"
        if intent.has_extra_fields:
            detail = f"a field beyond the known ones might carry a size, and the {self.scope}'s {in_force} is in force"
            yield Exceeded(in_force, self.scope, detail)
        if intent.fixed is not None:
            yield from self._above("fixed", intent.fixed, self.limits.fixed_max, in_force)
        elif intent.percent is not None:
            yield from self._above("percent", intent.percent, self.limits.percent_max, in_force)
        else:
            detail = f"an open without fixed and percent, and the {self.scope}'s {in_force} is in force"
            yield Exceeded(in_force, self.scope, detail)

    def _above(self, field: str, size: str, size_max: Decimal | None, in_force: str) -> Iterator[Exceeded]:
        if size_max is None:
            detail = f"{field}: has no maximum, and the {self.scope}'s {in_force} is in force"
            yield Exceeded(in_force, self.scope, detail)
        elif Decimal(size) > size_max:
            yield Exceeded(f"{field}_max", self.scope, f"{field}: is above the {self.scope}'s {field}_max")
