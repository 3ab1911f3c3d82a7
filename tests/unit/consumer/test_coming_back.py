"""What we published ourselves, known again when it comes back as a message: pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq.consumer.orders.decisions import Drop, Park
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Identity, Order, Unreadable
from signalq.consumer.orders.outcomes import event_of, unreadable
from signalq.consumer.orders.read import read
from signalq.consumer.orders.rules import before
from signalq.consumer.orders.state import IntentState
from signalq.message.outcome import EVENT_BEGINS, OWN_EVENT_BYTES_MAX, Outcome, is_event
from signalq.settings.sections import Settings

NOW_MS = 1_700_000_000_000
SETTINGS = Settings(connectors={"main": {}})
COPY = {"signalq-intent-id": "id"}
LETTER = {**COPY, "signalq-reason": "expired"}
EVENT = event_of(unreadable(Unreadable("what", "main", Identity("-", "id", None, None, b"")), NOW_MS))
BY_THE_LADDER = {"exchange": "signalq.delay.3", "queue": "signalq.delay.3", "reason": "expired", "count": 1}


def receive(body: bytes, headers: dict[str, Any] | None = None, **properties: Any) -> Order | Unreadable:
    sent = Basic.Properties(message_id="id", headers=headers or {}, **properties)
    return read(Message(body, sent, "main", redelivered=False), SETTINGS, NOW_MS)


def order_of(headers: dict[str, Any], *, exchange: str = "", **fields: Any) -> Order:
    body = {"connectorName": "main", "connectorToken": "t", "action": "openLong"} | fields
    dated = {"signalq-created-ms": NOW_MS, **headers}
    message = Message(json.dumps(body).encode(), Basic.Properties(message_id="id", headers=dated), "main", False)
    found = read(replace(message, exchange=exchange), SETTINGS, NOW_MS)
    assert isinstance(found, Order)
    return found


@pytest.mark.parametrize("headers", [{}, COPY, {"x-death": [{"count": 1}]}], ids=str)
def test_an_event_is_known_by_its_body_whatever_became_of_its_headers(headers: dict[str, Any]) -> None:
    assert is_event(EVENT.body)
    found = receive(EVENT.body, headers)
    assert isinstance(found, Unreadable)
    assert (found.reason, found.came_back) == ("invalid", True)
    assert "outcome event of signalq" in found.detail


def test_the_longest_names_that_an_event_can_tell_make_it_no_longer_than_what_is_looked_at() -> None:
    longest = "\U0001f600" * 255
    assert is_event(
        Outcome(longest, 1, longest, longest, longest, longest, "dead", "x", 0, 1, None, None, None).to_event()
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        EVENT.body[:-1],
        EVENT_BEGINS + b'"x"}',
        json.dumps({"connectorName": "main", **json.loads(EVENT.body)}).encode(),
        json.dumps(json.loads(EVENT.body) | {"status": "received"}, separators=(",", ":")).encode(),
        json.dumps(json.loads(EVENT.body) | {"more": "x" * OWN_EVENT_BYTES_MAX}, separators=(",", ":")).encode(),
    ],
    ids=["nothing", "cut off", "its beginning alone", "another beginning", "another status", "too long"],
)
def test_a_message_that_only_looks_like_an_event_is_an_ending_of_its_own(body: bytes) -> None:
    assert not is_event(body)
    found = receive(body)
    assert isinstance(found, Unreadable)
    assert not found.came_back


def test_the_marks_of_a_letter_alone_say_nothing_of_what_can_not_be_read() -> None:
    """Where it can be read, the ledger says what to do with it: forged marks keep no order from its webhook."""
    marked = receive(b"no JSON", LETTER)
    assert isinstance(marked, Unreadable)
    assert not marked.came_back
    assert order_of(LETTER).provenance.is_letter
    assert not order_of(COPY).provenance.is_letter


@pytest.mark.parametrize(
    ("exchange", "deaths", "is_beside"),
    [
        ("", [BY_THE_LADDER], False),
        ("", [], False),
        ("signalq.orders", [], False),
        ("signalq.delay.3", [], True),
        ("", [BY_THE_LADDER | {"queue": "theirs"}], True),
        ("", [BY_THE_LADDER | {"queue": "signalq.delay.4"}], True),
        ("signalq.orders", [{"exchange": "x", "queue": "theirs"}, BY_THE_LADDER | {"queue": "mine"}], True),
        ("", "no list", False),
        ("", [None, {"exchange": 1}], False),
    ],
)
def test_a_copy_came_beside_the_ladder_where_any_other_queue_than_its_own_had_it_from_there(
    exchange: str, deaths: Any, *, is_beside: bool
) -> None:
    assert order_of(COPY | {"x-death": deaths}, exchange=exchange).provenance.came_beside is is_beside
    assert not order_of({"x-death": deaths}, exchange=exchange).provenance.came_beside, "no copy of ours"


@pytest.mark.parametrize("status", ["received", "scheduled"])
def test_a_copy_of_a_parked_order_is_dropped_unless_the_ladder_brought_it_which_parks_it_on(
    status: Any,
) -> None:
    beside = order_of(COPY, exchange="signalq.delay.3", delaySeconds=60)
    brought = order_of(COPY, delaySeconds=60)
    known = IntentState("id", beside.identity.digest, status=status, version=1)
    assert before(beside, known, NOW_MS) == Drop(duplicate=False)
    assert before(brought, known, NOW_MS) == Park(NOW_MS + 60_000)
    nothing = IntentState("id", beside.identity.digest)
    assert before(beside, nothing, NOW_MS) == Park(NOW_MS + 60_000), "nobody knows it: it may be the only one"
