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
from signalq.consumer.orders.state import Attempt
from signalq.consumer.webhook.answer import Answer, attempt_of, shown
from signalq.consumer.webhook.answer_reader import AnswerReader, AnswerTooLong
from signalq.consumer.webhook.connection import Connection, Connector
from signalq.consumer.webhook.target import target_of
from signalq.consumer.webhook.tunnel import NoTunnel, proxy_of
from signalq.secrets.blanking import Blanker

# Idle connections are dropped well before servers drop them (5 s is a common default): a POST written into a
# connection that is just being closed has an outcome that nobody knows.
KEEPALIVE_S = 2.0
TARGETS_KEPT_MAX = 1_000

MayBegin = Callable[[], Awaitable[bool]]


class TooLate(Exception):
    """The last look said that the request must not go out any more."""


class Exchange:
    """One request and its answer. `sent` says whether a byte of the request may have gone out."""

    def __init__(self, may_begin: MayBegin | None) -> None:
        self.sent = False
        self._may_begin = may_begin
        self._reader: AnswerReader | None = None

    async def over(self, connection: Connection, request: bytes) -> Answer:
        """Look a last time, send the request, and read the answer. Nothing is awaited between look, mark and bytes.

        Raises TooLate where nothing may be sent, and what aiohttp raises where there is no whole answer.
        """
        await self._look()
        transport, self._reader = connection.begin()
        self.sent = True
        transport.write(request)
        return await self._reader.answer

    async def _look(self) -> None:
        """The last look. Time may pass in it, and the POST may be over by then."""
        if self._may_begin is None:
            return
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancellations = task.cancelling()
        may_begin = await self._may_begin()
        if task.cancelling() > cancellations:  # timed out, say, and the look has said all the same what it saw
            raise asyncio.CancelledError
        if not may_begin:
            raise TooLate

    def known(self) -> Answer | None:
        """The answer as far as it has come, where that is enough."""
        return self._reader.known() if self._reader is not None else None


class Webhook:
    """The HTTP client of the consumer: no cookies, no redirects, no compression, no repeats.

    `connect_s` bounds getting a connection, `total_s` the whole POST with its answer. `proxy` is the URL of the proxy
    to go through; those of the environment are not used.
    """

    def __init__(self, *, connect_s: float, total_s: float, proxy: str | None = None) -> None:
        self._connect_timeout = aiohttp.ClientTimeout(connect=connect_s)
        self._total_s = total_s
        self._proxy = proxy
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
        exchange = Exchange(may_begin)
        began_s, began_ms = time.monotonic(), _now_ms()
        try:
            answer = await self._exchange(order, exchange)
        except Exception as error:  # noqa: BLE001 - whatever broke, all that matters is whether bytes went out
            return _broken(error, sent=exchange.sent, duration_s=time.monotonic() - began_s)
        duration_s = time.monotonic() - began_s
        attempt = attempt_of(answer, order.policy, began_ms, _now_ms(), duration_s=duration_s)
        if attempt.certainty == "accepted":
            return attempt
        return replace(attempt, answer=shown(answer.body, *_blankers(order)))

    async def _exchange(self, order: Order, exchange: Exchange) -> Answer:
        """Get a connection, and make the exchange over it, all within `total_s`."""
        if self._connector is None:
            raise RuntimeError("use Webhook in an async with block")
        target = self._target_of(order.policy.url)
        try:
            async with asyncio.timeout(self._total_s):
                lent = await self._connector.connect(target.address, [], self._connect_timeout)
                try:
                    return await exchange.over(cast("Connection", lent.protocol), target.request(order.body_to_post()))
                finally:
                    lent.release()  # closes it, unless it can be used again
        except TimeoutError:
            if (answer := exchange.known()) is None:
                raise
            return answer


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
    if isinstance(error, TooLate):
        why = "too late or not allowed any more once there was a connection"
        return Attempt("not taken", sent=False, why=why, duration_s=duration_s)
    what = _what(error)
    if sent:
        return Attempt("unknown", sent=True, why=f"{what} after the request began to go out", duration_s=duration_s)
    return Attempt("not taken", sent=False, why=f"{what} before anything was sent", duration_s=duration_s)
