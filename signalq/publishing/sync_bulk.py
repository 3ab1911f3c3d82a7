"""`publish_many` between two threads: the event loop's publishes, the caller's runs the iterable and the callback."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from signalq.amqp.publisher import CLOSED
from signalq.errors import Unconfirmed
from signalq.publishing.results import (
    Given,
    NotAllConfirmed,
    PublishResult,
    Receipt,
    SyncPublishResult,
    SyncReceipt,
    intent_and_id,
)

NOT_SENT = "it was not sent: publish it with the same message_id"

PublishMany = Callable[[AsyncIterator[Given]], Coroutine[Any, Any, int]]


class SyncManyPublisher:
    """One blocking `publish_many`: the loop's thread queues calls, and the caller's thread runs them.

    The calls are of two kinds: the loop asks for the next intent when it has room for one, and tells a result.
    `sync_receipt` makes the blocking receipt of a receipt.
    """

    _loop: asyncio.AbstractEventLoop
    _publishing: asyncio.Task[int]

    def __init__(
        self,
        intents: Iterable[Given],
        on_result: Callable[[SyncPublishResult], object] | None,
        sync_receipt: Callable[[Receipt], SyncReceipt],
    ) -> None:
        self._intents = iter(intents)
        self._on_result = on_result
        self._sync_receipt = sync_receipt
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._told = 0
        # An intent is left over from when it is taken until the loop has it.
        self._left_over: Given | None = None
        self._failure: BaseException | None = None

    # ---- in the caller's thread ----

    def begin(self, loop: asyncio.AbstractEventLoop, publish_many: PublishMany) -> None:
        """Begin in the loop; return at once."""
        self._loop = loop
        loop.call_soon_threadsafe(self._begin, publish_many)

    def serve(self) -> int:
        """Run calls until the publishing has ended. Returns and raises as `publish_many` and the caller's own code do.

        An error that is no Exception (Ctrl-C) ends the publishing first; what is in doubt then is told.
        """
        while True:
            try:
                while (call := self._calls.get()) is not None:
                    call()
            except BaseException as interruption:  # noqa: BLE001 - raised below, once the loop has ended it
                self._failure = interruption
                self._call_loop(self._cancel)
            else:
                break
        left_over = self._tell_left_over()
        if self._publishing.cancelled():
            raise self._failure or Unconfirmed(CLOSED, None)
        return self._conclude(left_over)

    def _fetch(self, answer: asyncio.Future[list[Given]]) -> None:
        taken: list[Given] = []
        try:
            if self._failure is None:
                taken = [next(self._intents)]
                self._left_over = taken[0]
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - the caller's own, raised to the caller once all is told
            self._failure = error
        self._call_loop(partial(self._answer, answer, taken))

    def _tell(self, result: SyncPublishResult) -> None:
        self._told += 1
        try:
            if self._on_result is not None:
                self._on_result(result)
        except Exception as error:  # noqa: BLE001 - as above
            self._failure = self._failure or error

    def _tell_left_over(self) -> SyncPublishResult | None:
        """An intent that was taken as the publishing ended was not sent, and is told as well."""
        if self._left_over is None:
            return None
        intent, message_id = intent_and_id(self._left_over)
        result = SyncPublishResult(self._told + 1, intent, message_id, None, Unconfirmed(NOT_SENT, message_id))
        self._tell(result)
        return result

    def _conclude(self, left_over: SyncPublishResult | None) -> int:
        try:
            count = self._publishing.result()
        except NotAllConfirmed as error:
            if left_over is not None:
                error.unconfirmed += (left_over,)
            raise error from self._failure
        if self._failure is not None:
            raise self._failure
        return count

    def _call_loop(self, callback: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    # ---- in the loop's thread ----

    async def _items(self) -> AsyncIterator[Given]:
        while True:
            answer: asyncio.Future[list[Given]] = asyncio.get_running_loop().create_future()
            self._calls.put(partial(self._fetch, answer))
            taken = await answer
            if not taken:
                return
            self._left_over = None
            yield taken[0]

    def tell(self, result: PublishResult) -> None:
        """Queue a result for the caller's thread."""
        receipt = self._sync_receipt(result.receipt) if result.receipt is not None else None
        told = SyncPublishResult(result.number, result.intent, result.message_id, receipt, result.error)
        self._calls.put(partial(self._tell, told))

    def _begin(self, publish_many: PublishMany) -> None:
        self._publishing = asyncio.get_running_loop().create_task(publish_many(self._items()), name="signalq many")
        self._publishing.add_done_callback(lambda _ended: self._calls.put(None))

    def _cancel(self) -> None:
        self._publishing.cancel()

    def _answer(self, answer: asyncio.Future[list[Given]], taken: list[Given]) -> None:
        if not answer.done():
            answer.set_result(taken)
