"""The warnings about a run before its lines are POSTed: orders that would be too late or refused, misspelt connectors.

Pure: the settings and the lines, in their order, are passed in.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signalq.consumer.orders.lanes import concurrency_of
from signalq.message.intent import OrderIntent
from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings

if TYPE_CHECKING:
    from signalq.ops.publish.refusals import Refusals

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

    Times count from the publish, which `rate_per_s` spreads. Delayed intents come in any order: of those that fall due
    within the time that one has, as many are late as can't be POSTed in it. With `is_held_back` no order is late.
    `strategy` is the name under which the intents are published.
    """

    def __init__(
        self, settings: Settings, *, rate_per_s: float | None, is_held_back: bool = False, strategy: str | None = None
    ) -> None:
        self._settings = settings
        self._is_held_back = is_held_back
        self._rate_per_s = rate_per_s
        self._taken = 0
        self._lanes: dict[str, _Lane] = {}
        self._free_at_s: dict[str, float] = {}
        self._due: Counter[tuple[str, float, float]] = Counter()
        self._looked_at: dict[str, str | None] = {}
        self._refusals = _refusals(settings, strategy)
        self._refused: Counter[tuple[str, str]] = Counter()

    def take(self, intent: OrderIntent) -> list[str]:
        """Count one more intent, and return the warnings that its connector causes for the first time."""
        name = intent.connector_name
        misspelt = self._why_misspelt(name)
        warnings = [misspelt] if misspelt is not None else []
        if self._refusals is not None and (why := self._refusals.why(intent)) is not None:
            self._refused[name, why] += 1
            if self._refused[name, why] == 1:
                warnings.append(self._would_be_refused(name, why))
            return warnings
        lane = self._lanes.setdefault(name, _Lane())
        lane.intents += 1
        in_time_s = max_age_s(self._settings, intent)
        if not self._is_held_back and self._is_late(intent, in_time_s):
            lane.late += 1
            lane.max_age_s = in_time_s
            if lane.late == 1:
                warnings.append(self._too_late(name, lane, " so far"))
        return warnings

    def sentences(self) -> list[str]:
        """All warnings, once all intents are counted."""
        warnings = [sentence for sentence in self._looked_at.values() if sentence is not None]
        warnings += [self._would_be_refused(name, why) for name, why in list(self._refused)[:NAMED_MAX]]
        late = [(name, lane) for name, lane in self._lanes.items() if lane.late]
        warnings += [self._too_late(name, lane) for name, lane in late[:NAMED_MAX]]
        if len(late) > NAMED_MAX:
            warnings.append(f"the same holds for {len(late) - NAMED_MAX} connectors more")
        return warnings

    def _is_late(self, intent: OrderIntent, in_time_s: float) -> bool:
        """Whether it waits too long for earlier intents of its connector."""
        name, each_s = intent.connector_name, post_s(self._settings, intent.connector_name)
        published_s = self._taken / self._rate_per_s if self._rate_per_s is not None else 0.0
        self._taken += 1
        if intent.delay_ms:
            span = name, in_time_s, (published_s + intent.delay_ms / 1000) // in_time_s
            self._due[span] += 1
            return self._due[span] > in_time_s / each_s + 1
        begins_s = max(published_s, self._free_at_s.get(name, 0.0))
        self._free_at_s[name] = begins_s + each_s
        return begins_s - published_s - in_time_s > ROUNDING_S

    def _too_late(self, name: str, lane: _Lane, so_far: str = "") -> str:
        a_second = 1 / post_s(self._settings, name)
        share = lane.intents / self._taken
        return (
            f"{name}: {lane.late:,} of {lane.intents:,} intents{so_far} would wait for longer than "
            f"{lane.max_age_s:g} s and be dead, expired, if {a_second:.3g} a second are POSTed, as is assumed here: "
            f"--rate {_rounded_down(a_second / share):g} spreads them, and --wait holds them back"
        )

    def _would_be_refused(self, name: str, why: str) -> str:
        count = self._refused[name, why]
        return f"{name}: by these settings {plural(count, 'intent')} would be dead, {why}"

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


def _refusals(settings: Settings, strategy: str | None) -> Refusals | None:
    """The judge of intents, if the settings limit any."""
    limited = (one.actions is not None or one.limits_size for one in settings.connectors.values())
    if not settings.strategies and not any(limited):
        return None
    # Imported here: with no limits a publish needs none of it.
    from signalq.ops.publish.refusals import Refusals  # noqa: PLC0415

    return Refusals(settings, strategy)


def post_s(settings: Settings, name: str) -> float:
    """The assumed seconds that a POST keeps the next one of its connector waiting."""
    rate_per_s = settings.connector(name).rate_per_s
    paced_s = 1 / rate_per_s if rate_per_s is not None else 0.0
    return max(POST_S / concurrency_of(settings, name), paced_s)


def max_age_s(settings: Settings, intent: OrderIntent) -> float:
    """The age, in seconds, at which an intent is not POSTed any more."""
    of_opens_s, of_exits_s = max_ages_s(settings, intent.connector_name)
    is_exit = intent.is_exit(spot_sell_is_exit=settings.connector(intent.connector_name).spot_sell_is_exit)
    return of_exits_s if is_exit else of_opens_s


def max_ages_s(settings: Settings, name: str) -> tuple[float, float]:
    """The ages at which opens and exits of a connector are not POSTed any more."""
    connector, delivery = settings.connector(name), settings.delivery
    of_opens_s = connector.open_max_age_s or delivery.open_max_age_s
    return of_opens_s, connector.exit_max_age_s or delivery.exit_max_age_s


def _rounded_down(rate_per_s: float) -> float:
    """The rate, rounded down to two digits."""
    step = 10.0 ** (math.floor(math.log10(rate_per_s)) - 1)
    return math.floor(rate_per_s / step) * step
