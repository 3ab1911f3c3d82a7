"""An intent's timeline: its row and its events as one list, oldest first. Pure.

Each entry has `at`, `what` and `generation` (which a replay raises), and further facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from signalq.consumer.ledger.queries import events
from signalq.consumer.ledger.queries.orders import DEAD_LETTERING, Happened, Recorded
from signalq.consumer.orders.state import NEVER_CONCLUDED
from signalq.times import iso_ms

TimelineEntry = dict[str, object]

NOT_CONFIRMED = "the broker has not confirmed its dead letter yet"


def timeline(one: Recorded, happened: Sequence[Happened], now_ms: int) -> list[TimelineEntry]:
    """The entries until `now_ms` (on the ledger's clock), and the outlook if the intent has not ended."""
    past = [*_numbered(one, happened), *_ending(one, now_ms)]
    # By the ledger's clock, and at the same time in the order of writing: an ending is written with its attempt.
    past.sort(key=lambda entry: entry[0])
    return [*_beginning(one), *(entry for _, entry in past), *_outlook(one, now_ms)]


def _beginning(one: Recorded) -> Iterable[TimelineEntry]:
    yield {"at": iso_ms(one.age_from_ms), "what": "created", "generation": 1, "said_by": one.created_from}
    received: TimelineEntry = {"at": iso_ms(one.received_ms), "what": "received", "generation": 1}
    yield received | ({"user": one.origin_user} if one.origin_user is not None else {})


def _numbered(one: Recorded, happened: Sequence[Happened]) -> Iterable[tuple[int, TimelineEntry]]:
    """The recorded events; the attempts of each generation are counted."""
    numbers: dict[int, count[int]] = {}
    for step in happened:
        entry: TimelineEntry = {"at": iso_ms(step.at_ms), "what": step.what, "generation": step.generation}
        if step.what == events.ATTEMPT:
            number = next(numbers.setdefault(step.generation, count(1)))
            facts: TimelineEntry = {"certainty": step.certainty, "http_status": step.http_status}
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


def _ending(one: Recorded, now_ms: int) -> Iterable[tuple[int, TimelineEntry]]:
    """The ending by the row; a cancelation is a recorded event."""
    at_ms = one.ended_ms if one.ended_ms is not None else now_ms
    ended: TimelineEntry = {"at": iso_ms(at_ms), "what": one.status, "generation": one.generation}
    if one.status == "delivered":
        yield at_ms, ended
    elif one.status == "dead":
        yield at_ms, ended | {"reason": one.reason, "detail": one.detail}


def _outlook(one: Recorded, now_ms: int) -> Iterable[TimelineEntry]:
    """The present state, and the next attempt, if no recorded event says so."""
    if one.status == "sending":
        yield _sending(one, now_ms)
    elif one.status == "retrying":
        at_ms, detail = one.next_attempt_ms, f"attempt {one.attempts + 1}, not before then"
        yield {"at": iso_ms(at_ms), "what": "next attempt", "generation": one.generation, "detail": detail}
    elif one.status == DEAD_LETTERING:
        about: TimelineEntry = {"at": iso_ms(one.updated_ms), "what": "dead-lettering", "generation": one.generation}
        yield about | {"reason": one.reason, "detail": f"{one.detail} ({NOT_CONFIRMED})"}


def _sending(one: Recorded, now_ms: int) -> TimelineEntry:
    """An attempt that was claimed and not concluded: while its consumer lives, it holds a lease on the intent."""
    detail = "on its way: a consumer is sending it"
    if (one.lease_until_ms or 0) <= now_ms:
        detail = f"in doubt: {NEVER_CONCLUDED.why}; the next consumer that gets its message decides"
    at = {"at": iso_ms(one.updated_ms), "what": "sending", "generation": one.generation}
    return at | {"attempt": one.attempts, "detail": detail}
