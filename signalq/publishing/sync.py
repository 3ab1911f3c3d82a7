"""OrderPublisher for code without asyncio: the same calls, blocking."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, Unpack

from signalq.message.intent import OrderIntent
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.publishing.prepare import prepare
from signalq.publishing.publisher import OrderPublisher, PublisherOptions
from signalq.publishing.publisher_thread import NOT_ENTERED, PublisherThread
from signalq.publishing.receipt import SyncReceipt
from signalq.publishing.results import Given, SyncPublishResult
from signalq.publishing.sync_bulk import SyncManyPublisher


class SyncOrderPublisher:
    """OrderPublisher for code without asyncio: the same calls, blocking; safe to use from several threads.

    `url` and the options are those of OrderPublisher. Use it as a context manager; entering connects, and raises
    BrokerUnreachable where that fails. Its connection lives in a thread of its own, so heartbeats go on between calls.
    In a process that is forked after it was entered, the first call connects anew, in that process's own thread; the
    parent's connection is left alone.
    """

    def __init__(self, url: str, **options: Unpack[PublisherOptions]) -> None:
        self._make: Callable[[], OrderPublisher] = lambda: OrderPublisher(url, **options)
        # A child keeps its parent's entry, but never touches it: its locks may be held by threads that the child does
        # not have, and its socket and its loop's selector are shared with the parent.
        self._by_process: dict[int, PublisherThread] = {}
        self._is_entered = False

    def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> SyncReceipt:
        """Do as OrderPublisher.publish does; the receipt's `outcome()` blocks as well."""
        if not self._is_entered:
            # Raises InvalidIntent without a connection, as OrderPublisher does.
            prepare(intent, strategy=None, message_id=message_id, now_ms=0)
        here = self._here()
        return here.sync_receipt(here.run(here.publish(intent, message_id)))

    def publish_many(
        self,
        intents: Iterable[Given],
        *,
        on_result: Callable[[SyncPublishResult], object] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> int:
        """Do as OrderPublisher.publish_many does.

        The thread of this call reads your iterable and calls `on_result`. Neither has to be quick: an intent goes out
        while the next is still being made, and its result is told before or after that.
        """
        here = self._here()
        many = SyncManyPublisher(intents, on_result, here.sync_receipt)
        here.begin(many, in_flight_max)
        return many.serve()

    def _here(self) -> PublisherThread:
        """The thread of this process."""
        here = self._by_process.get(os.getpid())
        if here is None:
            if not self._is_entered:
                raise RuntimeError(NOT_ENTERED)
            # Of two threads of the child that come here at once, both get the same.
            here = self._by_process.setdefault(os.getpid(), PublisherThread(self._make))
            here.start()
        return here

    def __enter__(self) -> Self:
        here = self._by_process[os.getpid()] = PublisherThread(self._make)
        here.start()
        try:
            here.run(here.enter())
        except BaseException:
            self.close()
            raise
        self._is_entered = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; publishes in flight raise Unconfirmed.

        Each process closes its own: closing in a child leaves the parent's open.
        """
        self._is_entered = False
        here = self._by_process.pop(os.getpid(), None)
        if here is not None:
            here.close()
