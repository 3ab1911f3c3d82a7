"""The cause of a letter: its detail without what differs from letter to letter, with all that tells causes apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders import details, rights
from signalq.consumer.orders.delays import KnownSkew
from signalq.consumer.orders.letters import cause_of
from signalq.consumer.orders.limits import Scoped
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.read import EVENT_CAME_BACK, read
from signalq.consumer.orders.state import IntentState
from signalq.settings.named import Limits
from signalq.settings.sections import Settings
from tests.support.orders import altered, body, order

NOW_MS = 1_700_000_000_000
TOO_OLD_S = 100
CREATED, DUE = "its creation (signalq-created-ms)", "its due time"
STATUSES = ("HTTP 400", "HTTP 401", "HTTP 503", "HTTP 200 with another body than expected")


def state(**known: Any) -> IntentState:
    return IntentState("id", bytes(16), **known)


def old(age_s: float, **facts: Any) -> Order:
    """An open that came when it was so old."""
    made = order(created_ms=NOW_MS - round(age_s * 1000), received_ms=facts.get("received_ms", NOW_MS))
    return altered(made, **facts)


def expired(of: Order, start_ms: int = NOW_MS) -> str:
    return details.expired(of, NOW_MS, start_ms)


def unreadable(content: bytes) -> str:
    found = read(Message(content, Basic.Properties(), "main", redelivered=False), Settings(), NOW_MS)
    assert isinstance(found, Unreadable)
    return found.detail


# How a detail is made for a letter with this number, and the cause of all of them.
ALIKE: dict[str, tuple[Callable[[int], str], str]] = {
    "exhausted": (
        lambda number: details.exhausted(state(attempts_counted=7 + number, why="HTTP 502")),
        "… attempts failed, the last: HTTP 502",
    ),
    "in doubt": (
        lambda number: details.doubt(state(first_post_ms=NOW_MS + number, why="timed out after the request went out")),
        "first sent at …; whether the webhook took it can't be known: timed out after the request went out",
    ),
    "in doubt, and barred": (
        lambda number: f"{details.doubt(state(first_post_ms=NOW_MS + number))}; it is not repeated: {rights.NOBODY}",
        "first sent at …; whether the webhook took it can't be known: the consumer ended while it was sending; "
        f"it is not repeated: {rights.NOBODY}",
    ),
    "superseded": (
        lambda number: details.superseded(state(attempts=1 + number, why="HTTP 429"), "cancelAll"),
        "its waiting for the next attempt was ended by a cancelAll that came after it; "
        "the last of … attempts: HTTP 429",
    ),
    "it came too old": (
        lambda number: expired(old(TOO_OLD_S + number)),
        f"… s old, … s are allowed from {CREATED}; it was … s old when it came: "
        "it waited on the broker, or the clock of its producer is behind",
    ),
    "it grew old here": (
        lambda number: expired(old(TOO_OLD_S + number, received_ms=NOW_MS - 60_000)),
        f"… s old, … s are allowed from {CREATED}",
    ),
    "it waited on the broker": (
        lambda number: expired(old(TOO_OLD_S + number, stamped_ms=NOW_MS - 90_000 - number * 1000)),
        f"… s old, … s are allowed from {CREATED}; it waited on the broker for … s",
    ),
    "its producer's clock is behind": (
        lambda number: expired(old(TOO_OLD_S + number, stamped_ms=NOW_MS - 2_000)),
        f"… s old, … s are allowed from {CREATED}; its producer's clock is behind: "
        "by that it was … s old when the broker took it",
    ),
    "our clock is ahead": (
        lambda number: expired(old(TOO_OLD_S + number, skew=KnownSkew((), 60_000 + number * 1000))),
        f"… s old, … s are allowed from {CREATED}; this machine's clock is … s ahead",
    ),
    "it is too old after its due time": (
        lambda number: expired(old(0, due_ms=NOW_MS - 70_000 - number * 1000)),
        f"… s old, … s are allowed from {DUE}",
    ),
    "its next attempt is too late": (
        lambda number: expired(old(0), NOW_MS + 70_000 + number * 1000) + "; the last attempt: HTTP 503",
        f"the next attempt is … s away, past the … s allowed from {CREATED}; the last attempt: HTTP 503",
    ),
    "handling it failed": (
        lambda number: f"handling it failed unexpectedly {3 + number} times, see the log",
        "handling it failed unexpectedly … times, see the log",
    ),
    "no UTF-8": (lambda number: unreadable(b" " * number + b"\xff"), "the body is not UTF-8 (byte …)"),
    "no JSON": (
        lambda number: unreadable(b" " * number + b"{]"),
        "the body is not JSON (Expecting property name enclosed in double quotes, line … column …)",
    ),
    "many fields that nobody knows": (
        lambda number: f"{unreadable(body(x1='1', y=2))}; and {number} more",
        f"{unreadable(body(x1='1', y=2))}; and … more",
    ),
    "a limit of other settings": (
        lambda number: f"percent: is above {50 + number / 10:g} % (1,00{number} of 2e+0{number})",
        "percent: is above … % (… of …)",
    ),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_letters_that_differ_in_moments_durations_and_counts_alone_have_one_cause(kind: str) -> None:
    detail, cause = ALIKE[kind]
    made = [detail(number) for number in range(1, 4)]
    assert len(set(made)) == len(made), "a case in which nothing differs shows nothing"
    assert {cause_of(one) for one in made} == {cause}


def causes_of_their_own() -> dict[str, str]:
    """Details of which no two have one cause, by what they are."""
    limits = Limits.model_validate({"fixed_max": "5", "orders_per_minute_max": 7, "limits": "enforce"})
    found = {f"refused with {why}": f"the webhook refused it: {why}" for why in STATUSES}
    found |= {f"exhausted by {why}": details.exhausted(state(attempts_counted=8, why=why)) for why in STATUSES}
    found |= {f"in doubt after {why}": details.doubt(state(first_post_ms=NOW_MS, why=why)) for why in STATUSES}
    found |= {name: unreadable(body(**{name: "0.5"})) for name in ("percent2", "size_1", "sizes")}
    found |= {name: unreadable(body(**{name: "x"})) for name in ("percent", "fixed", "delaySeconds", "action")}
    found |= {
        f"{action} over a limit of a {scope}": one.detail
        for scope in ("connector", "strategy")
        for action in ("openLong", "openShort")
        for one in Scoped(scope, "main", limits).exceeded(
            old(0).intent.model_copy(update={"action": action, "fixed": "6" if action == "openLong" else None}),
            is_exit=False,
        )
    }
    found |= {one: one for one in (rights.NOBODY, rights.NOT_NAMED, rights.NOT_THIS_ACTION, rights.WRONG_TOKEN)}
    found["close-only"] = details.closed_to_opens(state())
    found["close-only, and in doubt"] = details.closed_to_opens(state(in_doubt=True))
    found["not tried yet"] = details.superseded(state(), "cancelAll")
    found["an event"] = EVENT_CAME_BACK
    return found | {kind: detail(1) for kind, (detail, _) in ALIKE.items()}


def test_statuses_names_of_fields_and_of_settings_and_words_tell_causes_apart() -> None:
    found = {kind: cause_of(detail) for kind, detail in causes_of_their_own().items()}
    assert len(set(found.values())) == len(found), found


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        (None, None),
        ("", ""),
        ("HTTP 400", "HTTP 400"),
        ("HTTP 4000", "HTTP …"),
        ("at 2026-11-30T16:09:11.608Z.", "at …."),
        ("at 2026-11-30T16:09:11+01:00", "at …"),
        ("v2 of md5, 10.2.0.7:5672", "v2 of md5, …:…"),
        ("-5 or 3%", "-… or …%"),
    ],
)
def test_a_number_is_left_out_where_it_stands_by_itself_and_is_no_http_status(
    detail: str | None, cause: str | None
) -> None:
    assert cause_of(detail) == cause


@given(st.text(st.sampled_from("0129.,:-+eTZx …HP") | st.characters(), max_size=40))
@example("HTTP 503 2026-11-30T16:09:11.608Z 1.5e+06")
def test_a_cause_is_its_own_cause_and_never_longer_than_the_detail(detail: str) -> None:
    cause = cause_of(detail)
    assert cause is not None
    assert cause_of(cause) == cause
    assert len(cause) <= len(detail)
