"""The connections to webhooks: aiohttp makes and keeps them; what goes over one of them is our own."""

import asyncio
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from signalq.consumer.webhook.answer_reader import AnswerReader


class Connector(aiohttp.TCPConnector):
    """Looks up names, makes connections (IPv6 or IPv4, TLS), and keeps the idle ones for a while."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(Connection, loop=self._loop)


class Connection(ResponseHandler):
    """One connection, which carries one request at a time.

    From aiohttp's own class it has what a connector needs: how it is opened and closed. It reads by an AnswerReader.
    """

    _reader: AnswerReader | None = None

    @property
    def should_close(self) -> bool:
        """Whether it can't be used again: it has carried a request, and not exactly the whole answer to it."""
        return self._reader is not None and not self._reader.is_clean

    def begin(self) -> tuple[asyncio.WriteTransport, AnswerReader]:
        """Where to write a request, and the reader of its answer. Raises ServerDisconnectedError where it has ended."""
        if self.transport is None or self.transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        self._reader = AnswerReader(self, self._loop)
        return self.transport, self._reader

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to the reader. Bytes that nobody has asked for end the connection. See asyncio.Protocol."""
        if self._reader is None or self._reader.answer.done():
            self.close()
        else:
            self._reader.feed(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the reader. See asyncio.Protocol."""
        if self._reader is not None:
            self._reader.end(exc)
        super().connection_lost(exc)

    def pause_reading(self) -> None:
        """Nothing to do: what comes is read at once, and the reader has bounds. See ResponseHandler."""

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - as aiohttp has it
        """Nothing to do, as nothing was paused. See ResponseHandler."""

    def close(self) -> None:
        """Close it. What is left of a request without an answer never goes out. See ResponseHandler."""
        if self.transport is not None and self.should_close:
            self.transport.abort()
        super().close()
