"""The refusals of the console: each becomes a page, or a sentence, with a status."""

from collections.abc import Mapping
from typing import Literal

from signalq.errors import SignalQError
from signalq.kinds import Kind

# The rules of the guard, as `console.refused` names them in the log.
Rule = Literal["host", "proxy", "method", "origin", "identity", "link"]


class Refused(SignalQError):
    """A request that is refused, with its HTTP status; the sentence says why, and what to do.

    `headers` go with the answer. `rule` is the rule of the guard that was broken: then the log has a line.
    """

    status = 400
    kind = Kind.WRONG_USAGE

    def __init__(
        self,
        sentence: str,
        status: int | None = None,
        *,
        rule: Rule | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = self.status if status is None else status
        self.rule = rule
        self.headers = dict(headers or {})


class NotFound(Refused):
    """There is no such page or thing."""

    status = 404


class NotAllowed(Refused):
    """The person or program that asks may not do that."""

    status = 403


class Busy(Refused):
    """Not now: the process has something better to do, or ends."""

    status = 503

    def __init__(self, sentence: str, *, retry_after_s: int = 1) -> None:
        super().__init__(sentence, headers={"Retry-After": str(retry_after_s)})
