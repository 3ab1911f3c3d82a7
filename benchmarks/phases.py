"""The phases of ./run bench in which orders are delivered: a load, and who takes part in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contenders import CONTENDERS, POSTGRESQL, Contender
from benchmarks.figures import Figures
from benchmarks.load import Load, at_once
from benchmarks.site import Site
from benchmarks.track import READ_AHEAD, track

WARM_UP_ORDERS = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """Orders from a publisher to a webhook.

    `rate_per_s` is None where they come as fast as they can. `backlog` is how many are measured of a load that waits
    already.
    """

    name: str
    title: str
    load: Load
    rate_per_s: float | None = None
    backlog: int | None = None

    @property
    def contenders(self) -> Sequence[str]:
        """All, but at a steady rate no PostgreSQL."""
        return [name for name, one in CONTENDERS.items() if not self.rate_per_s or one.ledger != POSTGRESQL]

    async def run(self, name: str, site: Site) -> Figures:
        """One contender, once. Raises Failed where an order was lost, and the like."""
        return await self._delivered(CONTENDERS[name], site)

    async def _delivered(self, contender: Contender, site: Site) -> Figures:
        async with track(contender, site) as on:
            if self.backlog:
                await at_once(on.publisher, self.load)
                async with on.running() as pid:
                    return await on.backlog(pid, self.load, self.backlog)
            async with on.running() as pid:
                await on.warm_up(WARM_UP_ORDERS)
                if self.rate_per_s:
                    return await on.calm(pid, self.load, self.rate_per_s)
                return await on.burst(pid, self.load)


def deliveries(orders: int, seconds: float) -> list[Delivery]:
    """The phases, with so many orders in each that is as fast as can be, and so many seconds of the others."""

    def calm(rate_per_s: int) -> Delivery:
        title = f"{rate_per_s} orders a second for {seconds:g} s, 20 connectors"
        return Delivery(f"calm-{rate_per_s}", title, Load("calm", round(rate_per_s * seconds)), rate_per_s)

    return [
        Delivery("burst", f"{orders:,} orders as fast as they can be published, 20 connectors", Load("burst", orders)),
        Delivery(
            "backlog",
            f"{orders:,} orders out of a longer backlog, 20 connectors",
            Load("backlog", orders + READ_AHEAD),
            backlog=orders,
        ),
        calm(100),
        calm(500),
        Delivery(
            "one", f"50 orders a second for {seconds:g} s, one connector", Load("one", round(50 * seconds), 1), 50
        ),
    ]
