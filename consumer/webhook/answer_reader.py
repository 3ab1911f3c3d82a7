"""Reading a webhook's answer: a bounded part of it, and so little at a time that the loop serves others, too.

One read of a socket brings up to 256 KiB. That may be 14,000 interim answers (`HTTP/1.1 103`), and a webhook may send
them for as long as it likes.
"""

import asyncio

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD

from signalq.consumer.webhook.answer import SUCCESS_BYTES_MAX, Answer

INTERIM_MAX = 8
ANSWER_BYTES_MAX = 65_536
# So much of an answer is parsed at a time: a flood of interim ones is recognized after 0.5 ms.
SLICE_BYTES = 2_048
# How long to wait for a body where the status says it all: enough for a body that was sent right behind the head, from
# far away. Until then nothing is on disk, and the lane waits.
ANSWER_BODY_S = 0.2


class AnswerTooLong(aiohttp.ClientError):
    """The final status did not come within INTERIM_MAX interim answers, or ANSWER_BYTES_MAX."""


class AnswerReader:
    """Reads the answer to one request, from the bytes that its connection hands over.

    `answer` is done once the answer is known, or can't be. Of a body, a little more is read than a success could have.
    """

    def __init__(self, connection: BaseProtocol, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[Answer] = loop.create_future()
        # The answer has ended, and nothing came behind it: its connection can be used again.
        self.is_clean = False
        self._loop = loop
        self._parser = HttpResponseParser(
            connection,
            loop,
            ANSWER_BYTES_MAX,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
        )
        self._unread = b""
        self._next_slice: asyncio.Handle | None = None
        self._end: tuple[BaseException | None] | None = None
        self._bytes_left = ANSWER_BYTES_MAX
        self._interim_left = INTERIM_MAX
        self._head: RawResponseMessage | None = None
        self._content: aiohttp.StreamReader = EMPTY_PAYLOAD
        self._body = b""
        self._is_enough = False
        self._is_followed = False
        self._glance: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        """Take in bytes that came; a short answer is parsed at once, a longer one slice by slice."""
        self._unread += data[: max(self._bytes_left - len(self._unread), 0) + 1]
        if self._next_slice is None:
            self._read_on()

    def end(self, error: BaseException | None) -> None:
        """Take in the end of the connection, after the bytes that came before it."""
        self._end = (error,)
        if self._next_slice is None:
            self._read_on()

    def give_up(self) -> None:
        """Read no more: it has taken too long."""
        self._conclude(TimeoutError())

    def _read_on(self) -> None:
        """Parse the next slice; behind the last one, the end."""
        self._next_slice = None
        if self.answer.done():
            return
        part, self._unread = self._unread[:SLICE_BYTES], self._unread[SLICE_BYTES:]
        self._bytes_left -= len(part)
        try:
            self._parse(part)
            if self._end is not None and not self._unread:
                self._parse_end(*self._end)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no more to read
            self._conclude(error)
        if self._unread:
            self._next_slice = self._loop.call_soon(self._read_on)

    def _parse(self, part: bytes) -> None:
        messages, _, _ = self._parser.feed_data(part)
        for head, content in messages:
            self._take_head(head, content)
        if self._head is not None:
            self._take_body(self._head)
        if self._bytes_left < 0 and not self.answer.done():
            raise AnswerTooLong("more bytes than are read before the final one")

    def _parse_end(self, error: BaseException | None) -> None:
        if self._head is None:
            raise error or aiohttp.ServerDisconnectedError
        self._parser.feed_eof()  # raises where the body is not whole
        self._take_body(self._head)

    def _take_head(self, head: RawResponseMessage, content: aiohttp.StreamReader) -> None:
        """The head of an interim answer, of the final one, or of one that nobody has asked for."""
        if self._head is not None:
            self._is_followed = True
        elif 100 <= head.code <= 199 and head.code != 101:
            self._interim_left -= 1
            if self._interim_left < 0:
                raise AnswerTooLong("more interim answers than are read before the final one")
        else:
            self._head, self._content = head, content
            self._is_enough = not 200 <= head.code <= 299

    def _take_body(self, head: RawResponseMessage) -> None:
        self._body += self._content.read_nowait()[: SUCCESS_BYTES_MAX + 1 - len(self._body)]
        if self._content.is_eof() or len(self._body) > SUCCESS_BYTES_MAX:
            is_last = not (head.should_close or head.code == 101 or self._is_followed or self._unread)
            self.is_clean = self._content.is_eof() and is_last
            self._is_enough = True
            self._conclude()
        elif self._is_enough and self._glance is None:
            self._glance = self._loop.call_later(ANSWER_BODY_S, self._conclude)

    def _conclude(self, error: Exception | None = None) -> None:
        """No more is read: the answer is what has come where that is enough (all of it, or a status that says it all),
        else the error.
        """
        if self._glance is not None:
            self._glance.cancel()
        if self.answer.done():
            return
        if self._head is not None and self._is_enough:
            self.answer.set_result(Answer(self._head.code, self._head.headers, self._body))
        elif error is not None:
            self.answer.set_exception(error)
