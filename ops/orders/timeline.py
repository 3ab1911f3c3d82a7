"""An intent's timeline: its row and its steps as one list of what happened, oldest first. Pure.

Each entry has `at`, `what` and `generation` (which a replay raises), and what else there is to say of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from signalq.consumer.ledger.queries import events
from signalq.consumer.ledger.queries.orders import DEAD_LETTERING, Happened, Recorded
from signalq.consumer.orders.state import NEVER_CONCLUDED
from signalq.times import iso_ms

Entry = dict[str, object]

NOT_CONFIRMED = "the broker has not confirmed its dead letter yet"


def timeline(one: Recorded, happened: Sequence[Happened], now_ms: int) -> list[Entry]:
    """What happened to it until `now_ms` (on the ledger's clock), and what it waits for if it has not ended."""
    told = [*_numbered(one, happened), *_ending(one, now_ms)]
    # By the ledger's clock, and where that is the same in the order of writing: an ending is written with its attempt.
    told.sort(key=lambda entry: entry[0])
    return [*_beginning(one), *(entry for _, entry in told), *_outlook(one, now_ms)]


def _beginning(one: Recorded) -> Iterable[Entry]:
    yield {"at": iso_ms(one.age_from_ms), "what": "created", "generation": 1, "said_by": one.created_from}
    received: Entry = {"at": iso_ms(one.received_ms), "what": "received", "generation": 1}
    yield received | ({"user": one.origin_user} if one.origin_user is not None else {})


def _numbered(one: Recorded, happened: Sequence[Happened]) -> Iterable[tuple[int, Entry]]:
    """The steps; the attempts of each generation are counted."""
    numbers: dict[int, count[int]] = {}
    for step in happened:
        entry: Entry = {"at": iso_ms(step.at_ms), "what": step.what, "generation": step.generation}
        if step.what == events.ATTEMPT:
            number = next(numbers.setdefault(step.generation, count(1)))
            facts: Entry = {"certainty": step.certainty, "http_status": step.http_status}
            yield (
                step.at_ms,
                entry
                | {"attempt": number, **facts, "duration_ms": step.duration_ms, "detail": step.detail}
                | ({"answer": step.answer} if step.answer is not None else {}),
            )
        elif step.what == events.DEAD:
            if step.generation < one.generation:  # else the row says so
                reason, _, detail = (step.detail or "").partition(": ")
                yield step.at_ms, entry | {"reason": reason, "detail": detail}
        else:
            yield step.at_ms, entry | {"detail": step.detail}


def _ending(one: Recorded, now_ms: int) -> Iterable[tuple[int, Entry]]:
    """What the row says of its end; a cancelation is among the steps."""
    at_ms = one.ended_ms if one.ended_ms is not None else now_ms
    ended: Entry = {"at": iso_ms(at_ms), "what": one.status, "generation": one.generation}
    if one.status == "delivered":
        yield at_ms, ended
    elif one.status == "dead":
        yield at_ms, ended | {"reason": one.reason, "detail": one.detail}


def _outlook(one: Recorded, now_ms: int) -> Iterable[Entry]:
    """How it stands now, and what it waits for, where the steps don't say so."""
    if one.status == "sending":
        yield _sending(one, now_ms)
    elif one.status == "retrying":
        at_ms, detail = one.next_attempt_ms, f"attempt {one.attempts + 1}, not before then"
        yield {"at": iso_ms(at_ms), "what": "next attempt", "generation": one.generation, "detail": detail}
    elif one.status == DEAD_LETTERING:
        about: Entry = {"at": iso_ms(one.updated_ms), "what": "dead-lettering", "generation": one.generation}
        yield about | {"reason": one.reason, "detail": f"{one.detail} ({NOT_CONFIRMED})"}


def _sending(one: Recorded, now_ms: int) -> Entry:
    """Claimed, and not concluded: a consumer that lives holds a lease on it."""
    detail = "on its way: a consumer is sending it"
    if (one.lease_until_ms or 0) <= now_ms:
        detail = f"in doubt: {NEVER_CONCLUDED.why}; the next one that has its message decides"
    at = {"at": iso_ms(one.updated_ms), "what": "sending", "generation": one.generation}
    return at | {"attempt": one.attempts, "detail": detail}
