"""One plain AMQP connection and its channels, with every wait bounded and no password in any error.

The connections are not aio-pika's robust ones: those restore themselves unseen, and an order needs to know on which
channel it came (an acknowledgement belongs to the channel that delivered). Who holds a connection opens the next one.
The channels are those of aiormq, the layer below aio-pika: they pass a message's properties on as they are.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from typing import Any, cast

import aio_pika
import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, FieldTable
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp import decode, encode
from pamqp.exceptions import PAMQPException
from yarl import URL

from signalq.amqp.address import SCHEMES, tls_context
from signalq.amqp.channel import taking_any_name
from signalq.amqp.header_table import read_header_table
from signalq.amqp.unreachable import unreachable
from signalq.errors import BrokerUnreachable
from signalq.names import UNREADABLE_HEADERS
from signalq.secrets.masking import masked

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 4.0
HEARTBEAT_S = 10
# Of an answer, to tell why it is none of RabbitMQ's.
RECEIVED_BYTES_MAX = 1_024
ENDED = "the connection was closed, or gave no sign of life for too long"
# RabbitMQ's well-known one, where a URL names none.
DEFAULT_USER = "guest"

# What a broken, refused or misunderstood connection raises. StopAsyncIteration is aiormq's for a server that hangs up
# in the middle of the handshake.
CONNECTION_ERRORS = (
    aiormq.AMQPError,
    ConnectionError,
    OSError,
    asyncio.TimeoutError,
    PAMQPException,
    RuntimeError,
    StopAsyncIteration,
)


def user_of(url: str) -> str:
    """The user that a connection to this URL is opened as; `connect` says what is wrong with a URL that is none."""
    try:
        return URL(url).user or DEFAULT_USER
    except ValueError:
        return DEFAULT_USER


async def connect(
    url: str, *, name: str, heartbeat_s: int = HEARTBEAT_S, timeout_s: float = CONNECT_TIMEOUT_S
) -> AbstractConnection:
    """Open a connection that shows up as `name` in RabbitMQ's lists. Raises BrokerUnreachable, which says why."""
    connection: _Connection | None = None
    try:
        async with asyncio.timeout(timeout_s):
            connection = _Connection(
                URL(url).update_query(heartbeat=heartbeat_s),
                ssl_context=await _tls_context(url),
                client_properties={"connection_name": name},
            )
            await connection.connect()
            return connection
    except TimeoutError:
        raise BrokerUnreachable(
            f"no answer from RabbitMQ at {masked(url)} within {timeout_s:g} s",
            "check host and port in broker.url, and that no firewall is in between",
        ) from None
    except asyncio.CancelledError:
        if somebody_cancelled():
            raise
        raise BrokerUnreachable(f"the connection to RabbitMQ at {masked(url)} was closed as it was opened") from None
    except Exception as error:
        if not is_connection_error(error) and not isinstance(error, ValueError):
            raise
        raise unreachable(error, url, connection.received if connection else b"") from None


async def _tls_context(url: str) -> ssl.SSLContext | None:
    parsed = URL(url)
    if parsed.scheme not in SCHEMES:
        # aiormq would speak plain AMQP there.
        raise ValueError("no URL of a broker")
    return await asyncio.to_thread(tls_context, parsed) if parsed.scheme == "amqps" else None


class _Connection(aio_pika.Connection):
    """One that ends when it is closed, and that never came to be is closed at once."""

    _socket: _Socket | None = None

    @property
    def received(self) -> bytes:
        """The last bytes that the server has sent while the connection was made."""
        return self._socket.received if self._socket else b""

    def __del__(self) -> None:
        """Nothing: whoever opened it closes it.

        aio-pika's would close itself here, in whichever thread and process the garbage collector happens to run: after
        a fork the child would take leave of the broker in its parent's name.
        """

    async def connect(self, timeout: float | None = None) -> None:
        self._socket = _Socket(self.url)
        self.kwargs["transport_factory"] = self._socket
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            self._socket.hang_up()  # canceled in the last moment, it is open and nobody's
            raise
        self._socket.forget()
        if self.transport is not None:
            _end_every_wait(self.transport.connection)

    async def close(self, exc: aiormq.abc.ExceptionType | None = aiormq.exceptions.ConnectionClosed) -> None:
        """Take leave of the broker, for CLOSE_TIMEOUT_S; then hang up.

        A broker in need (memory, disk) reads no more from who publishes: once the buffers are full, aiormq would wait
        for ever to get the last bytes out, and can't be canceled.
        """
        closing = asyncio.ensure_future(super().close(exc))
        try:
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        finally:
            if not closing.done() and self._socket is not None:
                self._socket.hang_up()
        await closing


def _end_every_wait(connection: aiormq.abc.AbstractConnection) -> None:
    """Change two things of aiormq's connection, so that whatever waits for it ends with it, by an error.

    Its queue of frames to be written has room for ten. Once the connection has died nobody makes room, and an
    acknowledgement that waits for some waits for ever. So nobody waits for room: the windows of the lanes, and what may
    be in flight of a publisher, bound the queue.

    Where no sign of life came for too long, it ends what waits for an answer with a CancelledError; taken for real,
    that ends the task, and with the task of a lane the consumer.
    """
    amended = cast("Any", connection)
    amended.write_queue.full = lambda: False
    close = amended.close

    async def close_with_an_error(exc: Any = None, timeout: Any = None) -> None:
        await close(exc if isinstance(exc, Exception) else aiormq.AMQPConnectionError(ENDED), timeout)

    amended.close = close_with_an_error


class _Socket(TransportFactory):
    """aiormq's own way to the broker, remembered; and what came in last, until the connection is made."""

    def __init__(self, url: URL) -> None:
        self._open = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self.received = b""

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        self._reader, self._writer = await self._open.create(url, **kwargs)
        feed = self._reader.feed_data

        def feed_and_note(data: bytes) -> None:
            self.received = bytes(data[-RECEIVED_BYTES_MAX:])
            feed(data)

        self._reader.feed_data = feed_and_note  # type: ignore[method-assign,assignment]
        return self._reader, self._writer

    def forget(self) -> None:
        """The connection is made: note nothing any more."""
        if self._reader is not None:
            del self._reader.feed_data
        self._reader = None

    def hang_up(self) -> None:
        """What is not sent yet is lost."""
        if self._writer is not None:
            self._writer.transport.abort()


async def open_channel(
    connection: AbstractConnection, *, confirms: bool = False, prefetch: int | None = None
) -> AbstractChannel:
    """Open a channel; with `confirms`, publishes on it wait for the broker and unroutable ones raise.

    Raises BrokerUnreachable where the connection is gone or doesn't answer within CONNECT_TIMEOUT_S.
    """
    transport = connection.transport
    if transport is None:
        raise BrokerUnreachable("the connection to RabbitMQ is closed")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            opened = await transport.connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
            channel = taking_any_name(opened)
            if prefetch is not None:
                await channel.basic_qos(prefetch_count=prefetch)
            return channel
    except asyncio.CancelledError as error:
        if somebody_cancelled():
            raise
        raise BrokerUnreachable("the connection was closed while RabbitMQ opened a channel") from error
    except Exception as error:
        if not is_connection_error(error):
            raise
        raise BrokerUnreachable(f"RabbitMQ opened no channel ({type(error).__name__})") from error


def is_connection_error(error: BaseException) -> bool:
    """Whether it says that the connection broke, or was refused or misunderstood.

    aiormq ends what waits for an answer with a bare Exception where it does not know why the connection was closed.
    """
    return isinstance(error, CONNECTION_ERRORS) or type(error) is Exception


def somebody_cancelled() -> bool:
    """Whether a CancelledError that arrives here was meant for the present task.

    When a connection is closed while it is opened or the broker blocks it, aiormq ends what waits for an answer with a
    CancelledError of its own; taken for real, it would end a task that nobody wanted to end.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def handle_foreign_properties() -> None:
    """Read what any producer may set, and pass it on as it came: for processes of signalq's own.

    It changes the codec of the whole process. So whoever reads foreign messages calls it before it connects, and the
    SDK never does: it lives in programs that may have connections of their own.
    """
    read_foreign_properties_leniently()
    write_headers_as_they_came()


def read_foreign_properties_leniently() -> None:
    """Let no message's properties end our connection.

    pamqp raises on a `timestamp` outside its calendar (a producer that sends microseconds is enough), on short
    strings that are not UTF-8 and on header tables it can't read. The error ends the connection, the message is
    delivered again, and nothing behind it is ever read. With these decoders it is read, and can be refused by name.
    Calling this twice changes nothing.
    """
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_string
    decode.METHODS["table"] = _header_table


def write_headers_as_they_came() -> None:
    """Pass on a producer's headers as they came: pamqp writes every float with 32 bits, or not at all, cuts names to
    128 bytes of the 255 that AMQP has for them, and logs each name that it cuts.

    Calling this twice changes nothing.
    """
    encode.encode_table_value = _table_value
    encode.field_table = encode.METHODS["table"] = _written_table


_table_value_of_pamqp = encode.encode_table_value


def _table_value(value: Any) -> bytes:
    if isinstance(value, float):
        return b"d" + encode.double(value)
    return _table_value_of_pamqp(value)


def _written_table(value: FieldTable) -> bytes:
    values = [encode.short_string(name) + encode.encode_table_value(item) for name, item in (value or {}).items()]
    written = b"".join(values)
    return len(written).to_bytes(4, "big") + written


def _timestamp(value: bytes) -> tuple[int, dt.datetime | None]:
    """Whole seconds since the epoch; None beyond the year 9999 (an unreadable date is no date)."""
    try:
        return 8, dt.datetime.fromtimestamp(int.from_bytes(value[:8], "big"), tz=dt.UTC)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _short_string(value: bytes) -> tuple[int, str]:
    length = value[0]
    return length + 1, value[1 : length + 1].decode("utf-8", "backslashreplace")


def _header_table(value: bytes) -> tuple[int, dict[str, Any]]:
    try:
        return read_header_table(value, timestamp=_timestamp)
    except (ValueError, ArithmeticError):
        return 4 + int.from_bytes(value[:4], "big"), {UNREADABLE_HEADERS: True}
