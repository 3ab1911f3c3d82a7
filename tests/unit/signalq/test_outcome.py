"""An outcome as a value and as an event: what goes out comes in again."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.errors import InvalidEvent
from signalq.message.outcome import EVENT_BYTES_MAX, STATUSES, Outcome, at, binding_key, routing_key

NOW = datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
DEAD = Outcome("id", 2, "main", "momentum", "openLong", "c1", "dead", "expired", 3, 503, NOW, NOW, NOW)
BARE = Outcome("id", 1, "main", "-", None, None, "dead", "invalid", 0, None, None, None, None)

texts = st.text(max_size=255)
moments = st.integers(0, 253_402_300_799_000).map(at)


@given(
    st.builds(
        Outcome,
        texts,
        st.integers(1, 2**31),
        texts,
        texts,
        st.none() | texts,
        st.none() | texts,
        st.sampled_from(STATUSES),
        st.none() | texts,
        st.integers(0, 2**31),
        st.none() | st.integers(100, 599),
        st.none() | moments,
        st.none() | moments,
        st.none() | moments,
    )
)
def test_every_outcome_is_read_again_from_its_event_which_is_small_and_plain(outcome: Outcome) -> None:
    event = outcome.to_event()
    assert Outcome.from_event(event) == outcome
    assert event.isascii()
    assert len(event) <= EVENT_BYTES_MAX


def test_an_event_has_the_contracts_fields_in_its_order() -> None:
    assert list(DEAD.row()) == [field.name for field in fields(Outcome)]
    assert DEAD.row()["updated_at"] == "2026-01-31T12:00:00.123Z"
    assert BARE.row()["created_at"] is None


def test_a_time_in_another_zone_is_written_in_utc() -> None:
    elsewhere = replace(DEAD, created_at=NOW.astimezone(timezone(timedelta(hours=8))))
    assert elsewhere.to_event() == DEAD.to_event()


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert Outcome.from_event(json.dumps(DEAD.row() | {"new": [1]}).encode()) == DEAD


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 50_000,
        b" " * (EVENT_BYTES_MAX + 1),
        *(
            json.dumps(DEAD.row() | changed).encode()
            for changed in (
                {"intent_id": None},
                {"intent_id": 1},
                {"generation": "1"},
                {"generation": True},
                {"status": "sending"},
                {"attempts": None},
                {"http_status": "200"},
                {"created_at": "yesterday"},
                {"updated_at": 1},
            )
        ),
    ],
)
def test_a_body_that_is_no_event_is_refused_and_not_quoted(body: bytes) -> None:
    with pytest.raises(InvalidEvent) as refusal:
        Outcome.from_event(body)
    assert "yesterday" not in str(refusal.value)


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("main", "momentum", "dead"), "main.momentum.dead"),
        (("a.b", "x y/z", "delivered"), "a_b.x_y_z.delivered"),
        (("Zähler-1_x", "-", "canceled"), "Z_hler-1_x.-.canceled"),
        (("", "", "duplicate"), "-.-.duplicate"),
        (("*", "#", "dead"), "_._.dead"),
    ],
)
def test_a_routing_key_has_three_plain_words(names: Any, key: str) -> None:
    assert routing_key(*names) == key


@given(texts, texts, st.sampled_from(STATUSES))
def test_a_routing_key_always_fits_and_a_binding_matches_it(connector: str, strategy: str, status: Any) -> None:
    key = routing_key(connector, strategy, status)
    assert len(key.encode()) <= 255
    assert key.count(".") == 2
    assert binding_key(connector=connector, strategy=strategy, status=status) == key
    assert binding_key(strategy=strategy) == f"*.{key.split('.')[1]}.*"


def test_a_binding_without_names_takes_all() -> None:
    assert binding_key() == "*.*.*"
