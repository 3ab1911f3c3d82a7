"""Every answer that is not `ok`: counted, logged, and written as application/problem+json (RFC 9457).

Refused requests are counted by the address that they come from. An address that guesses tokens or paths gets 429 after
a while, and the log counts its requests instead of naming each.
"""

import asyncio
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog
from aiohttp import web

from signalq.errors import Problem
from signalq.message.intent import FIELD_NAMES
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.producers.gateway.alerts import Refusal
from signalq.producers.gateway.answers import placed, problem_details
from signalq.producers.gateway.callers import Callers, IpAddress, counted_as
from signalq.producers.gateway.health import GatewayMetrics
from signalq.producers.gateway.rates import Rates

# TradingView repeats a 5xx after 5 s; other callers read it in Retry-After.
REPEAT_AFTER_S = 5
SERVER = "signalq"
TOO_LARGE = Refusal(413, (Problem(None, f"the body has more than {BODY_BYTES_MAX} bytes"),))
FIELDS_LOGGED_MAX = 10

# A wrong token and a wrong path are guesses. A person who sets an alert up makes some, a program makes thousands.
GUESSES = frozenset({401, 404})
GUESSES_MAX = 60
# For a large body these count as guesses, too: they took our time to find out.
COSTLY = frozenset({400, 408})
GUESSES_PER_S = 1.0
TOO_MANY_GUESSES = Refusal(429, (Problem(None, "too many refused requests came from this address"),))

# For refusals that are alike, and for all strangers together: so many lines at once, then so many a second.
ALIKE_LINES_MAX, ALIKE_LINES_PER_S = 10, 0.1
LINES_MAX, LINES_PER_S = 200, 1.0
# How often the log counts the refusals that had no line.
UNLOGGED_EVERY_S = 10.0

# The look of a field's name: short, with few digits. Anything else may be a value in the wrong place.
NAME = re.compile(r"(?=[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z)(?!(?:[^0-9]*[0-9]){4}).*")
NOT_SHOWN = "(a name that is not shown)"

log = structlog.get_logger()


class Refusals:
    """Makes the refusals. None holds a value of a body, nor does the log; `is_secret` recognises a token."""

    def __init__(
        self,
        metrics: GatewayMetrics,
        callers: Callers,
        is_secret: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._callers = callers
        self._is_secret = is_secret
        self._guesses = Rates(GUESSES_PER_S, clock, burst=GUESSES_MAX)
        self._alike = Rates(ALIKE_LINES_PER_S, clock, burst=ALIKE_LINES_MAX)
        self._lines = Rates(LINES_PER_S, clock, burst=LINES_MAX)
        self._unlogged: Counter[int] = Counter()
        self._unlogged_timer: asyncio.TimerHandle | None = None

    def refused(self, request: web.Request | None, refusal: Refusal, *, is_large: bool = False) -> web.Response:
        """Refuse a request, which is None if it was no proper HTTP. A bad large body counts as a guess."""
        caller = self._caller(request)
        refusal = self._shown(self._limited(refusal, counted_as(caller), is_large=is_large))
        self._metrics.answered(refusal.status, refusal.connector)
        self._log(refusal, caller)
        return _problem_response(refusal)

    def flooding(self, request: web.Request) -> Refusal | None:
        """The refusal of a costly request, if its address has made too many guesses."""
        wait_s = self._guesses.over_s(counted_as(self._caller(request)))
        return replace(TOO_MANY_GUESSES, retry_after_s=wait_s) if wait_s else None

    def unavailable(self, connectors: Iterable[str], why: str) -> web.Response:
        """Ask the caller to send the request again."""
        self._metrics.answered(503, *connectors)
        return _problem_response(Refusal(503, (Problem(None, why),), retry_after_s=REPEAT_AFTER_S))

    def unhandled(self, status: int) -> web.StreamResponse:
        """Answer bytes that are no proper HTTP, and requests at which the gateway failed."""
        if status < 500:
            response = self.refused(None, Refusal(status, (Problem(None, "the request is not proper HTTP/1.1"),)))
        else:
            self._metrics.answered(status, None)
            failed = Problem(None, "the gateway failed at this request: see its log")
            response = _problem_response(Refusal(status, (failed,)))
        response.headers["Server"] = SERVER
        return response

    def close(self) -> None:
        """Log the count that is still to be logged."""
        if self._unlogged_timer is not None:
            self._unlogged_timer.cancel()
            self._log_unlogged()

    def _caller(self, request: web.Request | None) -> IpAddress | None:
        return self._callers.caller(*hops(request)) if request is not None else None

    def _limited(self, refusal: Refusal, sender: str, *, is_large: bool) -> Refusal:
        """A 429 in place of the refusal, if it is one guess too many."""
        is_guess = refusal.status in GUESSES or (is_large and refusal.status in COSTLY and refusal.connector is None)
        wait_s = self._guesses.wait_s(sender) if is_guess else 0.0
        return replace(TOO_MANY_GUESSES, retry_after_s=wait_s) if wait_s else refusal

    def _shown(self, refusal: Refusal) -> Refusal:
        """The refusal with names of fields alone: a token in the place of a name is shown to nobody."""
        return replace(refusal, problems=tuple(replace(one, field=self._name(one.field)) for one in refusal.problems))

    def _name(self, field: str | None) -> str | None:
        if field is None or field in FIELD_NAMES:
            return field
        return field if NAME.fullmatch(field) and not self._is_secret(field) else NOT_SHOWN

    def _log(self, refusal: Refusal, caller: IpAddress | None) -> None:
        """Log a line that says why; in a flood, log the first of a kind, and then their count."""
        why, who = _why(refusal), refusal.connector or counted_as(caller)
        if self._alike.wait_s((who, refusal.status, why)) or self._lines.wait_s(refusal.connector or ""):
            self._unlogged[refusal.status] += 1
            if self._unlogged_timer is None:
                self._unlogged_timer = asyncio.get_running_loop().call_later(UNLOGGED_EVERY_S, self._log_unlogged)
            return
        fields = [problem.field or "the request" for problem in refusal.problems][:FIELDS_LOGGED_MAX]
        facts = {"connector": refusal.connector} if refusal.connector else {}
        caller_shown = str(caller or "unknown")
        log.warning("alert.refused", status=refusal.status, why=why, fields=fields, caller=caller_shown, **facts)

    def _log_unlogged(self) -> None:
        self._unlogged_timer = None
        statuses = {str(status): count for status, count in sorted(self._unlogged.items())}
        log.warning("alert.refused_unlogged", count=self._unlogged.total(), statuses=statuses)
        self._unlogged.clear()


def hops(request: web.Request) -> tuple[str | None, Sequence[str]]:
    """The address of the request's connection, and its X-Forwarded-For."""
    return request.remote, request.headers.getall("X-Forwarded-For", ())


def _why(refusal: Refusal) -> str:
    """The reason in a sentence: that of the answer, and the hint that only the log may have."""
    shown = [str(problem) for problem in refusal.problems[:FIELDS_LOGGED_MAX]]
    more = len(refusal.problems) - len(shown)
    why = "; ".join([*shown, *([f"and {more} more"] if more else []), *([refusal.hint] if refusal.hint else [])])
    return placed(why, refusal.order)


def _problem_response(refusal: Refusal) -> web.Response:
    wait_s = refusal.retry_after_s
    headers = {} if wait_s is None else {"Retry-After": str(math.ceil(wait_s))}
    text = json.dumps(problem_details(refusal.status, refusal.problems, refusal.order), ensure_ascii=False)
    return web.Response(text=text, status=refusal.status, headers=headers, content_type="application/problem+json")
