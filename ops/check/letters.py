"""The finding on the dead letters: how many there are, why the fresh ones died, and whether the ledger has them all."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from aio_pika.abc import AbstractConnection
from sqlalchemy import Connection

from signalq.amqp.inspect import Inspector, QueueDepth
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import letters as rows
from signalq.errors import SignalQError
from signalq.message.outcome import is_event
from signalq.names import Names
from signalq.ops.check.finding import Finding
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.listing import compare_on
from signalq.ops.dead_letters.reader import letters_on
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import plural

FRESH_H = 24
# With more letters, the ledger is asked for the reasons instead: it can't tell which of them are events of ours.
READ_MAX = 10_000
LETTERS = "dead letters"
NO_REASON = "no reason of ours"

_LIST_THEM = "look at them with `signalq dead list`, then replay or discard them"
_UNBIND = (
    "take away what brings the events back: `rabbitmqctl list_bindings` shows what is bound to the exchange of "
    "outcomes; look for queues that dead-letter into the orders, too"
)


@dataclass
class Fresh:
    """The letters of the last FRESH_H hours, by reason, and how many of them are events that came back."""

    by_reason: Counter[str] = field(default_factory=Counter)
    events: int = 0


async def check_letters(
    connection: AbstractConnection, names: Names, ledger: LedgerClient | None, *, may_read: bool
) -> Finding | None:
    """The dead letters; None where there is no queue of them, which is told with the topology.

    `ledger` is the one that the lanes belong to, None where it is not there. The letters are read only if `may_read`.
    """
    try:
        depth, difference = await _count(connection, names, ledger)
    except SignalQError as error:
        return Finding(LETTERS, "note", f"how many there are is not known: {error}", kind=error.kind)
    if depth is None:
        return None
    apart = f"; {difference}" if difference is not None else ""
    if not depth.ready:
        return Finding(LETTERS, "note" if apart else "ok", f"none{apart}")
    there = f"{plural(depth.ready, 'dead letter')} in {names.dead}"
    fresh = await _fresh(connection, names, ledger, depth.ready if may_read else None)
    if fresh is None:
        return Finding(LETTERS, "note", f"{there}; why they died could not be read here{apart}", _LIST_THEM)
    found = f"{there}{_told(fresh)}{apart}"
    return Finding(LETTERS, "wrong", found, _UNBIND) if fresh.events else Finding(LETTERS, "note", found, _LIST_THEM)


def _told(fresh: Fresh) -> str:
    if not fresh.by_reason:
        return f", none of the last {FRESH_H} h"
    by_count = sorted(fresh.by_reason.items(), key=lambda one: (-one[1], one[0]))
    counts = ", ".join(f"{count:,} {escaped(reason)}" for reason, count in by_count)
    came_back = f"; {fresh.events:,} of these are outcome events of ours that came back as messages"
    return f"; of the last {FRESH_H} h: {counts}{came_back if fresh.events else ''}"


async def _count(
    connection: AbstractConnection, names: Names, ledger: LedgerClient | None
) -> tuple[QueueDepth | None, str | None]:
    """The messages that are ready, and how the ledger's count differs. Raises BrokerError, LedgerUnavailable."""
    inspector = Inspector(connection)
    try:
        if ledger is None:
            return await inspector.depth(names.dead), None
        compared = await compare_on(ledger, inspector, names)
        return compared.depth, compared.sentence()
    finally:
        await inspector.close()


async def _fresh(
    connection: AbstractConnection, names: Names, ledger: LedgerClient | None, to_read: int | None
) -> Fresh | None:
    """None if neither the letters (no right, too many, another reader) nor the ledger can be read."""
    if to_read is not None and to_read <= READ_MAX:
        with suppress(SignalQError, TimeoutError):
            return await _from_the_letters(connection, names)
    if ledger is not None:
        with suppress(SignalQError):
            return await ledger.read(_from_the_ledger)
    return None


async def _from_the_letters(connection: AbstractConnection, names: Names) -> Fresh:
    fresh, since_s = Fresh(), time.time() - FRESH_H * 3600

    def give_up(why: str) -> None:
        raise CommandFailed(why)

    async with letters_on(connection, names, on_wait=give_up) as letters:
        async for letter in letters:
            if _died_s(letter) >= since_s:
                fresh.by_reason[letter.reason or NO_REASON] += 1
                fresh.events += is_event(letter.body)
    return fresh


def _from_the_ledger(connection: Connection) -> Fresh:
    counted = rows.fresh(connection, clock_ms(connection) - FRESH_H * 3_600_000)
    return Fresh(Counter({reason or NO_REASON: number for reason, number in counted.items()}))


def _died_s(letter: Letter) -> float:
    """The time at which the letter died; now, if it does not say so."""
    try:
        return datetime.fromisoformat(letter.dead_at or "").timestamp()
    except ValueError:
        return time.time()
