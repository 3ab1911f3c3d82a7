"""aio-pika's connection, amended: it ends when it is closed, and lets nothing wait for a dead one.

It is not one of aio-pika's robust connections: those restore themselves unseen, and an order needs to know on which
channel it came (an acknowledgement belongs to the channel that delivered). The holder of a connection opens the next.
"""

import asyncio
from typing import Any, cast

import aio_pika
import aiormq
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from signalq.amqp.incoming import Incoming
from signalq.amqp.outbox import Outbox

GOODBYE_TIMEOUT_S = 4.0
# Of aiormq, whose connection has no socket any more.
HANG_UP_TIMEOUT_S = 1.0
# Of the server's answer, so much is kept to tell why it is not RabbitMQ's.
RECEIVED_BYTES_MAX = 1_024
ENDED = "the connection was closed, or gave no sign of life for too long"


class PlainConnection(aio_pika.Connection):
    """A connection that ends when it is closed; one that could not be made is closed at once."""

    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, **options)
        self.socket = self.kwargs["transport_factory"] = Socket(url)

    def __del__(self) -> None:
        """Do nothing: the connection's holder closes it.

        aio-pika's would close itself here, in whichever thread and process the garbage collector happens to run. After
        a fork the child would say goodbye to the broker in its parent's name.
        """

    async def connect(self, timeout: float | None = None) -> None:
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            self.socket.hang_up()  # cancelled at the last moment, it is open, and has no holder
            raise
        self.socket.forget()
        if self.transport is not None:
            Outbox.amend(self.transport.connection.write_queue, self.socket.transport)
            _end_every_wait(self.transport.connection)

    async def close(self, exc: aiormq.abc.ExceptionType | None = aiormq.exceptions.ConnectionClosed) -> None:
        """Say goodbye to the broker, for at most GOODBYE_TIMEOUT_S; then hang up.

        A broker in need (memory, disk) stops reading from a connection that publishes. Once the buffers are full,
        aiormq would wait for ever to send its last bytes, and can't be cancelled.
        """
        closing = asyncio.ensure_future(super().close(exc))
        try:
            await asyncio.wait({closing}, timeout=GOODBYE_TIMEOUT_S)
        finally:
            if not closing.done():
                self.socket.hang_up()
                # The rest ends by itself now; canceled before that, as at the end of a loop, it would wait for ever.
                await asyncio.wait({closing}, timeout=HANG_UP_TIMEOUT_S)
        await closing


def _end_every_wait(connection: aiormq.abc.AbstractConnection) -> None:
    """Amend aiormq's connection, so that every wait for an answer ends with it, by an error.

    After too long without a sign of life, aiormq ends each wait for an answer with a CancelledError. Taken for a real
    cancellation, that would end the task, and with the task of a lane the consumer.
    """
    amended = cast("Any", connection)
    close = amended.close

    async def close_with_an_error(exc: Any = None, timeout: Any = None) -> None:
        await close(exc if isinstance(exc, Exception) else aiormq.AMQPConnectionError(ENDED), timeout)

    amended.close = close_with_an_error


class Socket(TransportFactory):
    """aiormq's socket to the broker, within reach: what comes in by it goes through `incoming`.

    `received` has the last bytes that came while the connection was being made, at most RECEIVED_BYTES_MAX.
    """

    incoming: Incoming
    _reader: asyncio.StreamReader

    def __init__(self, url: URL) -> None:
        self._open = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None
        self.received = b""

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._reader, self._writer = await self._open.create(url, **kwargs)
        self.incoming = Incoming(self._reader, cast("asyncio.Transport", self._writer.transport))

        def feed_and_keep(data: bytes) -> None:
            self.received = bytes(data[-RECEIVED_BYTES_MAX:])
            self.incoming.feed(data)

        self._reader.feed_data = feed_and_keep  # type: ignore[method-assign,assignment]
        return self._reader, self._writer

    @property
    def transport(self) -> asyncio.WriteTransport:
        """Where bytes are written, once there is a connection."""
        return cast("asyncio.StreamWriter", self._writer).transport

    def forget(self) -> None:
        """Keep no more bytes: the connection is made."""
        self._reader.feed_data = self.incoming.feed  # type: ignore[method-assign,assignment]

    def hang_up(self) -> None:
        """Close the socket at once; unsent bytes are lost."""
        if self._writer is not None:
            self._writer.transport.abort()
