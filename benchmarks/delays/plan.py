"""What is published and when: the same for every contender, and the same again with the same seed."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from dataclasses import asdict, dataclass

CONNECTORS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """So many orders at such a rate; delays in whole ms, spread evenly from `delay_s_min` to `delay_s_max`."""

    orders: int
    rate_per_s: float
    delay_s_min: float = 0.0
    delay_s_max: float = 0.0
    seed: int = 1
    label: str = ""

    @property
    def takes_s(self) -> float:
        """From the first publish to the last due time."""
        return self.orders / self.rate_per_s + self.delay_s_max

    def delays_ms(self) -> list[int]:
        """The delay of each order."""
        draw = random.Random(self.seed)  # noqa: S311 - not a secret
        shortest, longest = round(self.delay_s_min * 1000), round(self.delay_s_max * 1000)
        return [draw.randint(shortest, longest) for _ in range(self.orders)]

    def log(self, number: int) -> str:
        """What the order's `log` says: it is known by it at the webhook."""
        return f"{self.label}{number}"

    def wait_s(self, number: int, began_s: float) -> float:
        """How long to wait before an order is published, if the first was at `began_s` of time.monotonic()."""
        return max(0.0, began_s + number / self.rate_per_s - time.monotonic())

    def as_argument(self) -> str:
        """For the command line of a publisher."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls) -> Plan:
        """What a publisher was started with."""
        return cls(**json.loads(sys.argv[1]))


def whole_seconds(delay_ms: int) -> int:
    """The delay as kombu can hold it, rounded up: an order may not be early."""
    return math.ceil(delay_ms / 1000)
