"""Outcome events as they come: the connection and the exclusive queue of one listener, opened again after each loss.

The broker keeps no events for a listener that is away: it misses them.
"""

import asyncio
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from signalq.amqp.connection import CONNECTION_ERRORS, HEARTBEAT_S, close_in_time, connect, open_channel
from signalq.errors import BrokerError, BrokerUnreachable, InvalidEvent, NotPermitted, TopologyError
from signalq.message.outcome import Outcome
from signalq.names import Names
from signalq.times import backoff_s

# From the first byte until events can come.
OPEN_TIMEOUT_S = 15.0
RECONNECT_BASE_S = 0.5
RECONNECT_MAX_S = 5.0
# The broker holds so many events for a slow listener; it drops the oldest first.
EVENTS_HELD_MAX = 100_000


class OutcomeFeed:
    """Listens for the events that match one of `bindings` (see signalq.message.outcome.binding_key).

    `on_outcome` is called for each, in the order in which they come. `on_away` is called with half a sentence when
    events can't come any more, and with None when they can again.
    """

    _lost: asyncio.Future[str]

    def __init__(
        self,
        url: str,
        names: Names,
        bindings: Sequence[str],
        *,
        name: str,
        on_outcome: Callable[[Outcome], None],
        on_away: Callable[[str | None], None],
        heartbeat_s: int = HEARTBEAT_S,
    ) -> None:
        self._url = url
        self._names = names
        self._bindings = bindings
        self._name = name
        self._on_outcome = on_outcome
        self._on_away = on_away
        self._heartbeat_s = heartbeat_s
        self._connection: AbstractConnection | None = None

    async def open(self) -> None:
        """Listen from now on. Raises BrokerUnreachable, TopologyError (no exchange) or NotPermitted."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._open()
        except TimeoutError:
            await self.close()
            raise BrokerUnreachable(f"RabbitMQ did not let us listen within {OPEN_TIMEOUT_S:g} s") from None
        except BaseException:
            await self.close()
            raise

    async def keep_open(self) -> None:
        """Run for ever: listen again after each loss, and after an `open` that failed.

        Raises NotPermitted, since asking again would not help.
        """
        failures = 0
        while True:
            if self._connection is not None:
                why = await self._lost
                await self.close()
                self._on_away(why)
                failures = 0
            fraction = random.uniform(0.5, 1)  # noqa: S311 - no secret
            pause_s = backoff_s(failures + 1, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=fraction)
            await asyncio.sleep(pause_s)
            try:
                await self.open()
            except NotPermitted:
                raise
            except BrokerError as error:
                failures += 1
                self._on_away(str(error))
            else:
                self._on_away(None)

    async def close(self) -> None:
        """Listen no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_in_time(connection)

    async def _open(self) -> None:
        self._connection = await connect(self._url, name=self._name, heartbeat_s=self._heartbeat_s)
        channel = await open_channel(self._connection)
        self._lost = lost = asyncio.get_running_loop().create_future()

        def lose(why: str) -> None:
            if not lost.done():
                lost.set_result(why)

        channel.closing.add_done_callback(lambda _closing: lose("the connection to RabbitMQ was lost"))
        channel.on_consumer_cancel_callbacks.add(lambda _frame: lose("RabbitMQ ended the listening"))
        # A new name each time: after a loss the broker may still hold the last one for the lost connection.
        queue = self._names.outcome_queue(uuid.uuid4().hex)
        with self._refusals("configure"):
            await channel.queue_declare(
                queue,
                exclusive=True,
                auto_delete=True,
                arguments={"x-queue-type": "classic", "x-max-length": EVENTS_HELD_MAX},
            )
        with self._refusals("write"):
            for binding in self._bindings:
                await channel.queue_bind(queue, self._names.outcomes, binding)
        with self._refusals("read"):
            await channel.basic_consume(queue, self._take, no_ack=True)

    async def _take(self, message: DeliveredMessage) -> None:
        """A message that is no event is ignored: its sender made the mistake."""
        with suppress(InvalidEvent):
            self._on_outcome(Outcome.from_event(message.body))

    @contextmanager
    def _refusals(self, right: str) -> Iterator[None]:
        """Translate a refusal to a sentence that says what to do; `right` is what the step needs on the queue."""
        outcomes = self._names.outcomes
        try:
            yield
        except aiormq.exceptions.ChannelAccessRefused as error:
            # Binding needs read on the exchange as well.
            of_exchange = f"exchange '{outcomes}'" in str(error)
            missing = f"read on the exchange {outcomes}" if of_exchange else f"{right} on the queue {outcomes}.*"
            raise NotPermitted(
                f"RabbitMQ does not let this user listen for outcomes, the right {missing} is missing: grant "
                f"configure, write and read on {outcomes}.*, and read on {outcomes}"
            ) from error
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            raise TopologyError(
                f"there is no exchange {outcomes}: start the consumer once, or run `signalq topology apply`"
            ) from error
        except CONNECTION_ERRORS as error:
            raise BrokerUnreachable(
                f"the connection broke before we could listen for outcomes ({type(error).__name__})"
            ) from error
