"""A request's body, read within bounds: however many large ones come, from whomever, they hold no alert up."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from signalq.errors import Problem
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.producers.gateway.alerts import Batch, Refusal
from signalq.producers.gateway.answers import ANSWER_S
from signalq.producers.gateway.refusals import REPEAT_AFTER_S, TOO_LARGE, Refusals

# TradingView's messages are smaller. Of larger bodies so many are here at once. One of them is judged at a time, and
# after it small ones have as much time.
SMALL_BODY_BYTES = 4_096
LARGE_MAX = 250
NOT_JUDGED = Refusal(503, (Problem(None, "too many requests at once"),), retry_after_s=REPEAT_AFTER_S)
# Each chunk costs as much as a whole alert does, however small it is.
CHUNKS_MAX = 1_024


class AlertReader:
    """Reads requests as alerts; `read_body` judges a body."""

    def __init__(self, read_body: Callable[[bytes], Batch | Refusal], refusals: Refusals) -> None:
        self._read_body = read_body
        self._refusals = refusals
        self._judging = asyncio.Lock()
        self._large = asyncio.Semaphore(LARGE_MAX)

    async def read(self, request: web.Request, began_s: float) -> Batch | Refusal:
        """The alerts of a request that came at `began_s`. Raises HTTPRequestEntityTooLarge."""
        if unread := self._refused_unread(request):
            return unread
        if is_small(request):
            body = await _body(request)
            return body if isinstance(body, Refusal) else self._read_body(body)
        async with self._large:
            body = await _body(request)
            return body if isinstance(body, Refusal) else await self._judge(request, body, began_s)

    def _refused_unread(self, request: web.Request) -> Refusal | None:
        """The refusal for which the headers are reason enough."""
        if request.headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}:
            return Refusal(415, (Problem(None, "the body is compressed: send it as it is"),))
        if (request.content_length or 0) > BODY_BYTES_MAX:
            return TOO_LARGE
        if is_small(request):
            return None
        return self._refusals.flooding(request) or (NOT_JUDGED if self._large.locked() else None)

    async def _judge(self, request: web.Request, body: bytes, began_s: float) -> Batch | Refusal:
        """The alerts of a large body, when its turn has come."""
        try:
            async with asyncio.timeout(began_s + ANSWER_S - time.monotonic()), self._judging:
                if flooding := self._refusals.flooding(request):
                    return flooding
                judging_s = time.monotonic()
                batch = self._read_body(body)
                await asyncio.sleep(time.monotonic() - judging_s)
                return batch
        except TimeoutError:
            return NOT_JUDGED


def is_small(request: web.Request) -> bool:
    """Whether the headers promise a small body."""
    return request.content_length is not None and request.content_length <= SMALL_BODY_BYTES


async def _body(request: web.Request) -> bytes | Refusal:
    """The whole body, if it comes in time. Raises HTTPRequestEntityTooLarge."""
    try:
        async with asyncio.timeout(ANSWER_S):
            if request.content_length is not None:
                return await request.read()
            return await _chunked_body(request)
    except TimeoutError:
        return Refusal(408, (Problem(None, "the body did not come in time"),))
    except web.RequestPayloadError:
        return Refusal(400, (Problem(None, "the body is not encoded as its headers say"),))


async def _chunked_body(request: web.Request) -> bytes | Refusal:
    body, chunks = bytearray(), 0
    async for part, is_whole in request.content.iter_chunks():
        body += part
        chunks += is_whole
        if len(body) > BODY_BYTES_MAX:
            raise web.HTTPRequestEntityTooLarge(BODY_BYTES_MAX, len(body), reason=TOO_LARGE.problems[0].message)
        if chunks > CHUNKS_MAX:
            return Refusal(400, (Problem(None, f"the body comes in more than {CHUNKS_MAX} chunks"),))
    return bytes(body)
