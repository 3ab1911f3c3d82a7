"""Dead letters as a consumer leaves them: in the ledger first, then in the queue."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from pamqp.commands import Basic

from signalq import names
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders.decisions import DeadLetter
from signalq.consumer.orders.letters import record_of
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState, Reason
from signalq.names import Names
from signalq.times import iso_ms
from tests.support.amqp import publish_all
from tests.support.consumer import ledger_file, ledger_url
from tests.support.orders import body, order
from tests.support.stores import ledger_at

IN_FLIGHT = 500
DETAIL = "the webhook refused it: HTTP 400"
DEAD_MS = 1_769_860_800_000


@dataclass(frozen=True)
class Dead:
    """One dead intent: its order, the body it came with, and how it ended."""

    order: Order
    content: bytes
    reason: Reason = "rejected"
    generation: int = 1

    @property
    def letter(self) -> tuple[bytes, Basic.Properties]:
        """As it lies in the queue."""
        return letter_of(self.order, self.content, reason=self.reason, generation=self.generation)


def dead(number: int | str, *, reason: Reason = "rejected", created_ms: int | None = None, **fields: Any) -> Dead:
    """The dead intent `id-<number>`, whose body says its number."""
    content = body(log=str(number), **fields)
    return Dead(order(content, message_id=f"id-{number}", created_ms=created_ms), content, reason)


def letter_of(of: Order, content: bytes, **said: Any) -> tuple[bytes, Basic.Properties]:
    """A letter for an order, saying so."""
    headers: dict[str, Any] = {
        names.REASON: said.get("reason", "rejected"),
        names.DETAIL: DETAIL,
        names.ATTEMPTS: 1,
        names.HTTP_STATUS: 400,
        names.DEAD_AT: iso_ms(DEAD_MS),
        names.INTENT_ID: of.intent_id,
        names.GENERATION: said.get("generation", 1),
        names.CONNECTOR: of.connector,
        names.STRATEGY: of.strategy,
    }
    if of.timing.creation.source == "signalq-created-ms":
        headers[names.CREATED_MS] = of.timing.creation.delay_ms
    return content, Basic.Properties(
        delivery_mode=2, message_id=said.get("message_id", of.identity.message_id), app_id=of.strategy, headers=headers
    )


async def bury(url: str, topic: Names, dead_ones: Sequence[Dead], *, noted: bool = True) -> None:
    """Write them into the ledger of this prefix, and put their letters into the queue, in this order."""
    await record(ledger_url(topic.prefix), dead_ones, noted=noted)
    await publish_all(url, "", topic.dead, [one.letter for one in dead_ones])


async def record(url: str, dead_ones: Sequence[Dead], *, noted: bool = True) -> None:
    """Write them into a ledger, as dead; their letters are noted there, too, but by an earlier version."""
    async with ledger_at(url) as ledger:
        for at in range(0, len(dead_ones), IN_FLIGHT):
            await asyncio.gather(*(_record(ledger, one, noted=noted) for one in dead_ones[at : at + IN_FLIGHT]))


async def _record(ledger: Ledger, one: Dead, *, noted: bool) -> None:
    first = IntentState(one.order.intent_id, one.order.identity.digest, generation=one.generation)
    claimed = replace(first.claimed(1_000), in_doubt=one.reason == "outcome-unknown", http_status=400)
    known = await ledger.record(one.order, claimed.dead_lettering(one.reason, DETAIL))
    message = Message(one.content, Basic.Properties(), one.order.connector, redelivered=False)
    letter = record_of(one.order, DeadLetter(one.reason, DETAIL), known.state, message, DEAD_MS)
    await ledger.record(one.order, known.state.dead(), letter=letter if noted else None)


def in_ledger(prefix: str, query: str) -> list[tuple[Any, ...]]:
    """What a stranger reads from the ledger file of a prefix."""
    with closing(sqlite3.connect(ledger_file(prefix), timeout=10, isolation_level=None)) as connection:
        return connection.execute(query).fetchall()
