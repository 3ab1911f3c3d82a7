"""The orders that `--wait` holds back, since they could not be POSTed in time. Pure: times are passed in.

Of each connector only so many are on their way that the last of them is in time even if each POST lasts as long as it
may. So the consumer's own pace is kept to, whatever it is, and nothing has to be known of the webhook.
"""

from __future__ import annotations

import math
from collections import Counter

from signalq.consumer.orders.lanes import concurrency_of, has_own_lane
from signalq.message.intent import OrderIntent
from signalq.ops.publish.forecast import max_age_s, post_s
from signalq.settings.sections import Settings

# On their way at a time, over all connectors: each takes some memory here.
WAITED_FOR_MAX = 4_096
# Delayed orders of one connector are spread so that none waits for longer than this part of the time that it has.
DELAYED_SHARE = 0.5

_ALL = ""
_SHARED_LANE = " "
"""No connector has such a name."""


class HoldBack:
    """Says how long each intent is held back, and counts those that are on their way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._on_their_way: Counter[str] = Counter()
        # The second in which a connector's delayed intents fall due, and when the next of them can be POSTed.
        self._free_at_s: dict[tuple[str, int], float] = {}

    def take(self, intent: OrderIntent, now_s: float) -> float:
        """Count the intent as on its way and return 0; or the seconds to hold it back (infinite: until one ends)."""
        if any(self._on_their_way[place] >= most for place, most in self._limits(intent)):
            return math.inf
        hold_s = self._hold_delayed_s(intent, now_s) if intent.delay_ms else 0.0
        if not hold_s:
            self._on_their_way.update(place for place, _ in self._limits(intent))
        return hold_s

    def ended(self, intent: OrderIntent) -> None:
        """Count an intent as on its way no more."""
        self._on_their_way.subtract(place for place, _ in self._limits(intent))

    def _limits(self, intent: OrderIntent) -> list[tuple[str, int]]:
        """The places that an intent takes, and how many each has. A delayed one waits on the broker, in no lane."""
        limits = [(_ALL, WAITED_FOR_MAX)]
        if intent.delay_ms:
            return limits
        settings, name = self._settings, intent.connector_name
        slowest_s = settings.webhook.connect_timeout_s + settings.webhook.timeout_s
        rate_per_s = settings.connector(name).rate_per_s
        each_s = max(slowest_s / concurrency_of(settings, name), 1 / rate_per_s if rate_per_s is not None else 0.0)
        in_time_s = max_age_s(settings, intent)
        limits.append((name, max(1, int(in_time_s / each_s))))
        if not has_own_lane(settings, name):
            limits.append((_SHARED_LANE, max(1, int(in_time_s * settings.delivery.concurrency / slowest_s))))
        return limits

    def _hold_delayed_s(self, intent: OrderIntent, now_s: float) -> float:
        """The seconds to hold a delayed intent back, behind those of its connector that fall due with it."""
        delay_s = intent.delay_ms / 1000
        place = intent.connector_name, int(delay_s)
        begins_s = max(now_s + delay_s, self._free_at_s.get(place, 0.0))
        late_s = begins_s - now_s - delay_s - DELAYED_SHARE * max_age_s(self._settings, intent)
        if late_s > 0:
            return late_s
        self._free_at_s[place] = begins_s + post_s(self._settings, intent.connector_name)
        return 0.0
