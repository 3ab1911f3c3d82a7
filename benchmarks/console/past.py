"""A desk's past, written into a ledger as rows: orders of some days, most of them delivered, some of them dead.

Each has the events that it would have; each dead one has its letter. Nothing of it is in a queue.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from signalq.consumer.ledger.tables import events, intents, letters
from signalq.consumer.orders.letters import mark_of

# Younger than what is pruned, so that a consumer may run on it.
SPAN_MS = 6 * 86_400_000
CHUNK_ROWS = 20_000
STRATEGIES = ("momentum", "carry", "grid", "rebalance", "arb")
ACTIONS = ("openLong", "closeLong", "openShort", "closeShort", "buy", "sell")
# Reason, detail, status of the answer, attempts: groups of letters, the first ones larger.
ENDS: Sequence[tuple[str, str, int | None, int]] = (
    ("rejected", "the webhook refused it: HTTP 401", 401, 1),
    ("expired", "older than delivery.open_max_age_s (60 s)", None, 0),
    ("rejected", "the webhook refused it: HTTP 400", 400, 1),
    ("exhausted", "8 attempts were not enough: HTTP 503", 503, 8),
    ("outcome-unknown", "whether the webhook took it can't be known: timed out after the request went out", None, 1),
    ("forbidden", "the connector is close-only", None, 0),
)
PENDING_EVERY = 20_000

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """So many orders up to `now_ms`, so many of them dead, dealt out to the connectors."""

    orders: int
    letters: int
    connectors: Sequence[str]
    now_ms: int
    span_ms: int = SPAN_MS
    # The last ones, which have failed and wait for another attempt.
    retrying: int = 20
    seed: int = 19

    def rows(self) -> Iterator[tuple[Table, Row]]:
        """The rows of all tables, an order's together; the oldest order first, as it was received."""
        rng = random.Random(self.seed)  # noqa: S311 - so that two ledgers are alike
        dead_every = max(1, self.orders // self.letters) if self.letters else self.orders + 1
        for number in range(1, self.orders + 1):
            at_ms = self.now_ms - self.span_ms + self.span_ms * number // (self.orders + 1)
            if number % dead_every == 0:
                yield from self._dead(rng, number, at_ms)
            else:
                yield from self._other(rng, number, at_ms)

    def _dead(self, rng: random.Random, number: int, at_ms: int) -> Iterator[tuple[Table, Row]]:
        # Each group is about a third of the one before it.
        reason, detail, http_status, attempts = ENDS[min(int(rng.expovariate(1)), len(ENDS) - 1)]
        order = self._order(rng, number, at_ms)
        ended = {"status": "dead", "reason": reason, "detail": detail, "attempts": attempts, "http_status": http_status}
        yield intents, _row(intents, order | ended | {"ended_ms": at_ms + 900, "updated_ms": at_ms + 900})
        for attempt in range(attempts):
            yield events, _attempt(number, at_ms + 100 * attempt, "refused", http_status)
        letter = {name: order[name] for name in ("strategy", "intent_id", "connector", "action", "client_order_id")}
        letter |= ended | {"generation": 1, "order_fields": order["order_fields"], "dead_ms": at_ms + 900}
        letter |= {"mark": mark_of(order["strategy"], order["intent_id"], 1, b""), "messages": 1, "body_bytes": 120}
        yield letters, _row(letters, letter | {"since_ms": at_ms + 900})

    def _other(self, rng: random.Random, number: int, at_ms: int) -> Iterator[tuple[Table, Row]]:
        order = self._order(rng, number, at_ms)
        if number % PENDING_EVERY == PENDING_EVERY - 1:
            due = {"status": "scheduled", "due_ms": self.now_ms + rng.randrange(3_600_000, 86_400_000)}
            yield intents, _row(intents, order | due | {"ended_ms": None, "http_status": None, "attempts": 0})
            return
        if number > self.orders - self.retrying:
            waits = {"status": "retrying", "ended_ms": None, "http_status": 503, "next_attempt_ms": self.now_ms}
            yield intents, _row(intents, order | waits)
        else:
            yield intents, _row(intents, order)
        yield events, _attempt(number, at_ms + 40, "accepted", 200)

    def _order(self, rng: random.Random, number: int, at_ms: int) -> dict[str, Any]:
        """A delivered one."""
        return {
            "strategy": rng.choice(STRATEGIES),
            "intent_id": rng.randbytes(16).hex(),
            "generation": 1,
            "version": 3,
            "has_message_id": True,
            "digest": rng.randbytes(16),
            "connector": self.connectors[number % len(self.connectors)],
            "action": rng.choice(ACTIONS),
            "client_order_id": f"co-{number}" if number % 3 == 0 else None,
            "origin_user": "guest",
            "status": "delivered",
            "attempts": 1,
            "attempts_counted": 1,
            "first_post_ms": at_ms + 40,
            "next_attempt_ms": 0,
            "in_doubt": False,
            "http_status": 200,
            "age_from_ms": at_ms - 5,
            "delay_from_ms": at_ms - 5,
            "created_from": "signalq-created-ms",
            "received_ms": at_ms,
            "updated_ms": at_ms + 120,
            "ended_ms": at_ms + 120,
            "order_fields": '{"percent":"50","log":"as it was"}',
            "trace_id": rng.randbytes(16) if number % 2 else None,
            "number": number,
        }


def _attempt(number: int, at_ms: int, certainty: str, http_status: int | None) -> Row:
    told = {"intent": number, "generation": 1, "at_ms": at_ms, "what": "attempt", "certainty": certainty}
    return _row(events, told | {"http_status": http_status, "duration_ms": 80})


def _row(table: Table, values: dict[str, Any]) -> Row:
    return tuple(values.get(name) for name in _columns(table))


def _columns(table: Table) -> list[str]:
    """All; of the others than the orders, the number is the ledger's to give."""
    return [column.name for column in table.columns if table is intents or column.name != "number"]


def now_ms() -> int:
    """The time of this machine."""
    return time.time_ns() // 1_000_000


async def write(url: str, past: Past) -> None:
    """Write it into a ledger that is there and empty, and on which no consumer runs."""
    if url.startswith("sqlite"):
        _write_file(Path(make_url(url).database or ""), past)
    else:
        await _write_postgres(url, past)


def _chunks(past: Past) -> Iterator[dict[Table, list[Row]]]:
    rows = past.rows()
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield {table: [row for of, row in chunk if of is table] for table in (intents, events, letters)}


def _write_file(file: Path, past: Past) -> None:
    with closing(sqlite3.connect(file)) as ledger:
        for chunk in _chunks(past):
            with ledger:
                for table, rows in chunk.items():
                    columns = _columns(table)
                    values = f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
                    ledger.executemany(f"INSERT INTO {table.name} {values}", rows)
        ledger.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _write_postgres(url: str, past: Past) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for chunk in _chunks(past):
            for table, rows in chunk.items():
                await connection.copy_records_to_table(table.name, records=rows, columns=_columns(table))
        await connection.execute("SELECT setval(pg_get_serial_sequence('intents', 'number'), max(number)) FROM intents")
        # As the server would have done by itself meanwhile.
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
