"""The orders of a phase: how they are made and published, and the account that is taken of them afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from benchmarks.contender import Failed
from signalq import OrderIntent, OrderPublisher

CONNECTORS = 20


@dataclass(frozen=True, slots=True)
class Load:
    """So many orders, dealt out to the connectors in turn. Each is known by its `log`, which begins with the label."""

    label: str
    orders: int
    connectors: int = CONNECTORS
    delay_s: float = 0.0

    def log(self, number: int) -> str:
        """What the order's `log` says."""
        return f"{self.label} {number}"

    def fields(self, number: int) -> dict[str, str]:
        """The body of an order."""
        return {
            "connectorName": f"connector-{number % self.connectors}",
            "connectorToken": "0-pretended-0",
            "action": "openLong",
            "percent": "50",
            "log": self.log(number),
        }

    def intents(self) -> Iterator[OrderIntent]:
        """All of them, for the SDK."""
        delay_s = Decimal(str(self.delay_s)) if self.delay_s else None
        for number in range(self.orders):
            yield OrderIntent(**self.fields(number), delaySeconds=delay_s)

    def account(self, logs: Sequence[str]) -> Account:
        """What became of the orders, by the logs of those that came, in the order in which they came.

        The logs of other loads are passed over.
        """
        prefix = f"{self.label} "
        came = [int(log.removeprefix(prefix)) for log in logs if log.startswith(prefix)]
        times = Counter(came)
        newest: dict[int, int] = defaultdict(int)
        out_of_order = 0
        for number in came:
            connector = number % self.connectors
            out_of_order += number < newest[connector]
            newest[connector] = max(number, newest[connector])
        return Account(self.orders, self.orders - len(times), len(came) - len(times), out_of_order)


@dataclass(frozen=True, slots=True)
class Account:
    """Of so many orders: how many never came, how many times one came again, and how many came behind a later one of
    their connector.
    """

    orders: int
    lost: int
    repeated: int
    out_of_order: int

    def must_hold(self, who: str, *, keeps_order: bool, whole: bool = True) -> None:
        """Raises Failed where an order came twice, or (where order is promised) out of order; or, of the whole load,
        never.
        """
        faults = [f"{self.lost:,} of {self.orders:,} orders never came"] if whole and self.lost else []
        faults += [f"{self.repeated:,} came again"] if self.repeated else []
        faults += [f"{self.out_of_order:,} came out of order"] if keeps_order and self.out_of_order else []
        if faults:
            raise Failed(f"{who}: {', '.join(faults)}.")


async def at_once(publisher: OrderPublisher, load: Load) -> None:
    """Publish as fast as confirms come."""
    await publisher.publish_many(load.intents())


async def steadily(publisher: OrderPublisher, load: Load, rate_per_s: float) -> dict[str, float]:
    """Publish so many a second, however slowly they are confirmed.

    Returns when the publish of each began, by its log, in seconds of time.monotonic().
    """
    sent_s: dict[str, float] = {}
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as publishing:
        for number, intent in enumerate(load.intents()):
            await asyncio.sleep(max(0.0, began_s + number / rate_per_s - time.monotonic()))
            sent_s[load.log(number)] = time.monotonic()
            publishing.create_task(publisher.publish(intent))
    return sent_s
