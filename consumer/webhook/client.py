"""One POST under one deadline, and how certain we are that the order was taken.

An exception's type does not tell whether the order left this machine: a total time-out can strike before the
connection or after the last byte. The line that writes the request tells it: see Exchange.over.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, Self, cast

import aiohttp

from signalq.causes import cause_of, plain_words
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, Failure
from signalq.consumer.webhook.answer import Answer, attempt_of, shown
from signalq.consumer.webhook.answer_reader import AnswerTooLong
from signalq.consumer.webhook.connection import Connection, Connector
from signalq.consumer.webhook.target import target_of
from signalq.consumer.webhook.tunnel import NoTunnel, proxy_of
from signalq.secrets.blanking import Blanker

# Idle connections are dropped well before servers drop them (5 s is a common default): a POST written into a
# connection that is just being closed has an outcome that nobody knows.
KEEPALIVE_S = 2.0
TARGETS_KEPT_MAX = 1_000

# Says at once, or once it has asked.
MayBegin = Callable[[], bool | Awaitable[bool]]


class TooLate(Exception):
    """The last look said that the request must not go out any more."""


class Exchange:
    """One request and its answer, by `until_s` of the loop's clock. `sent`: a byte of the request may have gone out."""

    def __init__(self, may_begin: MayBegin | None, until_s: float) -> None:
        self.sent = False
        self._may_begin = may_begin
        self._until_s = until_s

    async def over(self, connection: Connection, request: bytes) -> Answer:
        """Look a last time, send the request, and read the answer. Nothing is awaited between look, mark and bytes.

        Raises TooLate where nothing may be sent, TimeoutError, and what aiohttp raises where there is no whole answer.
        """
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until_s:
            raise TimeoutError
        if self._may_begin is not None and not await self._looked(self._may_begin):
            raise TooLate
        transport, reader = connection.begin()
        self.sent = True
        transport.write(request)
        given_up = loop.call_at(self._until_s, reader.give_up)
        try:
            return await reader.answer
        finally:
            given_up.cancel()

    async def _looked(self, may_begin: MayBegin) -> bool:
        """Return what the last look says. Where it has to ask, time passes, and the POST may be over by then."""
        says = may_begin()
        if isinstance(says, bool):
            return says
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        async with asyncio.timeout_at(self._until_s):
            cancellations = task.cancelling()
            answer = await says
            if task.cancelling() > cancellations:  # timed out, say, and the look has said all the same what it saw
                raise asyncio.CancelledError
        return answer


class Webhook:
    """The HTTP client of the consumer: no cookies, no redirects, no compression, no repeats.

    `connect_s` bounds getting a connection, `total_s` the whole POST with its answer, a connection and the last look.
    `proxy` is the URL of the proxy to go through; those of the environment are not used. With `sends_traceparent` each
    POST carries the `traceparent` that its order came with, where that is a valid one.
    """

    def __init__(
        self, *, connect_s: float, total_s: float, proxy: str | None = None, sends_traceparent: bool = False
    ) -> None:
        self._connect_timeout = aiohttp.ClientTimeout(connect=min(connect_s, total_s))
        self._total_s = total_s
        self._proxy = proxy
        self._sends_traceparent = sends_traceparent
        self._connector: Connector | None = None

    async def __aenter__(self) -> Self:
        # No limit here: the lanes' own bounds are the limit, and no lane may wait for another's connection.
        proxy = proxy_of(self._proxy) if self._proxy is not None else None
        self._connector = Connector(proxy=proxy, limit=0, keepalive_timeout=KEEPALIVE_S, ssl=tls_context())
        self._target_of = lru_cache(TARGETS_KEPT_MAX)(target_of)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._connector is not None:
            await self._connector.close()

    async def post(self, order: Order, may_begin: MayBegin | None = None) -> Attempt:
        """POST the order once and say what became of it. Raises nothing but CancelledError.

        `may_begin` is asked once, in the step that writes the first byte; where it says no, no byte goes.
        """
        loop = asyncio.get_running_loop()
        began_s, began_ms = loop.time(), _now_ms()
        exchange = Exchange(may_begin, began_s + self._total_s)
        try:
            answer = await self._exchange(order, exchange)
        except Exception as error:  # noqa: BLE001 - whatever broke, all that matters is whether bytes went out
            return _broken(error, sent=exchange.sent, duration_s=loop.time() - began_s)
        duration_s = loop.time() - began_s
        attempt = attempt_of(answer, order.policy, began_ms, _now_ms(), duration_s=duration_s)
        if attempt.certainty == "accepted":
            return attempt
        return replace(attempt, answer=shown(answer.body, *_blankers(order)))

    async def _exchange(self, order: Order, exchange: Exchange) -> Answer:
        """Get a connection, and make the exchange over it."""
        if self._connector is None:
            raise RuntimeError("use Webhook in an async with block")
        target = self._target_of(order.policy.url)
        traceparent = order.traceparent if self._sends_traceparent else None
        lent = await self._connector.connect(target.address, [], self._connect_timeout)
        try:
            request = target.request(order.body_to_post(), traceparent)
            return await exchange.over(cast("Connection", lent.protocol), request)
        finally:
            lent.release()  # closes it, unless it can be used again


def tls_context() -> ssl.SSLContext:
    """Like aiohttp's own, but made now: that one writes keys where SSLKEYLOGFILE was set at its import."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _blankers(order: Order) -> list[Blanker]:
    """The blankers of all configured secrets, and of the order's own."""
    own = [token for token in (order.intent.connector_token, order.policy.token) if token]
    return [Blanker(own, names=[order.connector]), order.policy.blanker]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _what(error: Exception) -> str:
    """The thing that happened, in plain words."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, (AnswerTooLong, NoTunnel)):
        return f"{error},"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it hung up"
    return f"{plain_words(error)}," if cause_of(error) is not None else type(error).__name__


def _broken(error: Exception, *, sent: bool, duration_s: float) -> Attempt:
    """An attempt without a (whole) answer."""
    failure = _failure(error, sent=sent)
    if isinstance(error, TooLate):
        why = "too late or not allowed any more once there was a connection"
        return Attempt("not taken", sent=False, why=why, duration_s=duration_s, failure=failure)
    what = _what(error)
    if sent:
        why = f"{what} after the request began to go out"
        return Attempt("unknown", sent=True, why=why, duration_s=duration_s, failure=failure)
    why = f"{what} before anything was sent"
    return Attempt("not taken", sent=False, why=why, duration_s=duration_s, failure=failure)


def _failure(error: Exception, *, sent: bool) -> Failure:
    match error:
        case TooLate():
            return "too_late"
        case NoTunnel():
            return "proxy"
        case TimeoutError():
            return "timeout"
    return "disconnected" if sent else "connect"
