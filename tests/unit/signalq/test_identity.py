"""The identity of an intent: new, fitting, and safe to show (contract 1)."""

from __future__ import annotations

import pytest
from pamqp.commands import Basic

from signalq.message.envelope import republish_properties
from signalq.message.identity import ID_CHARACTERS_SHOWN, fitting_id, new_message_id, printable_id, short_id


def test_a_message_id_of_ours_is_new_each_time() -> None:
    assert len({new_message_id() for _ in range(100)}) == 100


def test_an_identity_that_is_too_long_to_travel_gets_one_that_fits_and_stays_the_same() -> None:
    """Bytes that are no UTF-8 are read as their escapes, and 255 of them become 1,020 characters."""
    for message_id in ("x" * 255, "é" * 127, ""):
        assert fitting_id(message_id) == message_id
    long, other = "\\xff" * 255, "\\xff" * 254 + "\\xfe"
    fitting = fitting_id(long)
    assert len(fitting.encode()) <= 255
    assert fitting_id(fitting) == fitting != fitting_id(other)
    again = republish_properties(Basic.Properties(message_id=long), {}, "an intent")
    assert again.message_id == fitting


@pytest.mark.parametrize(
    ("message_id", "shown"),
    [
        ("percent", "percent"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("größe", "gr\\xf6\\xdfe"),
        ("\ud800", "\\ud800"),
        ("n" * (ID_CHARACTERS_SHOWN + 1), "n" * ID_CHARACTERS_SHOWN + "…"),
    ],
)
def test_a_foreign_identity_is_shown_without_control_characters_and_cut(message_id: str, shown: str) -> None:
    assert printable_id(message_id) == shown


@pytest.mark.parametrize(
    ("message_id", "short"),
    [
        ("n1", "n1"),
        ("12345678", "12345678"),
        ("3b61a24e3b6743658da38126d25cb526", "3b61a24e"),
        ("3B61A24E-3B67-4365-8DA3-8126D25CB526", "3B61A24E"),
        ("momentum-20261130-0001", "mom…0001"),
        ("3b61a24e3b6743658da38126d25cb526~1f", "3b6…6~1f"),
    ],
)
def test_an_identity_is_cut_to_what_is_likely_to_be_its_own(message_id: str, short: str) -> None:
    assert short_id(message_id, 8) == short
