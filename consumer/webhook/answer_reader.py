"""Reading a webhook's answer: a bounded part of it, and so little at a time that the loop serves others, too.

aiohttp parses all bytes that a read of its socket brings in one go, up to 256 KiB. That may be 14,000 interim answers
(`HTTP/1.1 103`), and a webhook may send them for as long as it likes.
"""

import asyncio
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

INTERIM_MAX = 8
ANSWER_BYTES_MAX = 65_536
# So much of an answer is parsed at a time: a flood of interim ones is recognized after 0.5 ms.
SLICE_BYTES = 2_048


class AnswerTooLong(aiohttp.ClientError):
    """The final status did not come within INTERIM_MAX interim answers, or ANSWER_BYTES_MAX."""


class AnswerConnector(aiohttp.TCPConnector):
    """Connections with an AnswerReader each."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(AnswerReader, loop=self._loop)


class AnswerReader(ResponseHandler):
    """One connection. Bytes beyond the bounds are not read, and the connection is not used again.

    A short answer is parsed as it comes; a longer one slice by slice, a step of the loop each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._begin()

    def _begin(self) -> None:
        self._unread = b""
        self._bytes_left = ANSWER_BYTES_MAX
        self._interim_left = INTERIM_MAX
        self._is_final = False
        self._next_slice: asyncio.Handle | None = None
        self._lost: tuple[BaseException | None] | None = None

    @property
    def should_close(self) -> bool:
        """Whether it can't be used again: the bounds were met, or there is more than was asked for."""
        return bool(super().should_close or self._unread or self._bytes_left <= 0)

    def set_response_params(self, **params: Any) -> None:
        """A request begins. See ResponseHandler."""
        self._begin()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take in the bytes that came, and parse the first of them."""
        if self._parser is None:
            super().data_received(data)  # kept, up to a bound, until the next request
            return
        self._unread += data[: max(self._bytes_left - len(self._unread), 0) + 1]
        if self._next_slice is None:
            self._read_on()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """An answer's head has come: interim ones are counted, and lead to nothing. See DataQueue."""
        status = data[0].code
        if 100 <= status <= 199 and status != 101:
            self._interim_left -= 1
        elif self._interim_left >= 0:
            self._is_final = True
            super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection, after the bytes that came before its end."""
        if self._next_slice is None:
            super().connection_lost(exc)
        else:
            self._lost = (exc,)

    def _read_on(self) -> None:
        self._next_slice = None
        if self.transport is None:
            self._unread = b""  # the exchange is over, and we have closed the connection
        part, self._unread = self._unread[:SLICE_BYTES], self._unread[SLICE_BYTES:]
        self._bytes_left -= len(part)
        super().data_received(part)
        if self._interim_left < 0 or self._bytes_left < 0:
            self._stop()
        if self._unread:
            self._next_slice = self._loop.call_soon(self._read_on)
        elif self._lost is not None:
            (lost,), self._lost = self._lost, None
            super().connection_lost(lost)

    def _stop(self) -> None:
        """Read no more. Without a final status the exchange has failed; with one it is complete."""
        self._unread, self._bytes_left = b"", 0
        if not self._is_final:
            what = "more interim answers" if self._interim_left < 0 else "more bytes"
            self.set_exception(AnswerTooLong(f"{what} than are read before the final one"))
        if self.transport is not None:
            self.transport.abort()
