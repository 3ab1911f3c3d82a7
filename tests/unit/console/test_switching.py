"""The switch before a change, and after it: what it undoes, the word that confirms it, and who has taken it up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.orders.switch import ALL, State, Switch, milder_for
from signalq.message.field_rules import connector_name
from signalq.ops.console.switching import RESUME, figures_of, question_of, taken_by, word_for
from tests.support.console_site import settings_of
from tests.support.console_snapshots import NASTY, NOW_MS, calm, change, replica, snapshot_of

SWITCH = Switch(9, {"alpha": "paused", "beta": "close-only"})


@pytest.mark.parametrize(
    ("connector", "to", "undone"),
    [
        (ALL, "paused", []),
        (ALL, "close-only", []),
        (ALL, "open", ["alpha", "beta"]),
        ("alpha", "paused", []),
        ("alpha", "close-only", ["alpha"]),
        ("alpha", "open", ["alpha"]),
        ("beta", "paused", []),
        ("beta", "open", ["beta"]),
        ("new", "paused", []),
        ("new", "open", []),
    ],
)
def test_a_change_undoes_each_switch_that_it_makes_milder(connector: str, to: State, undone: list[str]) -> None:
    assert milder_for(SWITCH, connector, to) == undone
    question = question_of(connector, to, SWITCH, {"alpha": change(3, "alpha")})
    assert [one.connector for one in question.undone] == undone
    assert question.is_away is bool(undone)
    assert question.version == 9


def test_each_switch_that_is_undone_is_told_with_the_person_who_set_it() -> None:
    question = question_of(ALL, "open", SWITCH, {"alpha": change(3, "alpha", who="carol")})
    assert [(one.state, one.change and one.change.who) for one in question.undone] == [
        ("paused", "carol"),
        ("close-only", None),
    ]


def test_all_are_let_go_by_the_word_and_one_by_its_name() -> None:
    assert word_for(ALL) == RESUME
    assert word_for("main") == "main"
    assert word_for("my bot #2") == "my bot #2"


@pytest.mark.parametrize("name", NASTY)
def test_a_name_that_nobody_can_type_is_not_asked_for(name: str) -> None:
    word = word_for(name)
    assert word == RESUME or (word == name and name.isascii() and name.isprintable())


@given(st.text(min_size=1, max_size=60))
def test_the_pattern_of_the_field_takes_the_word_and_nothing_else(name: str) -> None:
    question = question_of(name, "open", Switch(1, {name: "paused"}), {})
    assert re.fullmatch(question.pattern, question.word)
    assert re.fullmatch(r"(?:[A-Za-z0-9]|\\x[0-9a-f]{2})+", question.pattern)
    assert not re.fullmatch(question.pattern, f"{question.word}x")


@given(st.text(min_size=1, max_size=60))
def test_the_word_of_a_connector_can_be_typed_into_a_field(name: str) -> None:
    try:
        connector_name(name)
    except ValueError:
        return
    assert word_for(name) == word_for(name).strip()


def test_the_figures_are_those_of_the_lanes_that_a_change_concerns() -> None:
    settings = settings_of("sqlite:////x.db", connectors={"main": {"open_max_age_s": 30}})
    snapshot = snapshot_of()
    everything = figures_of(ALL, snapshot, settings)
    assert (everything.out, everything.waiting, everything.opens_due) == (1, 12 + 3 + 14 + 0 + 41 + 3 + 0 + 1 + 3, 9)
    assert (everything.oldest_ms, everything.open_max_age_s) == (NOW_MS - 41_000, 60)
    one = figures_of("main", snapshot, settings)
    assert (one.out, one.waiting, one.oldest_ms, one.open_max_age_s) == (1, 15, NOW_MS - 400, 30)


def test_a_connector_in_the_shared_lane_waits_there_and_nobody_knows_how_much() -> None:
    settings = settings_of("sqlite:////x.db")
    assert figures_of("main too", snapshot_of(), settings).waiting is None
    assert figures_of("never seen", calm(), settings).waiting is None


@pytest.mark.parametrize(
    ("seen", "silent_ms", "after_ms", "taking"),
    [
        (7, 100, 0, "acts"),
        (8, 100, 60_000, "acts"),
        (6, 100, 9_999, "waits"),
        (6, 100, 10_000, "late"),
        (6, 1_500, 10_000, "silent"),
        (7, 90_000, 0, "silent"),
    ],
)
def test_a_consumer_acts_by_a_change_waits_is_late_or_silent(
    seen: int, silent_ms: int, after_ms: int, taking: str
) -> None:
    made = change(7)
    taken = taken_by(replica(seen=seen, silent_ms=silent_ms), made, made.at_ms + after_ms)
    assert taken.taking == taking
