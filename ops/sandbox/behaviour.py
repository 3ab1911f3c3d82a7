"""The sandbox's behaviour: set for all connectors or for one, a number of times or until it is changed."""

import math
import time
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from signalq.ops.terminal.errors import CommandFailed

# So many connectors can have a behaviour of their own.
BEHAVIOURS_MAX = 1000


class Behaviour(BaseModel):
    """One way to answer, as the JSON of `PUT /behaviour`.

    ok        200 `ok`: the order is taken.
    fail      `status`, with `Retry-After` where `retry_after_s` is set: not taken.
    hang      200 `ok`, `seconds` late: taken.
    cut       the connection is cut `before` the order is taken, `during` its answer (taken, half an answer),
              or `after` it was taken (no answer).
    throttle  429 with Retry-After beyond `rate_per_s` orders a second.
    refuse    400: the platform knows no such connector, or the token is wrong.

    `connector` None means all that have no behaviour of their own; `times` None means until it is changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mode: Literal["ok", "fail", "hang", "cut", "throttle", "refuse"] = "ok"
    connector: str | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    status: Annotated[int, Field(ge=300, le=599)] = 503
    retry_after_s: Annotated[int, Field(ge=0, le=86_400)] | None = None
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 30.0
    moment: Literal["before", "during", "after"] = "after"
    rate_per_s: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 1.0


AS_IT_SHOULD = Behaviour()


class Behaviours:
    """The behaviours in force; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_connector: dict[str | None, Behaviour] = {}
        self._free_at: dict[str | None, float] = {}

    def put(self, behaviour: Behaviour) -> None:
        """Set a behaviour from now on. Raises CommandFailed beyond BEHAVIOURS_MAX connectors."""
        key = behaviour.connector
        self.forget(key)
        if behaviour.mode == "ok" and key is None:
            return
        if len(self._by_connector) >= BEHAVIOURS_MAX:
            raise CommandFailed(f"at most {BEHAVIOURS_MAX} connectors can have a behaviour of their own")
        self._by_connector[key] = behaviour

    def forget(self, connector: str | None) -> None:
        """Remove a connector's behaviour: that of all applies again; with None, that of all becomes `ok`."""
        self._by_connector.pop(connector, None)
        self._free_at.pop(connector, None)

    def clear(self) -> None:
        """Answer `ok` to everything again."""
        self._by_connector.clear()
        self._free_at.clear()

    def in_force(self) -> list[Behaviour]:
        """All behaviours, with the times that are left."""
        return list(self._by_connector.values())

    def take(self, connector: str) -> Behaviour:
        """The behaviour for the next order of a connector; `throttle` becomes `ok` or a 429."""
        key = connector if connector in self._by_connector else None
        behaviour = self._by_connector.get(key, AS_IT_SHOULD)
        answer = self._paced(key, behaviour) if behaviour.mode == "throttle" else behaviour
        if behaviour.times == 1:
            self.forget(key)
        elif behaviour.times is not None:
            self._by_connector[key] = behaviour.model_copy(update={"times": behaviour.times - 1})
        return answer

    def _paced(self, key: str | None, behaviour: Behaviour) -> Behaviour:
        now = self._clock()
        free_at = self._free_at.get(key, now)
        if now < free_at:
            wait_s = max(1, math.ceil(free_at - now))
            return Behaviour(mode="fail", status=429, retry_after_s=wait_s)
        self._free_at[key] = max(now, free_at) + 1 / behaviour.rate_per_s
        return AS_IT_SHOULD
