"""Orders at every point of their lives, as a consumer writes them into a ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from signalq.consumer.ledger import Epoch, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, Reason
from tests.support.orders import altered, body, order
from tests.support.stores import Store

LANE = "signalq.orders"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
AGE_MS = 5_000
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200, duration_s=0.012)
NOT_TAKEN = Attempt("not taken", sent=True, why="HTTP 503", status=503, duration_s=0.5)
REFUSED = Attempt("refused", sent=True, why="HTTP 401", status=401, duration_s=0.01, answer="no such token")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Lives:
    """A consumer's hand in the ledger. Each method gives an order of that name its life, and returns how it stands."""

    ledger: Ledger
    epoch: Epoch

    async def met(
        self, name: str, *, strategy: str = "momentum", user: str | None = None, **fields: Any
    ) -> LedgerEntry:
        """Read and recalled, and recorded if it is delayed."""
        return await self.ledger.recall(made(name, strategy=strategy, user=user, **fields), self.epoch)

    async def sending(self, name: str, **of: Any) -> LedgerEntry:
        """Claimed."""
        return await self.claim(await self.met(name, **of))

    async def delivered(self, name: str, **of: Any) -> LedgerEntry:
        """Accepted at its first attempt."""
        claimed = await self.sending(name, **of)
        done = claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered()
        return await self.ledger.record(claimed.order, done, attempt=ACCEPTED)

    async def retrying(self, name: str, wait_ms: int = 60_000, **of: Any) -> LedgerEntry:
        """Not taken at its first attempt, and put off."""
        claimed = await self.sending(name, **of)
        put_off = claimed.state.tried(NOT_TAKEN, was_in_doubt=False).retrying(now_ms() + wait_ms, wait_ms)
        return await self.ledger.record(claimed.order, put_off, attempt=NOT_TAKEN)

    async def dead(self, name: str, reason: Reason = "rejected", **of: Any) -> LedgerEntry:
        """Refused at its first attempt, and its letter confirmed."""
        claimed = await self.sending(name, **of)
        dying = claimed.state.tried(REFUSED, was_in_doubt=False).dead_lettering(
            reason, "the webhook refused it: HTTP 401"
        )
        known = await self.ledger.record(claimed.order, dying, attempt=REFUSED)
        return await self.ledger.record(known.order, known.state.dead())

    async def scheduled(self, name: str, delay_s: float = 3_600, **of: Any) -> LedgerEntry:
        """Parked until it is due."""
        known = await self.met(name, delaySeconds=delay_s, **of)
        return await self.ledger.record(known.order, known.state.scheduled())

    async def claim(self, known: LedgerEntry) -> LedgerEntry:
        """Claim it now."""
        return await self.ledger.claim(known.order, known.state.claimed(now_ms()), self.epoch)


async def lives_in(store: Store) -> Lives:
    """A consumer that has the shared lane, on a ledger of its own."""
    ledger = await store.ledger()
    return Lives(ledger, await ledger.open_lane(LANE))


def made(name: str, *, strategy: str = "momentum", user: str | None = None, **fields: Any) -> Order:
    """An order of AGE_MS ago, with a trace."""
    received_ms = now_ms() - AGE_MS
    found = order(
        body(**{"log": name} | fields),
        message_id=name,
        strategy=strategy,
        created_ms=received_ms - 40,
        received_ms=received_ms,
        headers={"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"},
    )
    return altered(found, origin_user=user)
