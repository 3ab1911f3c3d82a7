"""Every answer that is not `ok`: counted, logged, and told as application/problem+json (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import structlog
from aiohttp import web

from producers.gateway.alerts import Refusal
from producers.gateway.answers import problem_details
from producers.gateway.callers import Callers
from producers.gateway.metrics import GatewayMetrics
from signalq.errors import Problem
from signalq.strict_json import BODY_BYTES_MAX

# TradingView repeats a 5xx after 5 s; others may be told so.
REPEAT_AFTER_S = 5
SERVER = "signalq"
TOO_LARGE = Refusal(413, (Problem(None, f"the body has more than {BODY_BYTES_MAX} bytes"),))
FIELDS_LOGGED_MAX = 10

log = structlog.get_logger()


class Refusals:
    """Makes them. No value of a body is in any, nor in the log."""

    def __init__(self, metrics: GatewayMetrics, callers: Callers) -> None:
        self._metrics = metrics
        self._callers = callers

    def refused(
        self,
        request: web.Request | None,
        refusal: Refusal,
        connector: str | None = None,
        *,
        retry_after_s: float | None = None,
    ) -> web.Response:
        """What the caller did wrong; without a `request` it was none."""
        self._metrics.answered(connector, refusal.status)
        caller = self._callers.caller(*hops(request)) if request is not None else None
        fields = [problem.field or "the request" for problem in refusal.problems][:FIELDS_LOGGED_MAX]
        log.warning("alert.refused", status=refusal.status, fields=fields, caller=str(caller or "unknown"))
        return _problem_response(refusal.status, refusal.problems, retry_after_s=retry_after_s)

    def unavailable(self, connector: str | None, why: str) -> web.Response:
        """What the caller is to send again."""
        self._metrics.answered(connector, 503)
        return _problem_response(503, (Problem(None, why),), retry_after_s=REPEAT_AFTER_S)

    def unhandled(self, status: int) -> web.StreamResponse:
        """For what is no proper HTTP, and for what we failed at."""
        if status < 500:
            response = self.refused(None, Refusal(status, (Problem(None, "the request is not proper HTTP/1.1"),)))
        else:
            self._metrics.answered(None, status)
            response = _problem_response(status, (Problem(None, "the gateway failed at this request: see its log"),))
        response.headers["Server"] = SERVER
        return response


def hops(request: web.Request) -> tuple[str | None, Sequence[str]]:
    """The address of its connection, and whom it says to speak for."""
    return request.remote, request.headers.getall("X-Forwarded-For", ())


def _problem_response(status: int, problems: Sequence[Problem], *, retry_after_s: float | None = None) -> web.Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    text = json.dumps(problem_details(status, problems), ensure_ascii=False)
    return web.Response(text=text, status=status, headers=headers, content_type="application/problem+json")
