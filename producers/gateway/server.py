"""The gateway's HTTP: the platform's own path, answered within the 3 s that TradingView waits."""

import asyncio
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import cast

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from signalq.errors import Problem, PublishError, SettingsError
from signalq.health import add_health
from signalq.kinds import Kind
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.producers.gateway.alerts import Alert, Batch, Reading, Refusal, read_batch
from signalq.producers.gateway.answers import ANSWER_S, INTENT_ID_HEADER, WEBHOOK_PATH
from signalq.producers.gateway.bodies import AlertReader, is_small
from signalq.producers.gateway.callers import Callers
from signalq.producers.gateway.health import GatewayMetrics
from signalq.producers.gateway.listener import Connection, Listener
from signalq.producers.gateway.outlet import Outlet
from signalq.producers.gateway.rates import Rates
from signalq.producers.gateway.refusals import SERVER, TOO_LARGE, Refusals, hops
from signalq.producers.gateway.repeats import Identity, Progress, Unanswered
from signalq.producers.gateway.spans import RequestSpans, caller_of

# Orders that wait for their confirm. With more, the broker does not keep up, and waiting would make all of them late.
UNCONFIRMED_MAX = 1_000
STOP_TIMEOUT_S = 3.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    """The address to listen on, the callers to let in, and the settings of connectors; see docs/settings.md."""

    host: str
    port: int
    reading: Reading
    is_configured: Callable[[str], bool]
    callers: Callers = field(default_factory=Callers)
    path_secret: str | None = field(default=None, repr=False)
    rate_per_s: float | None = None
    is_secret: Callable[[str], bool] = lambda _text: False


class GatewayServer:
    """Serves between `start` and `stop`."""

    def __init__(self, options: Options, outlet: Outlet) -> None:
        self._options = options
        self._outlet = outlet
        self._unanswered = Unanswered()
        self._spans = RequestSpans()
        self._rates = Rates(options.rate_per_s)
        self._metrics = GatewayMetrics(options.is_configured)
        self.spans_dropped = self._metrics.spans_dropped
        self._refusals = Refusals(self._metrics, options.callers, options.is_secret)
        self._reader = AlertReader(lambda body: read_batch(body, options.reading, _now_ms()), self._refusals)
        self._unconfirmed = 0
        self._is_stopping = False
        self._listener = Listener(self._refusals.unhandled)
        self._metrics.broker_connected.set_function(lambda: float(outlet.is_connected))
        self._metrics.connections.set_function(lambda: len(self._listener))
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=STOP_TIMEOUT_S)

    async def start(self) -> int:
        """Listen; return the port. Raises SettingsError if that is not possible."""
        await self._runner.setup()
        host, port = self._options.host, self._options.port
        try:
            return await self._listener.start(cast("web.Server", self._runner.server), host, port)
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            why = error.strerror if isinstance(error, OSError) else "it is no name of a host"
            raise SettingsError(
                f"gateway.host {host} port {port} can't be listened on ({why or error}): set gateway.port "
                "to another, or to 0 for a free one",
                kind=Kind.CANNOT_LISTEN,
            ) from None

    async def stop(self) -> None:
        """Take no new connection; requests that are here, or on their way over an open one, get their answer."""
        self._is_stopping = True
        await self._listener.close()
        await self._runner.cleanup()
        self._refusals.close()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._around])
        app.on_response_prepare.append(_without_versions)
        add_health(app, why_not_ready=self._why_not_ready, registry=self._metrics.registry)
        with_secret = (f"/{{secret}}{WEBHOOK_PATH}", f"{WEBHOOK_PATH}/{{secret}}")
        for path in (WEBHOOK_PATH,) if self._options.path_secret is None else with_secret:
            app.router.add_post(path, self._take, expect_handler=self._expected)
        return app

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give aiohttp's own answers (no such path, a body too large) the form of ours."""
        self._listener.spoke(request.protocol)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = self._refusals.refused(request, Refusal(error.status, (Problem(None, error.reason),)))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        if self._is_stopping and not response.prepared:
            response.force_close()
        return response

    async def _expected(self, request: web.Request) -> web.StreamResponse | None:
        """Ask for the body only where it will be read. A caller of HTTP/1.0 can't be asked."""
        if request.headers["Expect"].lower() != "100-continue":
            return self._refusals.refused(request, Refusal(417, (Problem(None, "only 100-continue can be expected"),)))
        if (request.content_length or 0) > BODY_BYTES_MAX:
            return self._refusals.refused(request, TOO_LARGE)
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the 100 is no part of the answer
        return None

    async def _take(self, request: web.Request) -> web.StreamResponse:
        with self._metrics.in_flight.track_inprogress():
            return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        began_s = time.monotonic()
        self._check_secret(request)
        if not self._options.callers.may_call(*hops(request)):
            return self._refusals.refused(request, Refusal(403, (Problem(None, "this address may not call"),)))
        batch = await self._reader.read(request, began_s)
        if isinstance(batch, Refusal):
            if request.content_length is None:
                cast("Connection", request.protocol).leave_the_rest()
            return self._refusals.refused(request, batch, is_large=not is_small(request))
        if self._unconfirmed + len(batch.alerts) > UNCONFIRMED_MAX:
            return self._refusals.unavailable(batch.connectors, "too many requests at once")
        original = self._unanswered.take(batch.digest)
        # The rate has counted the original: a repeat that was refused by it, TradingView would never send again.
        if original is None and (wait_s := self._rates.wait_s(*batch.connectors)):
            return self._refusals.refused(request, self._too_fast(batch, wait_s))
        self._unconfirmed += len(batch.alerts)
        try:
            with self._listener.busy(request.protocol), self._spans.of(caller_of(request), began_s) as span:
                response = await self._publish(request, batch, original, began_s)
                span.answered(response.status)
                return response
        finally:
            self._unconfirmed -= len(batch.alerts)

    def _too_fast(self, batch: Batch, wait_s: float) -> Refusal:
        """The refusal of a request for a connector that has to wait."""
        connector = max(batch.connectors, key=self._rates.over_s)
        problem = Problem("connectorName", "sends more than gateway.rate_per_s allows")
        return Refusal(429, (problem,), connector, retry_after_s=wait_s)

    async def _publish(
        self, request: web.Request, batch: Batch, original: Progress | None, began_s: float
    ) -> web.StreamResponse:
        """Publish the orders one after the other, in their order, and answer once all are confirmed.

        Of a repeat only those are published that were not confirmed when its `original` was.
        """
        if original is not None:
            self._metrics.repeats.inc()
        progress = original or Progress(_new_identities(batch))
        try:
            async with asyncio.timeout(began_s + ANSWER_S - time.monotonic()):
                for alert, identity in _unconfirmed(batch, progress):
                    await self._outlet.publish(alert, identity, caller_of(request))
                    progress = replace(progress, confirmed=progress.confirmed + 1)
        except (TimeoutError, PublishError) as error:
            self._unanswered.keep(batch.digest, progress)
            why = str(error) or f"RabbitMQ did not confirm within {ANSWER_S:g} s"
            for place, facts in enumerate(_facts(batch, progress)):
                log.warning("alert.unconfirmed", why=why, confirmed=place < progress.confirmed, **facts)
            return self._refusals.unavailable(batch.connectors, "the order could not be queued: send it again")
        except BaseException:  # of any kind: an order may be in the queue, and its caller gets no ok
            self._unanswered.keep(batch.digest, progress)
            raise
        self._metrics.confirm_seconds.observe(time.monotonic() - began_s)
        return await self._answer_ok(request, batch, progress, is_repeat=original is not None)

    async def _answer_ok(
        self, request: web.Request, batch: Batch, progress: Progress, *, is_repeat: bool
    ) -> web.StreamResponse:
        """Answer `ok`, with the id of each order; a caller who is gone may send the same request again."""
        ids = ", ".join(one.message_id for one in progress.identities)
        response = web.Response(text="ok", headers={INTENT_ID_HEADER: ids})
        if await self._is_sent(request, response):
            self._metrics.answered(200, *batch.connectors)
            self._metrics.published(batch.connectors)
            for facts in _facts(batch, progress):
                log.info("alert.published", repeat=is_repeat, **facts)
        else:
            self._unanswered.keep(batch.digest, progress)
            for facts in _facts(batch, progress):
                log.warning("alert.answer_unheard", **facts)
            request.protocol.force_close()
        return response

    async def _is_sent(self, request: web.Request, response: web.Response) -> bool:
        """Send an answer here, not by returning it: then it is known whether it could be sent."""
        if self._is_stopping:
            response.force_close()
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await response.prepare(request)
                await response.write_eof()
            return request.transport is not None and not request.transport.is_closing()
        return False

    def _why_not_ready(self) -> str | None:
        return "stopping" if self._is_stopping else None if self._outlet.is_connected else "not connected to RabbitMQ"

    def _check_secret(self, request: web.Request) -> None:
        secret = self._options.path_secret
        given = request.match_info.get("secret", "").encode("utf-8", "surrogatepass")
        if secret is not None and not hmac.compare_digest(given, secret.encode()):
            raise web.HTTPNotFound


def _new_identities(batch: Batch) -> tuple[Identity, ...]:
    """An identity for each order, with the time of its own that it has, else with now."""
    now_ms = _now_ms()
    return tuple(Identity.new(now_ms if one.created_ms is None else one.created_ms) for one in batch.alerts)


def _unconfirmed(batch: Batch, progress: Progress) -> list[tuple[Alert, Identity]]:
    """The orders that RabbitMQ has not confirmed, in their order."""
    return list(zip(batch.alerts, progress.identities, strict=True))[progress.confirmed :]


def _facts(batch: Batch, progress: Progress) -> Iterator[dict[str, str]]:
    """The fields that the log has of each order."""
    for alert, identity in zip(batch.alerts, progress.identities, strict=True):
        yield {"message_id": identity.message_id, "connector": alert.connector, "action": alert.action}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _without_versions(_request: web.Request, response: web.StreamResponse) -> None:
    """Keep the versions of our libraries from attackers."""
    response.headers["Server"] = SERVER
