"""A webhook's answer: whether the order was taken, when to try again, what time it is there, what is shown. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from signalq.consumer.orders.order import Policy
from signalq.consumer.orders.state import Attempt, Certainty
from signalq.secrets.blanking import Blanker

# Of the body of a success; every success body is far shorter.
SUCCESS_BYTES_MAX = 4096
RETRY_AFTER_DIGITS_MAX = 9
SHOWN_CHARACTERS_MAX = 200
# So much of an answer is looked at: blanking makes it shorter, and only the beginning is shown.
LOOKED_AT_CHARACTERS = 1_000

# Answers that say the order did not reach the platform, or was turned away before it was looked at. 52x are
# Cloudflare's: 521 and 523 no connection to the origin, 525 and 526 no TLS with it.
NOT_TAKEN_STATUSES = frozenset({425, 429, 521, 523, 525, 526})
# Statuses that say so only with Retry-After: without it they may come from a server that gave up half way.
NOT_TAKEN_WITH_RETRY_AFTER = frozenset({408, 503})


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def attempt_of(answer: Answer, policy: Policy, began_ms: int, ended_ms: int, *, duration_s: float) -> Attempt:
    """The attempt that this answer has concluded, begun and ended at these times of our clock."""
    dated = _date(answer.headers.get("Date"))
    # A moment in Retry-After is one of the webhook's own clock.
    now = dated or datetime.fromtimestamp(ended_ms / 1000, UTC)
    wait_s = retry_after_s(answer.headers.get("Retry-After"), now)
    certainty = certainty_of(
        answer.status,
        has_retry_after=wait_s is not None,
        is_success_body=_is_success(answer.body, policy.success_body),
        not_taken_statuses=policy.not_taken_statuses,
    )
    why = f"HTTP {answer.status}"
    if certainty == "unknown" and 200 <= answer.status <= 299:
        why += " with another body than expected"
    return Attempt(
        certainty,
        sent=True,
        why=why,
        status=answer.status,
        retry_after_s=wait_s,
        duration_s=duration_s,
        clock_ahead_ms=_clock_ahead_ms(dated, began_ms, ended_ms) if dated is not None else None,
    )


def certainty_of(
    status: int, *, has_retry_after: bool, is_success_body: bool, not_taken_statuses: frozenset[int]
) -> Certainty:
    """The certainty of an answer: exactly one for every status."""
    if 200 <= status <= 299:
        return "accepted" if is_success_body else "unknown"
    if status in not_taken_statuses or status in NOT_TAKEN_STATUSES:
        return "not taken"
    if status in NOT_TAKEN_WITH_RETRY_AFTER and has_retry_after:
        return "not taken"
    if status == 408 or not 300 <= status <= 499:
        return "unknown"
    return "refused"


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, from seconds or an HTTP date; None where it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text.lstrip("0")[:RETRY_AFTER_DIGITS_MAX] or "0")
    date = _date(text)
    return max(0.0, (date - now).total_seconds()) if date is not None else None


def shown(answer: bytes, *blankers: Blanker) -> str | None:
    """At most SHOWN_CHARACTERS_MAX of an answer, printable, without the secrets that the blankers know; None if empty.

    An answer is foreign text, which may repeat the token that it was sent, whole or cut, as it is or encoded.
    """
    text = answer.decode("utf-8", "replace")[:LOOKED_AT_CHARACTERS]
    for blanker in blankers:
        text = blanker(text)
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return " ".join(words)[:SHOWN_CHARACTERS_MAX] or None


def _clock_ahead_ms(dated: datetime, began_ms: int, ended_ms: int) -> tuple[int, int]:
    """By how much at least, and at most, our clock is ahead of the webhook's, which dates in whole seconds."""
    dated_ms = round(dated.timestamp() * 1000)
    return began_ms - (dated_ms + 1000), ended_ms - dated_ms


def _is_success(body: bytes, success_body: str) -> bool:
    """Whether the body is the one expected, trimmed, case ignored; an empty success_body accepts any.

    Case is ignored for ASCII's letters alone: to Unicode the Kelvin sign is a capital k, and nobody meant that by `ok`.
    """
    if not success_body:
        return True
    return len(body) <= SUCCESS_BYTES_MAX and body.strip().lower() == success_body.strip().encode().lower()


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text.strip())
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
