"""An intent's timeline: its row and its events as one list, oldest first. Pure.

Each entry has `at`, `what` and `generation` (which a replay raises), and further facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

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
    past.sort(key=lambda entry: str(entry["at"]))
    return [*_beginning(one), *past, *_outlook(one, now_ms)]


def _entry(at_ms: int, what: str, generation: int, **facts: object) -> TimelineEntry:
    return {"at": iso_ms(at_ms), "what": what, "generation": generation, **facts}


def _beginning(one: Recorded) -> Iterable[TimelineEntry]:
    yield _entry(one.age_from_ms, "created", 1, said_by=one.created_from)
    user = {"user": one.origin_user} if one.origin_user is not None else {}
    yield _entry(one.received_ms, "received", 1, **user)


def _numbered(one: Recorded, happened: Sequence[Happened]) -> Iterable[TimelineEntry]:
    """The recorded events; the attempts of each generation are counted."""
    attempts: Counter[int] = Counter()
    for step in happened:
        facts: dict[str, object] = {"detail": step.detail}
        if step.what == events.ATTEMPT:
            attempts[step.generation] += 1
            answered = {"certainty": step.certainty, "http_status": step.http_status, "duration_ms": step.duration_ms}
            facts = {"attempt": attempts[step.generation], **answered, **facts}
            facts |= {"answer": step.answer} if step.answer is not None else {}
        elif step.what == events.DEAD:
            if step.generation >= one.generation:
                continue  # the row says so
            reason, _, detail = (step.detail or "").partition(": ")
            facts = {"reason": reason, "detail": detail}
        yield _entry(step.at_ms, step.what, step.generation, **facts)


def _ending(one: Recorded, now_ms: int) -> Iterable[TimelineEntry]:
    """The ending by the row; a cancelation is a recorded event."""
    at_ms = one.ended_ms if one.ended_ms is not None else now_ms
    if one.status == "delivered":
        yield _entry(at_ms, one.status, one.generation)
    elif one.status == "dead":
        yield _entry(at_ms, one.status, one.generation, reason=one.reason, detail=one.detail)


def _outlook(one: Recorded, now_ms: int) -> Iterable[TimelineEntry]:
    """The present state, and the next attempt, if no recorded event says so."""
    if one.status == "sending":
        detail = "on its way: a consumer is sending it"
        # While its consumer lives, an attempt that was claimed and not concluded holds a lease on the intent.
        if (one.lease_until_ms or 0) <= now_ms:
            detail = f"in doubt: {NEVER_CONCLUDED.why}; the next consumer that gets its message decides"
        yield _entry(one.updated_ms, "sending", one.generation, attempt=one.attempts, detail=detail)
    elif one.status == "retrying":
        detail = f"attempt {one.attempts + 1}, not before then"
        yield _entry(one.next_attempt_ms, "next attempt", one.generation, detail=detail)
    elif one.status == DEAD_LETTERING:
        detail = f"{one.detail} ({NOT_CONFIRMED})"
        yield _entry(one.updated_ms, "dead-lettering", one.generation, reason=one.reason, detail=detail)
