"""The orders that `--wait` holds back, since they could not be POSTed in time. Pure: times are passed in.

Of each connector only so many are on their way that the last of them is in time even if each POST lasts as long as it
may. So the consumer's own pace is kept to, whatever it is, and nothing has to be known of the webhook. A delayed order
falls due whatever the pace is then: such orders are spread, as if each POST lasted POST_S.
"""

from __future__ import annotations

import math
from collections import Counter

from signalq.consumer.orders.lanes import concurrency_of, has_own_lane
from signalq.message.intent import OrderIntent
from signalq.ops.publish.forecast import max_age_s, max_ages_s, post_s
from signalq.settings.sections import Settings

# On their way at a time, over all connectors: each takes some memory here.
WAITED_FOR_MAX = 4_096
# Within each span of so much of the time that delayed orders have, only as many fall due as can be POSTed in it. So
# none waits for longer than two spans, whatever order they come in.
SPAN_SHARE = 0.25
# A shorter wait than this may be none, by rounding.
HOLD_LEAST_S = 0.001

_ALL = ""
_SHARED_LANE = " "
"""No connector has such a name."""


class HoldBack:
    """Says how long each intent is held back, and counts those that are on their way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._on_their_way: Counter[str] = Counter()
        self._due: dict[str, DueTimes] = {}

    def take(self, intent: OrderIntent, now_s: float) -> float:
        """Count the intent as on its way and return 0; or the seconds to hold it back (infinite: until one ends)."""
        limits = self._limits(intent)
        if any(self._on_their_way[place] >= most for place, most in limits):
            return math.inf
        hold_s = self._hold_delayed_s(intent, now_s) if intent.delay_ms else 0.0
        if not hold_s:
            self._on_their_way.update(place for place, _ in limits)
        return hold_s

    def ended(self, intent: OrderIntent) -> None:
        """Count an intent as on its way no more."""
        for place, _ in self._limits(intent):
            self._on_their_way[place] -= 1
            if not self._on_their_way[place]:
                del self._on_their_way[place]

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
        """The seconds to hold a delayed intent back, beside those of its connector that fall due about then."""
        settings, name = self._settings, intent.connector_name
        each_s = post_s(settings, name)
        if name not in self._due:
            self._due[name] = DueTimes(each_s, [_span_s(age_s, each_s) for age_s in max_ages_s(settings, name)])
        return self._due[name].take(now_s + intent.delay_ms / 1000, _span_s(max_age_s(settings, intent), each_s))


class DueTimes:
    """The due times of one connector's delayed intents, each of which keeps its lane for `each_s`.

    They are counted by spans of time, of each of the lengths `spans_s`: opens need shorter ones than exits. An exit has
    to fit into the spans of opens as well, once there are any.
    """

    def __init__(self, each_s: float, spans_s: list[float]) -> None:
        self._each_s = each_s
        self._spans_s = sorted(set(spans_s))
        self._needed_s: set[float] = set()
        self._counts: Counter[tuple[float, float]] = Counter()

    def take(self, due_s: float, span_s: float) -> float:
        """Count an intent that needs spans of this length and return 0; or the seconds by which it is due too early."""
        spans = {length_s: self._with_room(length_s, due_s // length_s) for length_s in self._spans_s}
        for length_s, span in spans.items():
            is_kept_to = length_s == span_s or (length_s < span_s and length_s in self._needed_s)
            if is_kept_to and span > due_s // length_s:
                return max(HOLD_LEAST_S, span * length_s - due_s)
        self._needed_s.add(span_s)
        self._counts.update(spans.items())
        return 0.0

    def _with_room(self, length_s: float, span: float) -> float:
        """The first span of this length, from the given one on, within which one more can be POSTed."""
        while self._counts[length_s, span] >= max(1, int(length_s / self._each_s)):
            span += 1
        return span


def _span_s(age_s: float, each_s: float) -> float:
    return max(SPAN_SHARE * age_s, each_s)
