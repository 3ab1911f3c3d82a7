"""The finding on the dead letters: how many there are, and the reasons of the fresh ones."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries.orders import dead_since
from signalq.errors import SignalQError
from signalq.message.outcome import is_event
from signalq.names import Names
from signalq.ops.check.finding import Finding
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.reader import open_letters
from signalq.ops.ledger import read_ledger
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings

FRESH_H = 24
# With more letters, the ledger is asked for the reasons instead: it knows all but unreadable messages.
READ_MAX = 10_000

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


async def check_letters(settings: Settings, ready: int) -> Finding:
    """The dead letters, of which `ready` are there."""
    if not ready:
        return Finding("dead letters", "ok", "none")
    there = f"{plural(ready, 'dead letter')} in {Names(settings.broker.prefix).dead}"
    fresh = await _fresh(settings, ready)
    if fresh is None:
        return Finding("dead letters", "note", f"{there}; why they died could not be read here", _LIST_THEM)
    if not fresh.by_reason:
        return Finding("dead letters", "note", f"{there}, none of the last {FRESH_H} h", _LIST_THEM)
    by_count = sorted(fresh.by_reason.items(), key=lambda one: (-one[1], one[0]))
    counts = ", ".join(f"{count:,} {escaped(reason)}" for reason, count in by_count)
    found = f"{there}; of the last {FRESH_H} h: {counts}"
    if fresh.events:
        found += f"; {fresh.events:,} of these are outcome events of ours that came back as messages"
        return Finding("dead letters", "wrong", found, _UNBIND)
    return Finding("dead letters", "note", found, _LIST_THEM)


async def _fresh(settings: Settings, ready: int) -> Fresh | None:
    """None if neither the letters (no right, too many, another reader) nor the ledger can be read."""
    if ready <= READ_MAX:
        with suppress(SignalQError, TimeoutError):
            return await _from_the_letters(settings)
    with suppress(SignalQError, ModuleNotFoundError):
        return await _from_the_ledger(settings)
    return None


async def _from_the_letters(settings: Settings) -> Fresh:
    fresh, since_s = Fresh(), time.time() - FRESH_H * 3600

    def give_up(why: str) -> None:
        raise CommandFailed(why)

    async with open_letters(settings, on_wait=give_up) as letters:
        async for letter in letters:
            if _died_s(letter) >= since_s:
                fresh.by_reason[letter.reason or "no reason of ours"] += 1
                fresh.events += is_event(letter.body)
    return fresh


async def _from_the_ledger(settings: Settings) -> Fresh:
    """The fresh letters by the ledger, which has no record of unreadable messages."""
    dead = await read_ledger(settings, lambda ledger: dead_since(ledger, clock_ms(ledger) - FRESH_H * 3_600_000))
    return Fresh(Counter(dead))


def _died_s(letter: Letter) -> float:
    """The time at which the letter died; now, if it does not say so."""
    try:
        return datetime.fromisoformat(letter.dead_at or "").timestamp()
    except ValueError:
        return time.time()
