"""One POST under one deadline, and how certain we are that the order was taken.

An exception's type does not tell whether the order left this machine (a total time-out can strike before the
connection or after the last byte). The step that writes the request does: see _Body.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, Certainty
from signalq.consumer.webhook.answer_reader import AnswerConnector, AnswerTooLong
from signalq.consumer.webhook.shown_answer import shown
from signalq.secrets.blanking import Blanker
from signalq.version import __version__

# Of the body of a success; every success body is far shorter.
SUCCESS_BYTES_MAX = 4096
# Idle connections are dropped well before servers drop them (5 s is a common default): a POST written into a
# connection that is just being closed has an outcome that nobody knows.
KEEPALIVE_S = 2.0
RETRY_AFTER_DIGITS_MAX = 9
# Where its status has said it all, what an answer says of itself beyond it is waited for no longer: the time for what
# was sent right behind the head, be it far away. Until then nothing is on disk, and the lane waits.
ANSWER_BODY_S = 0.2

MayBegin = Callable[[], Awaitable[bool]]

# Answers that say the order did not reach the platform, or was turned away before it was looked at. 52x are
# Cloudflare's: 521 and 523 no connection to the origin, 525 and 526 no TLS with it.
NOT_TAKEN_STATUSES = frozenset({425, 429, 521, 523, 525, 526})
# These say so only together with Retry-After; without one they may come from a server that gave up half way.
NOT_TAKEN_WITH_RETRY_AFTER = frozenset({408, 503})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`connect_s` bounds getting a connection, `total_s` the whole POST with its answer."""

    connect_s: float
    total_s: float


def certainty_of(
    status: int, *, has_retry_after: bool, is_success_body: bool, not_taken_statuses: frozenset[int]
) -> Certainty:
    """What an answer says of the order: exactly one certainty for every status."""
    if 200 <= status <= 299:
        return "accepted" if is_success_body else "unknown"
    if status in not_taken_statuses or status in NOT_TAKEN_STATUSES:
        return "not taken"
    if status in NOT_TAKEN_WITH_RETRY_AFTER and has_retry_after:
        return "not taken"
    if status == 408 or not 300 <= status <= 499:
        return "unknown"
    return "refused"


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, from seconds or an HTTP date; None where it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text.lstrip("0")[:RETRY_AFTER_DIGITS_MAX] or "0")
    date = _date(text)
    return max(0.0, (date - now).total_seconds()) if date is not None else None


class Webhook:
    """The HTTP client of the consumer: one session, no cookies, no redirects, no proxies, no repeats of its own."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # No limit here: the lanes' own bounds are the limit, and no lane may wait for another's connection.
            connector=AnswerConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ssl=_tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=self._timeouts.total_s, connect=self._timeouts.connect_s),
            headers={"User-Agent": f"signalq/{__version__}", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, order: Order, may_begin: MayBegin | None = None) -> Attempt:
        """POST the order once and say what became of it. Raises nothing but CancelledError.

        `may_begin` is asked once, in the step that writes the first byte; where it says no, none goes.
        """
        request = _Body(order.body_to_post(), may_begin)
        began_s, began_ms = time.monotonic(), _now_ms()
        try:
            status, headers, answer = await self._exchange(order, request)
        except Exception as error:  # noqa: BLE001 - whatever broke, all that matters is whether bytes went out
            return _broken(error, request, duration_s=time.monotonic() - began_s)
        finally:
            request.withdraw()
        duration_s = time.monotonic() - began_s
        if not request.sent:
            why = "answered before anything was sent"
            return Attempt("not taken", sent=False, why=why, status=status, duration_s=duration_s)
        attempt = _answered(order, status, headers, answer, duration_s=duration_s)
        ahead_ms = clock_ahead_ms(headers.get("Date"), began_ms, _now_ms())
        told = None if attempt.certainty == "accepted" else shown(answer or b"", *_blankers(order))
        return replace(attempt, answer=told, clock_ahead_ms=ahead_ms)

    async def _exchange(self, order: Order, request: _Body) -> tuple[int, Mapping[str, str], bytes | None]:
        """Status, headers and the beginning of the body: longer than any success where it is longer than that."""
        if self._session is None:
            raise RuntimeError("use Webhook in an async with block")
        async with self._session.post(order.policy.url, data=request, allow_redirects=False) as response:
            body = bytearray()
            if 200 <= response.status <= 299:
                await _read(response, body)
            else:
                await _glance(response, body)
            return response.status, response.headers, bytes(body)


def _tls() -> ssl.SSLContext:
    """As aiohttp's own, which is made when it is imported, and writes keys where SSLKEYLOGFILE was set by then."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _blankers(order: Order) -> list[Blanker]:
    """Of all secrets that are configured, and of the order's own."""
    own = [token for token in (order.intent.connector_token, order.policy.token) if token]
    return [Blanker(own, names=[order.connector]), order.policy.blanker]


async def _read(response: aiohttp.ClientResponse, body: bytearray) -> None:
    """Read its body, up to a little more than a success could have."""
    async for chunk in response.content.iter_any():
        body += chunk[: SUCCESS_BYTES_MAX + 1 - len(body)]
        if len(body) > SUCCESS_BYTES_MAX:
            return


async def _glance(response: aiohttp.ClientResponse, body: bytearray) -> None:
    """Read what has come of its body, or comes at once: its status counts, however the rest of it ends."""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_BODY_S):
                await _read(response, body)
        # Where the loop was busy, the time was over before what had come was looked at.
        body += response.content.read_nowait(SUCCESS_BYTES_MAX + 1 - len(body))


def clock_ahead_ms(date: str | None, began_ms: int, ended_ms: int) -> tuple[int, int] | None:
    """Our clock is between so much ahead, and so much, of the one that dated an answer in whole seconds while it was
    waited for; None where it has no date.
    """
    at = _date(date)
    if at is None:
        return None
    at_ms = round(at.timestamp() * 1000)
    return began_ms - (at_ms + 1000), ended_ms - at_ms


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text.strip())
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


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
        self._may_begin = may_begin
        self._is_withdrawn = False

    def withdraw(self) -> None:
        """The POST is over: where no byte has gone yet, none ever goes."""
        self._is_withdrawn = True

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Look a last time, and write. Raises _NotSent where nothing is written. See aiohttp.Payload."""
        if self._may_begin is not None and not await self._may_begin():
            self.is_refused = True
            raise _NotSent
        transport = cast("StreamWriter", writer).transport
        if self._is_withdrawn or transport is None or transport.is_closing():
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


def _answered(
    order: Order, status: int, headers: Mapping[str, str], body: bytes | None, *, duration_s: float
) -> Attempt:
    # Whoever names a moment names it by its own clock.
    wait_s = retry_after_s(headers.get("Retry-After"), _date(headers.get("Date")) or datetime.now(UTC))
    is_success_body = _is_success(body, order.policy.success_body)
    certainty = certainty_of(
        status,
        has_retry_after=wait_s is not None,
        is_success_body=is_success_body,
        not_taken_statuses=order.policy.not_taken_statuses,
    )
    why = f"HTTP {status}"
    if certainty == "unknown" and 200 <= status <= 299:
        why += " with another body than expected"
    return Attempt(certainty, sent=True, why=why, status=status, retry_after_s=wait_s, duration_s=duration_s)


def _is_success(body: bytes | None, success_body: str) -> bool:
    """Trimmed, case ignored; an empty success_body accepts whatever came.

    Of ASCII's letters alone: to Unicode the Kelvin sign is a capital k, and nobody meant that by `ok`.
    """
    if not success_body:
        return True
    if body is None or len(body) > SUCCESS_BYTES_MAX:
        return False
    return body.strip().lower() == success_body.strip().encode().lower()
