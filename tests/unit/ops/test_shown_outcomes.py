"""`signalq outcomes` shows an ending once, however often its event comes: pure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len

from signalq.message.outcome import Outcome
from signalq.ops import outcomes
from signalq.ops.commands.outcomes import COLUMNS, NARROW, _line
from signalq.ops.outcomes import OutcomeFilter, ShownOutcomes

THEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
DELIVERED = Outcome("id", 1, "main", "m", "buy", None, "delivered", None, 1, 200, THEN, None, THEN)
DUPLICATE = replace(DELIVERED, status="duplicate", attempts=0, updated_at=THEN + timedelta(seconds=1))


def shown(*events: Outcome) -> list[Outcome]:
    seen = ShownOutcomes()
    return [event for event in events if seen.is_news(event)]


def test_a_duplicates_first_ending_is_not_shown_again_and_each_duplicate_is() -> None:
    assert shown(DELIVERED, DUPLICATE, DELIVERED, DUPLICATE, DELIVERED) == [DELIVERED, DUPLICATE, DUPLICATE]


def test_an_ending_from_before_the_command_listened_is_no_news_when_a_duplicate_repeats_it() -> None:
    assert shown(DUPLICATE, DELIVERED) == [DUPLICATE]


def test_a_filter_for_one_ending_listens_for_duplicates_too() -> None:
    assert OutcomeFilter(connector="main", status="delivered").bindings() == ["main.*.delivered", "main.*.duplicate"]
    assert OutcomeFilter(strategy="m").bindings() == ["*.m.*"]
    assert OutcomeFilter(status="duplicate").bindings() == ["*.*.duplicate"]
    assert not OutcomeFilter(status="delivered").fits(DUPLICATE)


def test_an_ending_that_comes_after_its_duplicate_is_news() -> None:
    """The second publish came while the first one was on its way."""
    later = replace(DELIVERED, updated_at=THEN + timedelta(seconds=2))
    assert shown(DUPLICATE, later, later) == [DUPLICATE, later]


def test_another_intent_generation_strategy_or_ending_is_news() -> None:
    others = [
        replace(DELIVERED, intent_id="other"),
        replace(DELIVERED, generation=2),
        replace(DELIVERED, strategy="n"),
        replace(DELIVERED, status="dead"),
    ]
    assert shown(DELIVERED, *others) == [DELIVERED, *others]


def test_only_so_many_outcomes_are_remembered() -> None:
    seen = ShownOutcomes()
    for number in range(outcomes.SHOWN_MAX + 1):
        seen.is_news(replace(DELIVERED, intent_id=str(number)))
    assert not seen.is_news(replace(DELIVERED, intent_id=str(outcomes.SHOWN_MAX)))
    assert seen.is_news(replace(DELIVERED, intent_id="0"))


def test_events_that_come_while_the_past_is_asked_for_are_told_behind_it_and_once() -> None:
    told: list[Outcome] = []
    teller = outcomes._Teller(OutcomeFilter(), told.append, asyncio.Event())
    later = replace(DELIVERED, intent_id="later")
    teller.take(DELIVERED)
    teller.take(later)
    assert told == []
    earlier = replace(DELIVERED, intent_id="earlier")
    teller.begin([earlier, DELIVERED])
    teller.take(later)
    assert told == [earlier, DELIVERED, later]


LONG = replace(DELIVERED, connector="futures-main-account-1", strategy="momentum-15-minutes")


@pytest.mark.parametrize("intent_id", ["momentum-20261130-0001", "我的機器人" * 9, "3b61a24e" * 4, "x" * 255])
def test_the_line_of_an_outcome_fits_80_columns_and_its_id_can_be_pasted(intent_id: str) -> None:
    room = 80 - sum(NARROW.values()) - 2 * len(NARROW)
    line = _line(replace(LONG, intent_id=intent_id), NARROW, room).plain
    assert cell_len(line) <= 80
    beginning, _, end = line.split("  ")[-1].partition("…")
    assert intent_id.startswith(beginning.rstrip())
    assert intent_id.endswith(end)


def test_two_connectors_that_differ_at_their_ends_differ_on_a_terminal() -> None:
    lines = {_line(replace(LONG, connector=f"futures-account-{n}"), NARROW, 15).plain for n in (1, 2)}
    assert len(lines) == 2


def test_in_a_pipe_the_line_of_an_outcome_is_whole() -> None:
    line = _line(replace(LONG, intent_id="x" * 255), COLUMNS, None).plain
    assert {"futures-main-account-1", "momentum-15-minutes", "x" * 255} <= set(line.split())
