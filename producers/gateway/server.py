"""The gateway's HTTP: the platform's own path, answered within the 3 s that TradingView waits."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from producers.gateway.alerts import Alert, Refusal, Rules, read_alert
from producers.gateway.callers import Callers
from producers.gateway.metrics import GatewayMetrics
from producers.gateway.outlet import Outlet
from producers.gateway.rates import Rates
from producers.gateway.repeats import Identity
from signalq.errors import Problem, PublishError, SettingsError
from signalq.strict_json import BODY_BYTES_MAX

WEBHOOK_PATH = "/trading-signal/webhook"
# TradingView gives up after 3 s and never repeats what it gave up: the answer has to be there by then.
ANSWER_S = 2.5
# What is being answered at a time; with more, the broker does not keep up, and waiting would make all of them late.
IN_FLIGHT_MAX = 1_000
# TradingView repeats a 5xx after 5 s; others may be told so.
REPEAT_AFTER_S = 5
STOP_TIMEOUT_S = 3.0

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen, whom to let in, and what the settings say; see docs/settings.md."""

    host: str
    port: int
    rules_of: Callable[[str], Rules]
    is_configured: Callable[[str], bool]
    delay_max_s: int
    callers: Callers = field(default_factory=Callers)
    path_secret: str | None = field(default=None, repr=False)
    rate_per_s: float | None = None


class Gateway:
    """Serves between `start` and `stop`."""

    def __init__(self, options: Options, outlet: Outlet) -> None:
        self._options = options
        self._outlet = outlet
        self._rates = Rates(options.rate_per_s)
        self._metrics = GatewayMetrics(options.is_configured)
        self._in_flight = 0
        self._is_stopping = False
        self._runner: web.AppRunner | None = None
        self._metrics.in_flight.set_function(lambda: self._in_flight)
        self._metrics.broker_connected.set_function(lambda: float(outlet.is_connected))

    async def start(self) -> int:
        """Listen; return the port. Raises SettingsError where it can't be listened on."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_as_problems])
        app.router.add_get("/startupz", self._startupz)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._get_metrics)
        if self._options.path_secret is None:
            app.router.add_post(WEBHOOK_PATH, self._take)
        else:
            app.router.add_post(f"/{{secret}}{WEBHOOK_PATH}", self._take)
            app.router.add_post(f"{WEBHOOK_PATH}/{{secret}}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
        await self._runner.setup()
        host, port = self._options.host, self._options.port
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"gateway.host {host} port {port} can't be listened on ({error.strerror or error}): set gateway.port "
                "to another, or to 0 for a free one"
            ) from None
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Take no new request; those that are here get their answer."""
        self._is_stopping = True
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self._in_flight += 1
        try:
            return await self._answer(request)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        began_s = time.monotonic()
        self._check_secret(request)
        if not self._options.callers.may_call(request.remote, request.headers.getall("X-Forwarded-For", ())):
            return self._refused(Refusal(403, (Problem(None, "this address may not call"),)))
        if self._in_flight > IN_FLIGHT_MAX:
            return self._unavailable(None, "too many requests at once")
        alert = await self._read(request)
        if isinstance(alert, Refusal):
            return self._refused(alert)
        if wait_s := self._rates.wait_s(alert.connector):
            problem = Problem("connectorName", "sends more than gateway.rate_per_s allows")
            return self._refused(Refusal(429, (problem,)), alert.connector, retry_after_s=wait_s)
        return await self._publish(request, alert, began_s)

    async def _read(self, request: web.Request) -> Alert | Refusal:
        try:
            async with asyncio.timeout(ANSWER_S):
                body = await request.read()
        except TimeoutError:
            return Refusal(408, (Problem(None, "the body did not come in time"),))
        except web.RequestPayloadError:
            return Refusal(400, (Problem(None, "the body is not encoded as its headers say"),))
        return read_alert(body, self._options.rules_of, delay_max_s=self._options.delay_max_s)

    async def _publish(self, request: web.Request, alert: Alert, began_s: float) -> web.StreamResponse:
        identity, is_repeat = self._outlet.identify(alert)
        if is_repeat:
            self._metrics.repeats.inc()
        try:
            async with asyncio.timeout(began_s + ANSWER_S - time.monotonic()):
                await self._outlet.publish(alert, identity)
        except (TimeoutError, PublishError) as error:
            self._outlet.was_not_answered(alert, identity)
            why = str(error) or f"RabbitMQ did not confirm within {ANSWER_S:g} s"
            log.warning("alert.unconfirmed", why=why, **_facts(alert, identity))
            return self._unavailable(alert.connector, "the order could not be queued: send it again")
        except BaseException:  # whatever it is: it may be in the queue, and its caller hears no ok
            self._outlet.was_not_answered(alert, identity)
            raise
        self._metrics.confirm_seconds.observe(time.monotonic() - began_s)
        return await self._say_ok(request, alert, identity, is_repeat=is_repeat)

    async def _say_ok(
        self, request: web.Request, alert: Alert, identity: Identity, *, is_repeat: bool
    ) -> web.StreamResponse:
        """Answer here, not by returning: whether it could be sent decides whether an equal alert is a repeat."""
        response = web.Response(text="ok")
        try:
            await response.prepare(request)
            await response.write_eof()
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        except ConnectionError:
            self._outlet.was_not_answered(alert, identity)
            log.warning("alert.answer_unheard", **_facts(alert, identity))
            return response
        self._metrics.answered(alert.connector, 200)
        log.info("alert.published", repeat=is_repeat, **_facts(alert, identity))
        return response

    def _check_secret(self, request: web.Request) -> None:
        secret = self._options.path_secret
        given = request.match_info.get("secret", "").encode("utf-8", "surrogatepass")
        if secret is not None and not hmac.compare_digest(given, secret.encode()):
            self._metrics.answered(None, 404)
            raise web.HTTPNotFound

    def _refused(
        self, refusal: Refusal, connector: str | None = None, *, retry_after_s: float | None = None
    ) -> web.Response:
        self._metrics.answered(connector, refusal.status)
        fields = [problem.field or "the request" for problem in refusal.problems]
        log.warning("alert.refused", status=refusal.status, fields=fields[:10])
        return problem_response(refusal.status, refusal.problems, retry_after_s=retry_after_s)

    def _unavailable(self, connector: str | None, why: str) -> web.Response:
        self._metrics.answered(connector, 503)
        return problem_response(503, (Problem(None, why),), retry_after_s=REPEAT_AFTER_S)

    async def _startupz(self, _request: web.Request) -> web.Response:
        """It has started: the settings are read, for before that nobody listens. Not about the broker."""
        return web.Response(text="started\n")

    async def _healthz(self, _request: web.Request) -> web.Response:
        """The event loop runs, or this would not answer."""
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        why_not = (
            "stopping" if self._is_stopping else None if self._outlet.is_connected else "not connected to RabbitMQ"
        )
        return web.Response(text=f"{why_not or 'ready'}\n", status=503 if why_not else 200)

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def problem_response(status: int, problems: Sequence[Problem], *, retry_after_s: float | None = None) -> web.Response:
    """What is wrong, as application/problem+json (RFC 9457); no value of the body is quoted."""
    told = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": "; ".join(map(str, problems)),
        "fields": [{"field": problem.field, "problem": problem.message} for problem in problems],
    }
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    text = json.dumps(told, ensure_ascii=False)
    return web.Response(text=text, status=status, headers=headers, content_type="application/problem+json")


@web.middleware
async def _as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The answers that aiohttp gives by itself (no such path, a body too large) in the same form as ours."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return problem_response(413, (Problem(None, f"the body has more than {BODY_BYTES_MAX} bytes"),))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = problem_response(error.status, (Problem(None, error.reason or "refused"),))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


def _facts(alert: Alert, identity: Identity) -> dict[str, str]:
    return {"message_id": identity.message_id, "connector": alert.connector, "action": alert.action}
