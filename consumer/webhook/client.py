"""One POST under one deadline, and how certain we are that the order was taken.

An exception's type does not tell whether the order left this machine: a total time-out can strike before the
connection or after the last byte. The step that writes the request tells it: see _Body. answer.py reads the answer.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt
from signalq.consumer.webhook.answer import SUCCESS_BYTES_MAX, Answer, attempt_of, shown
from signalq.consumer.webhook.answer_reader import AnswerConnector, AnswerTooLong
from signalq.secrets.blanking import Blanker
from signalq.version import __version__

# Idle connections are dropped well before servers drop them (5 s is a common default): a POST written into a
# connection that is just being closed has an outcome that nobody knows.
KEEPALIVE_S = 2.0
# How long to wait for a body where the status says it all: enough for a body that was sent right behind the head, from
# far away. Until then nothing is on disk, and the lane waits.
ANSWER_BODY_S = 0.2

MayBegin = Callable[[], Awaitable[bool]]


class Webhook:
    """The HTTP client of the consumer: one session, no cookies, no redirects, no proxies, no repeats of its own.

    `connect_s` bounds getting a connection, `total_s` the whole POST with its answer.
    """

    def __init__(self, *, connect_s: float, total_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=total_s, connect=connect_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # No limit here: the lanes' own bounds are the limit, and no lane may wait for another's connection.
            connector=AnswerConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ssl=_tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=self._timeout,
            headers={"User-Agent": f"signalq/{__version__}", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, order: Order, may_begin: MayBegin | None = None) -> Attempt:
        """POST the order once and say what became of it. Raises nothing but CancelledError.

        `may_begin` is asked once, in the step that writes the first byte; where it says no, no byte goes.
        """
        request = _Body(order.body_to_post(), may_begin)
        began_s, began_ms = time.monotonic(), _now_ms()
        try:
            answer = await self._exchange(order, request)
        except Exception as error:  # noqa: BLE001 - whatever broke, all that matters is whether bytes went out
            return _broken(error, request, duration_s=time.monotonic() - began_s)
        finally:
            request.is_withdrawn = True
        duration_s = time.monotonic() - began_s
        if not request.sent:
            why = "answered before anything was sent"
            return Attempt("not taken", sent=False, why=why, status=answer.status, duration_s=duration_s)
        attempt = attempt_of(answer, order.policy, began_ms, _now_ms(), duration_s=duration_s)
        if attempt.certainty == "accepted":
            return attempt
        return replace(attempt, answer=shown(answer.body, *_blankers(order)))

    async def _exchange(self, order: Order, request: _Body) -> Answer:
        """POST, and read the answer; of a body that is longer than any success, a little more than that."""
        if self._session is None:
            raise RuntimeError("use Webhook in an async with block")
        async with self._session.post(order.policy.url, data=request, allow_redirects=False) as response:
            body = bytearray()
            if 200 <= response.status <= 299:
                await _read(response, body)
            else:
                await _glance(response, body)
            return Answer(response.status, response.headers, bytes(body))


def _tls() -> ssl.SSLContext:
    """Like aiohttp's own, but made now: that one writes keys where SSLKEYLOGFILE was set at its import."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _blankers(order: Order) -> list[Blanker]:
    """The blankers of all configured secrets, and of the order's own."""
    own = [token for token in (order.intent.connector_token, order.policy.token) if token]
    return [Blanker(own, names=[order.connector]), order.policy.blanker]


async def _read(response: aiohttp.ClientResponse, body: bytearray) -> None:
    """Read the body, up to a little more than a success could have."""
    async for chunk in response.content.iter_any():
        body += chunk[: SUCCESS_BYTES_MAX + 1 - len(body)]
        if len(body) > SUCCESS_BYTES_MAX:
            return


async def _glance(response: aiohttp.ClientResponse, body: bytearray) -> None:
    """Read what has come of the body, or comes at once: the status counts, however the body ends."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_BODY_S):
                await _read(response, body)
        # Where the loop was busy, the time ended before anybody looked at what had come.
        body += response.content.read_nowait(SUCCESS_BYTES_MAX + 1 - len(body))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _NotSent(Exception):
    """The POST ended before its first byte."""


class _Body(aiohttp.BytesPayload):
    """The body of one POST, and the one place that says whether any byte of the POST may have gone out.

    aiohttp keeps a request's head until its body is written, and sends both together: the first byte goes out in
    `write_with_length`, and nothing is awaited there between the last look, the mark and that byte.
    """

    def __init__(self, body: bytes, may_begin: MayBegin | None) -> None:
        super().__init__(body, content_type="application/json")
        self.sent = False
        self.is_refused = False
        # The POST is over: a byte that has not gone yet never goes.
        self.is_withdrawn = False
        self._may_begin = may_begin

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Look a last time, and write. Raises _NotSent where nothing is written. See aiohttp.Payload."""
        if self._may_begin is not None and not await self._may_begin():
            self.is_refused = True
            raise _NotSent
        transport = cast("StreamWriter", writer).transport
        if self.is_withdrawn or transport is None or transport.is_closing():
            raise _NotSent
        self.sent = True
        await super().write_with_length(writer, content_length)


def _broken(error: Exception, request: _Body, *, duration_s: float) -> Attempt:
    """An attempt without a (whole) answer."""
    what = "timed out" if isinstance(error, TimeoutError) else type(error).__name__
    if isinstance(error, AnswerTooLong):
        what = f"{error},"
    if request.is_refused:
        why = "too late or not allowed any more once there was a connection"
        return Attempt("not taken", sent=False, why=why, duration_s=duration_s)
    if request.sent:
        return Attempt("unknown", sent=True, why=f"{what} after the request began to go out", duration_s=duration_s)
    return Attempt("not taken", sent=False, why=f"{what} before anything was sent", duration_s=duration_s)
