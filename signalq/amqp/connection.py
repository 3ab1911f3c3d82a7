"""Connect to RabbitMQ and open channels, with every wait bounded and no password in any error.

The channels are those of aiormq, the layer below aio-pika: they pass a message's properties on as they are.
"""

import asyncio
from contextlib import suppress
from typing import cast

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from pamqp.exceptions import PAMQPException
from yarl import URL

from signalq.amqp.address import SCHEMES, tls_context
from signalq.amqp.channel import Channel
from signalq.amqp.transport import GOODBYE_TIMEOUT_S, PlainConnection
from signalq.amqp.unreachable import unreachable
from signalq.causes import advice_on
from signalq.errors import BrokerUnreachable
from signalq.kinds import Kind
from signalq.secrets.masking import masked

CONNECT_TIMEOUT_S = 10.0
# Time for the goodbye of a connection, and a moment to hang up.
CLOSE_TIMEOUT_S = GOODBYE_TIMEOUT_S + 1.0
HEARTBEAT_S = 10
# For the answer to one question or one declaration.
ANSWER_TIMEOUT_S = 30.0

# The errors of a broken, refused or misunderstood connection. aiormq raises StopAsyncIteration where the server hangs
# up in the middle of the handshake.
CONNECTION_ERRORS = (aiormq.AMQPError, OSError, PAMQPException, RuntimeError, StopAsyncIteration)


async def connect(
    url: str, *, name: str, heartbeat_s: int = HEARTBEAT_S, timeout_s: float = CONNECT_TIMEOUT_S
) -> AbstractConnection:
    """Open a connection that RabbitMQ lists as `name`, within `timeout_s`. Raises BrokerUnreachable, which says why."""
    connection: PlainConnection | None = None
    try:
        async with asyncio.timeout(timeout_s):
            parsed = URL(url)
            if parsed.scheme not in SCHEMES:
                raise ValueError("no URL of a broker")  # noqa: TRY301 - aiormq would speak plain AMQP to it
            connection = PlainConnection(
                parsed.update_query(heartbeat=heartbeat_s),
                ssl_context=await asyncio.to_thread(tls_context, parsed) if parsed.scheme == "amqps" else None,
                client_properties={"connection_name": name},
            )
            await connection.connect()
            return connection
    except TimeoutError:
        raise BrokerUnreachable(
            f"no answer from RabbitMQ at {masked(url)} within {timeout_s:g} s",
            advice_on(Kind.NO_ANSWER, "broker.url"),
            kind=Kind.NO_ANSWER,
        ) from None
    except asyncio.CancelledError as error:
        if not is_connection_error(error):
            raise
        raise BrokerUnreachable(f"the connection to RabbitMQ at {masked(url)} was closed as it was opened") from None
    except Exception as error:
        if not is_connection_error(error) and not isinstance(error, ValueError):
            raise
        raise unreachable(error, url, connection.socket.received if connection else b"") from None


async def open_channel(
    connection: AbstractConnection, *, confirms: bool = False, prefetch: int | None = None
) -> Channel:
    """Open a channel. With `confirms`, a publish on it waits for the broker, and raises where no queue takes it.

    `prefetch` is how many unacknowledged messages the broker hands over. Raises BrokerUnreachable where the connection
    is gone, or doesn't answer within CONNECT_TIMEOUT_S.
    """
    transport = connection.transport
    if transport is None:
        raise BrokerUnreachable("the connection to RabbitMQ is closed")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            made = await transport.connection.channel(publisher_confirms=confirms)
            channel = Channel.amend(made, cast("PlainConnection", connection).socket.incoming)
            if prefetch is not None:
                await channel.basic_qos(prefetch_count=prefetch)
            return channel
    except asyncio.CancelledError as error:
        if not is_connection_error(error):
            raise
        raise BrokerUnreachable("the connection was closed while RabbitMQ opened a channel") from error
    except Exception as error:
        if not is_connection_error(error):
            raise
        raise BrokerUnreachable(f"RabbitMQ opened no channel ({type(error).__name__})") from error


async def close_in_time(opened: AbstractConnection | AbstractChannel) -> None:
    """Close it, for at most CLOSE_TIMEOUT_S. It is given up anyway, so it may fail in any way."""
    with suppress(Exception):
        await asyncio.wait_for(opened.close(), CLOSE_TIMEOUT_S)


def is_connection_error(error: BaseException) -> bool:
    """Whether the error says that the connection broke, or was refused or misunderstood.

    aiormq ends a wait for an answer with a bare Exception where it does not know why the connection was closed. When a
    connection is closed while it is being opened, or while the broker blocks it, aiormq ends each wait for an answer
    with a CancelledError of its own: taken for a real cancellation, that would end the task.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(error, CONNECTION_ERRORS) or type(error) is Exception
