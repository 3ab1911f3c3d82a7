"""One POST under one deadline, and how certain we are that the order was taken.

An exception's type does not tell whether the order left this machine (a total time-out can strike before the
connection or after the last byte). aiohttp's trace hooks do: the one for a connection in hand fires before the first
byte is written, so "not sent" is a fact and everything else is "may have been sent".
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Self

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from consumer.history import Attempt, Certainty
from consumer.order import Order
from signalq.version import __version__

ANSWER_BYTES_MAX = 4096
# Idle connections are dropped well before servers drop them (5 s is a common default): a POST written into a
# connection that is just being closed has an outcome that nobody knows.
KEEPALIVE_S = 2.0
RETRY_AFTER_DIGITS_MAX = 9

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
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())


class Webhook:
    """The HTTP client of the consumer: one session, no cookies, no redirects, no proxies, no repeats of its own."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # No limit here: the lanes' own bounds are the limit, and no lane may wait for another's connection.
            connector=_Connector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=self._timeouts.total_s, connect=self._timeouts.connect_s),
            trace_configs=[_sent_tracer()],
            headers={"User-Agent": f"signalq/{__version__}", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, order: Order, may_begin: MayBegin | None = None) -> Attempt:
        """POST the order once and say what became of it. Raises nothing but CancelledError.

        `may_begin` is asked once a connection is in hand, directly before the first byte; where it says no, none goes.
        """
        wire = SimpleNamespace(sent=False)
        began_s = time.monotonic()
        try:
            with _asked_before_sending(may_begin, wire):
                status, headers, body = await self._exchange(order, wire)
        except Exception as error:  # noqa: BLE001 - whatever broke, all that matters is whether bytes went out
            return _broken(error, sent=wire.sent, duration_s=time.monotonic() - began_s)
        return _answered(order, status, headers, body, duration_s=time.monotonic() - began_s)

    async def _exchange(self, order: Order, wire: SimpleNamespace) -> tuple[int, Mapping[str, str], bytes | None]:
        """Status, headers and, of a 2xx, the body (None where it is longer than any success could be)."""
        if self._session is None:
            raise RuntimeError("use Webhook in an async with block")
        async with self._session.post(
            order.policy.url,
            data=order.body_to_post(),
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
            trace_request_ctx=wire,
        ) as response:
            if not 200 <= response.status <= 299:
                return response.status, response.headers, None
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    return response.status, response.headers, None
            return response.status, response.headers, bytes(body)


class _MayNotBegin(Exception):
    """It was too late, or forbidden, by the time there was a connection."""


class _Connector(aiohttp.TCPConnector):
    """Asks, with a connection in hand that nothing was written to yet, whether its request may begin."""

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        """See aiohttp.BaseConnector."""
        connection = await super().connect(req, traces, timeout)
        ask = _before_sending.get()
        if ask is not None:
            try:
                await ask()
            except BaseException:
                connection.close()
                raise
        return connection


# What the POST of this task has to ask.
_before_sending: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("before_sending", default=None)


@contextmanager
def _asked_before_sending(may_begin: MayBegin | None, wire: SimpleNamespace) -> Iterator[None]:
    """Within the block each connection asks `may_begin`; until it has said yes, nothing counts as sent."""

    async def ask() -> None:
        wire.sent = False
        if may_begin is not None and not await may_begin():
            raise _MayNotBegin
        wire.sent = True

    token = _before_sending.set(ask)
    try:
        yield
    finally:
        _before_sending.reset(token)


def _sent_tracer() -> aiohttp.TraceConfig:
    """Marks `sent` on the request's context from the moment when its bytes could go out."""

    async def mark(_session: object, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.sent = True

    tracer = aiohttp.TraceConfig()
    tracer.on_connection_create_end.append(mark)
    tracer.on_connection_reuseconn.append(mark)
    tracer.on_request_headers_sent.append(mark)
    return tracer


def _broken(error: Exception, *, sent: bool, duration_s: float) -> Attempt:
    """An attempt without a (whole) answer."""
    what = "timed out" if isinstance(error, TimeoutError) else type(error).__name__
    if isinstance(error, _MayNotBegin):
        why = "too late or not allowed any more once there was a connection"
        return Attempt("not taken", sent=False, why=why, duration_s=duration_s)
    if sent:
        return Attempt("unknown", sent=True, why=f"{what} after the request began to go out", duration_s=duration_s)
    return Attempt("not taken", sent=False, why=f"{what} before anything was sent", duration_s=duration_s)


def _answered(
    order: Order, status: int, headers: Mapping[str, str], body: bytes | None, *, duration_s: float
) -> Attempt:
    wait_s = retry_after_s(headers.get("Retry-After"), datetime.now(UTC))
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
    """Trimmed, case ignored; an empty success_body accepts whatever came."""
    if not success_body:
        return True
    return body is not None and body.decode("utf-8", "replace").strip().lower() == success_body.strip().lower()
