"""The warnings about a run before its lines are POSTed: orders that would be too late, connectors that look misspelt.

Pure: the settings and the lines, in their order, are passed in.
"""

import math
from dataclasses import dataclass

from signalq.consumer.orders.lanes import concurrency_of
from signalq.message.intent import OrderIntent
from signalq.settings.sections import Settings

# The assumed time of a POST, up to the platform's answer from afar: a lane with order then sends five a second. Rather
# too long than too short: a needless warning costs a look, a missing one costs orders.
POST_S = 0.2
# Sums of many POST_S are a little off.
ROUNDING_S = 1e-6
# So many connectors are named one by one.
NAMED_MAX = 5


@dataclass(slots=True)
class _Lane:
    """The counts of one connector: its intents, and the late ones among them."""

    intents: int = 0
    late: int = 0
    max_age_s: float = 0.0


class Forecast:
    """Computes how long the intents of each connector wait for one another, if each POST lasts POST_S and none fails.

    Times count from the publish, which `rate_per_s` spreads; delayed intents wait for those that fall due in the same
    second.
    """

    def __init__(self, settings: Settings, *, rate_per_s: float | None) -> None:
        self._settings = settings
        self._rate_per_s = rate_per_s
        self._taken = 0
        self._lanes: dict[str, _Lane] = {}
        self._free_at_s: dict[tuple[str, int], float] = {}
        self._looked_at: dict[str, str | None] = {}

    def take(self, intent: OrderIntent) -> list[str]:
        """Count one more intent, and return the warnings that its connector causes for the first time."""
        name = intent.connector_name
        misspelt = self._why_misspelt(name)
        warnings = [misspelt] if misspelt is not None else []
        lane = self._lanes.setdefault(name, _Lane())
        lane.intents += 1
        max_age_s = self._max_age_s(intent)
        if self._wait_s(intent) - max_age_s > ROUNDING_S:
            lane.late += 1
            lane.max_age_s = max_age_s
            if lane.late == 1:
                warnings.append(self._too_late(name, lane, " so far"))
        return warnings

    def sentences(self) -> list[str]:
        """All warnings, once all intents are counted."""
        warnings = [sentence for sentence in self._looked_at.values() if sentence is not None]
        late = [(name, lane) for name, lane in self._lanes.items() if lane.late]
        warnings += [self._too_late(name, lane) for name, lane in late[:NAMED_MAX]]
        if len(late) > NAMED_MAX:
            warnings.append(f"the same holds for {len(late) - NAMED_MAX} connectors more")
        return warnings

    def _wait_s(self, intent: OrderIntent) -> float:
        """The seconds that it waits for earlier intents of its connector."""
        published_s = self._taken / self._rate_per_s if self._rate_per_s is not None else 0.0
        self._taken += 1
        delay_s = intent.delay_ms / 1000
        place = intent.connector_name, int(delay_s)
        begins_s = max(published_s + delay_s, self._free_at_s.get(place, 0.0))
        self._free_at_s[place] = begins_s + self._post_s(intent.connector_name)
        return begins_s - published_s - delay_s

    def _post_s(self, name: str) -> float:
        """The seconds that a POST keeps the next one of its connector waiting."""
        rate_per_s = self._settings.connector(name).rate_per_s
        paced_s = 1 / rate_per_s if rate_per_s is not None else 0.0
        return max(POST_S / concurrency_of(self._settings, name), paced_s)

    def _max_age_s(self, intent: OrderIntent) -> float:
        connector, delivery = self._settings.connector(intent.connector_name), self._settings.delivery
        if intent.is_exit(spot_sell_is_exit=connector.spot_sell_is_exit):
            return connector.exit_max_age_s or delivery.exit_max_age_s
        return connector.open_max_age_s or delivery.open_max_age_s

    def _too_late(self, name: str, lane: _Lane, so_far: str = "") -> str:
        a_second = 1 / self._post_s(name)
        share = lane.intents / self._taken
        return (
            f"{name}: {lane.late:,} of {lane.intents:,} intents{so_far} would wait for longer than "
            f"{lane.max_age_s:g} s and be dead, expired, if {a_second:.3g} a second are POSTed, as is assumed here: "
            f"--rate {_rounded_down(a_second / share):g} spreads them"
        )

    def _why_misspelt(self, name: str) -> str | None:
        if name in self._looked_at or name in self._settings.connectors:
            return None
        near = self._settings.near_connectors.of(name)
        nearest = f", the nearest is {near}" if near is not None else ""
        sentence = f"no setting names the connector {name}{nearest}: "
        if self._settings.delivery.connectors == "named":
            self._looked_at[name] = f'{sentence}with delivery.connectors = "named" it is refused'
        else:
            self._looked_at[name] = f"{sentence}it counts as another connector" if near is not None else None
        return self._looked_at[name]


def _rounded_down(rate_per_s: float) -> float:
    """The rate, rounded down to two digits."""
    step = 10.0 ** (math.floor(math.log10(rate_per_s)) - 1)
    return math.floor(rate_per_s / step) * step
