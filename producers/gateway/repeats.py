"""Requests that were not answered `ok`: an equal request that follows is the same order, or the same orders.

TradingView repeats a request that was answered with a 5xx, byte for byte and without any mark. So a request that equals
one without an `ok` gets its identities, and the ledger drops the second of the two. A repeat goes on where the request
ended: what RabbitMQ has confirmed is not published again, so that each repeat of a long array gets further. A request
that was answered `ok` is never matched again: the next equal one is new orders.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from signalq.message.identity import new_message_id

UNANSWERED_S = 30.0
# Beyond that the oldest is forgotten; then a repeat of it is a new order.
UNANSWERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that an alert was published under: `message_id`, and its time, in ms since the epoch.

    Its time is its own, where it has one, else when it first came.
    """

    message_id: str
    created_ms: int

    @classmethod
    def new(cls, created_ms: int) -> Self:
        """The identity of an alert that repeats no other."""
        return cls(new_message_id(), created_ms)


@dataclass(frozen=True, slots=True)
class Progress:
    """The orders of one request by their identities; RabbitMQ has confirmed the first `confirmed` of them."""

    identities: tuple[Identity, ...]
    confirmed: int = 0


class Unanswered:
    """Requests by the digest of their body; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept_at_s: OrderedDict[tuple[bytes, Progress], float] = OrderedDict()
        self._by_digest: dict[bytes, deque[Progress]] = {}

    def __len__(self) -> int:
        return len(self._kept_at_s)

    def keep(self, digest: bytes, progress: Progress) -> None:
        """Remember a request that could not be answered `ok`."""
        self._kept_at_s[digest, progress] = self._clock()
        self._by_digest.setdefault(digest, deque()).append(progress)
        self._forget()

    def take(self, digest: bytes) -> Progress | None:
        """Take the oldest equal request out; None if this is a new one."""
        self._forget()
        return self._take_oldest(digest) if digest in self._by_digest else None

    def _forget(self) -> None:
        too_old_s, kept = self._clock() - UNANSWERED_S, self._kept_at_s
        while kept and (len(kept) > UNANSWERED_MAX or next(iter(kept.values())) < too_old_s):
            oldest_digest, _ = next(iter(kept))
            self._take_oldest(oldest_digest)

    def _take_oldest(self, digest: bytes) -> Progress:
        progress = self._by_digest[digest].popleft()
        if not self._by_digest[digest]:
            del self._by_digest[digest]
        del self._kept_at_s[digest, progress]
        return progress
