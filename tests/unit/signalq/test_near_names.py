"""Names that look like another: found, and in a time that does not grow with what is known."""

from __future__ import annotations

import time

import pytest

from signalq.message.near_names import NearNames

KNOWN = NearNames(["main", "alt", "btc-grid-1", "我的機器人", "café", "x", "***"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mian", "main"),
        ("Main", "main"),
        ("MAIN", "main"),
        ("ma in", "main"),
        ("ma\xa0in", "main"),
        ("main.", "main"),
        ("\uff4d\uff41\uff49\uff4e", "main"),  # full-width letters
        ("m\u0430in", "main"),  # a Cyrillic a
        ("mann", "main"),
        ("man", "main"),
        ("mains", "main"),
        ("amin", "main"),
        ("cafe\u0301", "café"),
        ("btc_grid_1", "btc-grid-1"),
        ("btcgrid1", "btc-grid-1"),
        ("bct-grid-1", "btc-grid-1"),
        ("我的机器人", "我的機器人"),
        ("我的機器", "我的機器人"),
        ("X", "x"),
        ("main", None),
        ("btc-grid-2", None),
        ("btc-grid-11", None),
        ("maintenance", None),
        ("eth", None),
        ("y", None),
        ("****", "***"),
        ("???", None),
        ("", None),
    ],
)
def test_a_name_is_near_what_it_may_have_been_meant_for(name: str, near: str | None) -> None:
    assert KNOWN.of(name) == near


def test_without_known_names_nothing_is_near() -> None:
    assert NearNames([]).of("main") is None


def test_the_worst_name_costs_no_more_beside_many_known_ones() -> None:
    """2,000 known names of one kind; 128 bytes is the longest name. Generous: it takes 0.1 ms."""
    known = NearNames([f"{'a' * 40}{chr(0x4E00 + number)}" for number in range(2_000)])
    names = [f"{'a' * 40}-{number}{'b' * 20}" for number in range(100)] + ["\U0001f680" * 32, "ﷺ" * 42, "b" * 128]
    began_s = time.process_time()
    for name in names:
        known.of(name)
    assert (time.process_time() - began_s) / len(names) < 0.002
