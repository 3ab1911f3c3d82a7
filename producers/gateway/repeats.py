"""Alerts that were not answered `ok`: an equal alert that follows is the same order.

TradingView repeats a request that was answered with a 5xx, byte for byte and without any mark. So a request that equals
one without an `ok` gets its identity, and the ledger drops the second of the two. An alert that was answered `ok` is
never matched again: the next equal one is a new order.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

UNANSWERED_S = 30.0
# Beyond that the oldest is forgotten; then a repeat of it is a new order.
UNANSWERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that an alert was published under: `message_id`, and when it first came, in ms since the epoch."""

    message_id: str
    created_ms: int


class Unanswered:
    """Identities by the digest of their body; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        self._created_ms: dict[str, int] = {}
        self._by_digest: dict[bytes, deque[str]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, digest: bytes, identity: Identity) -> None:
        """Remember an alert that could not be answered `ok`."""
        self._kept[digest, identity.message_id] = self._clock()
        self._created_ms[identity.message_id] = identity.created_ms
        self._by_digest.setdefault(digest, deque()).append(identity.message_id)
        self._forget()

    def take(self, digest: bytes) -> Identity | None:
        """Take the identity of the oldest equal alert out; None if this is a new alert."""
        self._forget()
        waiting = self._by_digest.get(digest)
        return self._drop(digest, waiting[0]) if waiting else None

    def _forget(self) -> None:
        too_old_s = self._clock() - UNANSWERED_S
        while self._kept and (len(self._kept) > UNANSWERED_MAX or next(iter(self._kept.values())) < too_old_s):
            self._drop(*next(iter(self._kept)))

    def _drop(self, digest: bytes, message_id: str) -> Identity:
        del self._kept[digest, message_id]
        waiting = self._by_digest[digest]
        waiting.remove(message_id)
        if not waiting:
            del self._by_digest[digest]
        return Identity(message_id, self._created_ms.pop(message_id))
