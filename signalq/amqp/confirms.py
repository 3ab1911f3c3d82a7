"""The messages that were sent on a channel and wait for the broker's confirm, known by their numbers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from struct import Struct
from typing import Final

from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPConnectionError, DeliveryError, PublishError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from signalq.amqp.port import Arrival, Port, Taken
from signalq.amqp.wire import BASIC

# Sent and not confirmed, of one channel; more wait here for their turn, in order. So this is also the most that waits
# in the socket while a broker in need (memory, disk) doesn't read. A larger message goes alone.
UNCONFIRMED_MAX = 1_000
UNCONFIRMED_BYTES_MAX = 4 * 1_048_576

_NUMBER: Final = Struct(">4sQB")

# By what the broker tells a message that it returns: its message_id, its exchange, its routing key.
Address = tuple[str | None, str, str]


@dataclass(slots=True, eq=False)
class _Sent:
    """A message on its way; one that may be returned has its `address`."""

    frames: bytes
    address: Address | None
    confirmed: asyncio.Future[None]


class Confirms(Port):
    """Sends messages, each at its turn, and hears what became of them.

    RabbitMQ counts the messages of a confirming channel from 1, and confirms one by its number, or all up to it
    (https://www.rabbitmq.com/docs/confirms). A message that no queue takes is returned before it is confirmed, and has
    no number then: so of one address one message is on its way at a time, and the others wait for its confirm.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        unconfirmed_max: int = UNCONFIRMED_MAX,
        unconfirmed_bytes_max: int = UNCONFIRMED_BYTES_MAX,
    ) -> None:
        super().__init__(BASIC.RETURN, self._returned)
        self._send = send
        self._unconfirmed_max = unconfirmed_max
        self._unconfirmed_bytes_max = unconfirmed_bytes_max
        self._waiting: deque[_Sent] = deque()
        self._unconfirmed: OrderedDict[int, _Sent] = OrderedDict()
        self._by_address: dict[Address, deque[_Sent]] = {}
        self._bytes = 0
        self._number = 0
        self._why_ended: Exception | None = None

    def publish(self, frames: bytes, address: Address | None = None) -> asyncio.Future[None]:
        """Send a message now, or once there is room and all before it are sent; done when it is confirmed.

        It fails with PublishError where the message was returned to its `address`, with DeliveryError where the broker
        refused it, and else with the error that ended the channel. One that is canceled before its turn is not sent.
        """
        sent = _Sent(frames, address, asyncio.get_running_loop().create_future())
        if self._why_ended is not None:
            sent.confirmed.set_exception(self._why_ended)
        elif self._is_first_of_address(sent):
            self._waiting.append(sent)
            self._send_some()
        return sent.confirmed

    def end(self, closing: asyncio.Future[object]) -> None:
        """Let everything fail: the channel has closed."""
        error = None if closing.cancelled() else closing.exception()
        self._why_ended = error if isinstance(error, Exception) else AMQPConnectionError("the channel was closed")
        for sent in (*self._unconfirmed.values(), *self._waiting, *chain.from_iterable(self._by_address.values())):
            _fail(sent, self._why_ended)
        self._unconfirmed.clear()
        self._waiting.clear()
        self._by_address.clear()

    def take_method(self, data: bytes) -> Taken:
        if not data.startswith((BASIC.ACK, BASIC.NACK)):
            return Taken.BY_AIORMQ
        method, number, flags = _NUMBER.unpack_from(data)
        for sent in self._settled(number, multiple=bool(flags & 1)):
            if method == BASIC.NACK:
                _fail(sent, DeliveryError(None, Basic.Nack(number)))
            elif not sent.confirmed.done():
                sent.confirmed.set_result(None)
        self._send_some()
        return Taken.HERE

    def kept_bytes(self, body_bytes: int) -> int:  # noqa: ARG002
        """Nothing of a returned body: its publisher has it."""
        return 0

    def _send_some(self) -> None:
        while self._waiting and self._has_room_for(self._waiting[0]):
            sent = self._waiting.popleft()
            if not sent.confirmed.done():
                try:
                    self._send(sent.frames)
                except RuntimeError as error:  # the channel is closing
                    _fail(sent, error)
                else:
                    self._number += 1
                    self._unconfirmed[self._number] = sent
                    self._bytes += len(sent.frames)
                    continue
            self._let_next_of_address(sent)

    def _has_room_for(self, sent: _Sent) -> bool:
        if not self._unconfirmed:
            return True
        has_bytes = self._bytes + len(sent.frames) <= self._unconfirmed_bytes_max
        return has_bytes and len(self._unconfirmed) < self._unconfirmed_max

    def _settled(self, number: int, *, multiple: bool) -> Iterator[_Sent]:
        """Take out the message of this number; with `multiple` all up to it, in order."""
        while multiple and self._unconfirmed and (first := next(iter(self._unconfirmed))) < number:
            yield self._taken_out(first)
        if number in self._unconfirmed:
            yield self._taken_out(number)

    def _taken_out(self, number: int) -> _Sent:
        sent = self._unconfirmed.pop(number)
        self._bytes -= len(sent.frames)
        self._let_next_of_address(sent)
        return sent

    def _is_first_of_address(self, sent: _Sent) -> bool:
        if sent.address is None:
            return True
        same = self._by_address.setdefault(sent.address, deque())
        same.append(sent)
        return len(same) == 1

    def _let_next_of_address(self, sent: _Sent) -> None:
        if sent.address is None:
            return
        same = self._by_address[sent.address]
        same.popleft()
        if same:
            self._waiting.append(same[0])
        else:
            del self._by_address[sent.address]

    def _returned(self, arrival: Arrival) -> None:
        """Fail the message that came back; its confirm comes next."""
        if same := self._by_address.get((arrival.properties.message_id, arrival.exchange, arrival.routing_key)):
            frame = Basic.Return(312, "NO_ROUTE", arrival.exchange, arrival.routing_key)
            header = ContentHeader(body_size=arrival.body_bytes, properties=arrival.properties)
            message = DeliveredMessage(frame, header, b"", None)  # type: ignore[arg-type]
            _fail(same[0], PublishError(message, frame))


def _fail(sent: _Sent, error: Exception) -> None:
    if not sent.confirmed.done():
        sent.confirmed.set_exception(error)
