"""aio-pika's connection and aiormq's channel, amended.

The connection ends when it is closed, and lets nothing wait for a dead one. It is not one of aio-pika's robust
connections: those restore themselves unseen, and an order needs to know on which channel it came (an acknowledgement
belongs to the channel that delivered). The holder of a connection opens the next.

The channel takes queues of every name that RabbitMQ takes: any UTF-8 of at most 255 bytes. pamqp allows only letters,
digits and `-_.:@#,/+ ` there, and raises ValueError for any other; but a lane has the name of its connector, which may
be any text. So this channel sends pamqp's own frames without that check, and pamqp stays as it is for all other code in
the process. Exchanges don't need this: their names come from the prefix alone.
"""

import asyncio
from typing import Any, cast

import aio_pika
import aiormq
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.tools import awaitable
from pamqp.base import Frame
from pamqp.commands import Basic, Queue
from yarl import URL

GOODBYE_TIMEOUT_S = 4.0
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
        await closing


def _end_every_wait(connection: aiormq.abc.AbstractConnection) -> None:
    """Amend aiormq's connection in two places, so that every wait for it ends with it, by an error.

    Its queue of frames to write has room for ten. After the connection has died nothing makes room, and an
    acknowledgement that waits for room waits for ever. So nothing waits for room: the windows of the lanes, and what a
    publisher may have in flight, bound the queue.

    After too long without a sign of life, aiormq ends each wait for an answer with a CancelledError. Taken for a real
    cancellation, that would end the task, and with the task of a lane the consumer.
    """
    amended = cast("Any", connection)
    amended.write_queue.full = lambda: False
    close = amended.close

    async def close_with_an_error(exc: Any = None, timeout: Any = None) -> None:
        await close(exc if isinstance(exc, Exception) else aiormq.AMQPConnectionError(ENDED), timeout)

    amended.close = close_with_an_error


class Socket(TransportFactory):
    """aiormq's socket to the broker, within reach.

    `received` has the last bytes that came while the connection was being made, at most RECEIVED_BYTES_MAX.
    """

    _reader: asyncio.StreamReader

    def __init__(self, url: URL) -> None:
        self._open = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None
        self.received = b""

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._reader, self._writer = await self._open.create(url, **kwargs)
        feed = self._reader.feed_data

        def feed_and_keep(data: bytes) -> None:
            self.received = bytes(data[-RECEIVED_BYTES_MAX:])
            feed(data)

        self._reader.feed_data = feed_and_keep  # type: ignore[method-assign,assignment]
        return self._reader, self._writer

    def forget(self) -> None:
        """Keep no more bytes: the connection is made."""
        del self._reader.feed_data

    def hang_up(self) -> None:
        """Close the socket at once; unsent bytes are lost."""
        if self._writer is not None:
            self._writer.transport.abort()


def _unchecked(frame: type[Frame]) -> Any:
    """The frame without pamqp's check of its fields."""
    return type(frame.__name__, (frame,), {"validate": lambda _frame: None})


_Declare = _unchecked(Queue.Declare)
_Bind = _unchecked(Queue.Bind)
_Unbind = _unchecked(Queue.Unbind)
_Consume = _unchecked(Basic.Consume)


class AnyNameChannel(aiormq.Channel):
    """aiormq's calls that name a queue, for any name; `frame` holds the other fields of the frame."""

    async def queue_declare(self, queue: str = "", *, timeout: Any = None, **frame: Any) -> Any:
        return await self.rpc(_Declare(queue=queue, **frame), timeout=timeout)

    async def queue_bind(  # type: ignore[override]
        self, queue: str, exchange: str, routing_key: str = "", *, timeout: Any = None, **frame: Any
    ) -> Any:
        return await self.rpc(_Bind(queue=queue, exchange=exchange, routing_key=routing_key, **frame), timeout=timeout)

    async def queue_unbind(  # type: ignore[override]
        self, queue: str = "", exchange: str = "", routing_key: str = "", *, timeout: Any = None, **frame: Any
    ) -> Any:
        unbind = _Unbind(queue=queue, exchange=exchange, routing_key=routing_key, **frame)
        return await self.rpc(unbind, timeout=timeout)

    async def basic_consume(
        self, queue: str, consumer_callback: Any, *, consumer_tag: str | None = None, timeout: Any = None, **frame: Any
    ) -> Any:
        tag = consumer_tag or f"signalq.{self.number}.{len(self.consumers)}"
        self.consumers[tag] = awaitable(consumer_callback)
        return await self.rpc(_Consume(queue=queue, consumer_tag=tag, **frame), timeout=timeout)
