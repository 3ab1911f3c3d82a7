"""The connections to webhooks: aiohttp makes and keeps them; what goes over one of them is our own.

Through a proxy a connection is a tunnel, to webhooks with TLS and without: so all that a proxy says was said before
there was a request, and what a webhook says comes from the webhook. aiohttp's own way through a proxy makes a tunnel
for TLS alone, and reads the proxy's answer by a response of its own, which Connection does not have.
"""

import asyncio
import select
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from signalq.amqp.address import is_loopback
from signalq.causes import plain_words
from signalq.consumer.webhook.answer_reader import AnswerReader
from signalq.consumer.webhook.tunnel import NoTunnel, Proxy, TunnelReader


class Connector(aiohttp.TCPConnector):
    """Looks up names, makes connections (IPv6 or IPv4, TLS), and keeps the idle ones for a while.

    With a `proxy` they go through it, but for those to this machine: its loopback is not the proxy's.
    """

    def __init__(self, *, proxy: Proxy | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = partial(Connection, loop=self._loop)
        self._proxy = proxy

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        """Make a connection, through the proxy where there is one. Raises NoTunnel. See TCPConnector."""
        if self._proxy is None or is_loopback(req.host):
            return await super()._create_connection(req, traces, timeout)
        try:
            transport, made = await self._create_direct_connection(self._proxy.address, traces, timeout)
        except aiohttp.ClientConnectorError as error:
            raise NoTunnel(f"the proxy took no connection ({plain_words(error)})") from error
        try:
            await cast("Connection", made).become_tunnel(self._proxy.connect_to(req.url))
            if req.is_ssl():
                _, made = await self._start_tls_connection(transport, req, timeout)
        except BaseException:
            transport.abort()
            raise
        return made


class Connection(ResponseHandler):
    """One connection, which carries one request at a time.

    From aiohttp's own class it has what a connector needs: how it is opened and closed. It reads by an AnswerReader.
    """

    _reader: AnswerReader | TunnelReader | None = None

    @property
    def should_close(self) -> bool:
        """Whether it can't be used again: it has carried a request, and not exactly the whole answer to it."""
        return self._reader is not None and not self._reader.is_clean

    def is_connected(self) -> bool:
        """Whether a request may go over it: it has not ended, and nothing has come on it that belongs to no request.

        The socket is asked, as the event loop may not have come to read that yet. What a server said before it got a
        request (408, say) would else be taken for the answer to it. A new connection over TLS may bring keys.
        """
        if self.transport is None or self.transport.is_closing():
            return False
        is_new_tls = self._reader is None and self.transport.get_extra_info("sslcontext") is not None
        return is_new_tls or not _has_news(self.transport)

    def begin(self) -> tuple[asyncio.WriteTransport, AnswerReader]:
        """Where to write a request, and the reader of its answer. Raises ServerDisconnectedError where it has ended."""
        if self.transport is None or not self.is_connected():
            raise aiohttp.ServerDisconnectedError
        self._reader = reader = AnswerReader(self, self._loop)
        return self.transport, reader

    async def become_tunnel(self, request: bytes) -> None:
        """Ask the proxy at its other end for a tunnel; return once it stands. Raises NoTunnel."""
        self._reader = reader = TunnelReader(self._loop)
        self._open_transport().write(request)
        await reader.answer
        self._open_transport()
        self._reader = None

    def _open_transport(self) -> asyncio.WriteTransport:
        """The way to the proxy, as far as is known. Raises NoTunnel where it has ended."""
        if self.transport is None or self.transport.is_closing():
            raise NoTunnel("the proxy cut the connection off")
        return self.transport

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


def _has_news(transport: asyncio.BaseTransport) -> bool:
    """Whether bytes, or the end, have come that nobody has read yet."""
    asking = select.poll()
    asking.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(asking.poll(0))
