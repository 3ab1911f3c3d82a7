"""The events of a world, read from the logs of its programs as they are written, told as entries: an order an entry.

An ending, a delay and a failed attempt are told; of the rest warnings, errors and changed settings. The ledger knows
what an order was, and when it came.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import orders
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.consumer.orders.kept import order_fields
from signalq.times import iso_ms

# So many orders are looked up at a time.
LOOKED_UP_MAX = 500

_ABOUT_AN_ORDER = frozenset({"intent.scheduled", "delivery.attempted", "intent.dead_lettered", "intent.settled"})
# Told although nothing is wrong.
_NEWS = frozenset({"settings.reloaded", "settings.unchanged"})
# In a world every door stands open: nobody but this machine comes in.
_NO_NEWS = frozenset({"gateway.open"})
_NOT_FACTS = frozenset({"event", "level", "timestamp"})

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, at `at`: to an order, or else to a program (`event`).

    `order` has its fields, where the ledger keeps them; `outcome` is its ending, or `scheduled` or `retrying`, both
    until `due_at`; `took_ms` is from its creation, or its due time, to the ending.
    """

    at: datetime
    connector: str | None = None
    strategy: str | None = None
    intent_id: str | None = None
    action: str | None = None
    order: Mapping[str, object] | None = None
    outcome: str | None = None
    reason: str | None = None
    detail: str | None = None
    took_ms: int | None = None
    due_at: datetime | None = None
    event: str | None = None

    def row(self) -> dict[str, object]:
        """The fields, for JSON."""
        row = {name: getattr(self, name) for name in self.__slots__}
        times = {name: value for name, value in row.items() if isinstance(value, datetime)}
        return row | {name: iso_ms(round(at.timestamp() * 1000)) for name, at in times.items()}


class LogTail:
    """The lines of a log, as they come. The file is there."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._bytes_read = 0

    def events(self) -> list[Event]:
        """The whole lines that are new; a line that is no event is left out."""
        with self._log.open("rb") as log:
            log.seek(self._bytes_read)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._bytes_read += len(whole) + len(newline)
        return [event for line in whole.splitlines() if (event := _object(line)) is not None]


async def entries_of(events: Sequence[Event], ledger: LedgerClient) -> list[Entry]:
    """The entries of these events, in their order. Raises LedgerUnavailable."""
    told = [event for event in events if is_told(event)]
    ids = sorted({event["intent_id"] for event in told if event["event"] in _ABOUT_AN_ORDER})
    known: dict[tuple[str, str], Recorded] = {}
    for at in range(0, len(ids), LOOKED_UP_MAX):
        wanted = Filter(intent_ids=ids[at : at + LOOKED_UP_MAX])

        def look(connection: Connection, wanted: Filter = wanted) -> list[Recorded]:
            return orders.page(connection, wanted, 2 * LOOKED_UP_MAX)

        known |= {(one.strategy, one.intent_id): one for one in await ledger.read(look)}
    return [
        of_an_order(event, known.get((event["strategy"], event["intent_id"])))
        if event["event"] in _ABOUT_AN_ORDER
        else of_a_program(event)
        for event in told
    ]


def is_told(event: Event) -> bool:
    """Whether an event makes an entry."""
    name = event["event"]
    if name == "delivery.attempted":
        return event["next_attempt_at"] is not None  # of the last one the ending is told
    if name == "intent.settled":
        return bool(event["status"] != "dead")  # `intent.dead_lettered` has its reason
    return name in _ABOUT_AN_ORDER or name in _NEWS or (event["level"] != "info" and name not in _NO_NEWS)


def of_an_order(event: Event, known: Recorded | None) -> Entry:
    """The entry of an order's event; `known` is what the ledger has of it, if anything."""
    outcome, reason, detail, due_at, took_ms = event.get("status"), event.get("reason"), event.get("detail"), None, None
    match event["event"]:
        case "intent.scheduled":
            outcome, due_at = "scheduled", _time(event["due_at"])
        case "delivery.attempted":
            outcome, due_at = "retrying", _time(event["next_attempt_at"])
            reason, detail = event["certainty"], event["why"]
        case "intent.dead_lettered":
            outcome = "dead"
    if known is not None and known.ended_ms is not None and due_at is None:
        took_ms = max(0, known.ended_ms - (known.delayed_until_ms or known.age_from_ms))
    return Entry(
        at=_time(event["timestamp"]),
        connector=event["connector"],
        strategy=event["strategy"],
        intent_id=event["intent_id"],
        action=event.get("action"),
        order=_fields(known) if known is not None else None,
        outcome=outcome,
        reason=reason,
        detail=detail,
        took_ms=took_ms,
        due_at=due_at,
    )


def of_a_program(event: Event) -> Entry:
    """The entry of any other event."""
    facts = {name: value for name, value in event.items() if name not in _NOT_FACTS and value is not None}
    reason = facts.get("why") or facts.get("advice")
    # The reason alone says all of it, but for the switch: there it is a person's, and may say anything.
    is_enough = reason is not None and not event["event"].startswith("switch.")
    detail = reason if is_enough else "; ".join(f"{name} {value}" for name, value in facts.items())
    return Entry(at=_time(event["timestamp"]), event=event["event"], outcome=event["level"], detail=detail)


def _fields(known: Recorded) -> dict[str, object] | None:
    return order_fields(known.connector, known.action, known.client_order_id, known.order_fields)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _object(line: bytes) -> Event | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"event", "level", "timestamp"} <= value.keys() else None
