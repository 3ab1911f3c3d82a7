"""An order's timeline as a drawing: what lasts is a bar and what happens a dot, within the frame, whatever happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.ledger.queries.orders import Happened, Recorded
from signalq.ops.console.orders.axis import MARKS_MAX, ticks
from signalq.ops.console.orders.timeline import (
    FIRST_ROWS,
    FIRST_STEPS,
    LAST_ROWS,
    LAST_STEPS,
    PLOT_WIDTH,
    ROW_HEIGHT,
    WORDS_WIDTH,
    Drawing,
    Span,
    drawn,
    sections,
    spans,
)
from signalq.ops.orders.records import Story, timeline
from signalq.times import iso_ms
from tests.unit.ops.test_timeline import CREATED_MS, RECEIVED, attempt, step

NOW_MS = CREATED_MS + 50_000
DUE_MS = CREATED_MS + 20_000
SHAPES_MAX = 12 * PLOT_WIDTH


def story(one: Recorded, *happened: Happened, now_ms: int = NOW_MS) -> Story:
    return Story(one, timeline(one, happened, now_ms), now_ms)


def lasting(one: Recorded, *happened: Happened, now_ms: int = NOW_MS) -> list[tuple[str, int, int, bool]]:
    """The bars of the only generation: kind, from and until in ms since its creation, and whether it goes on."""
    told = spans(story(one, *happened, now_ms=now_ms).timeline, one.delayed_until_ms, now_ms)
    bars = [span for span in told if span.until_ms is not None]
    return [(span.kind, span.from_ms - CREATED_MS, span.end_ms - CREATED_MS, span.is_open) for span in bars]


def posted(after_ms: int, certainty: str, duration_ms: int, **facts: Any) -> Happened:
    return replace(attempt(after_ms, certainty, **facts), duration_ms=duration_ms)


def test_an_order_waits_on_the_broker_then_in_its_lane_then_between_its_attempts() -> None:
    done = replace(RECEIVED, status="delivered", attempts=2, ended_ms=CREATED_MS + 900)
    assert lasting(done, posted(600, "not taken", 100), posted(900, "accepted", 50)) == [
        ("broker", 0, 5, False),
        ("lane", 5, 500, False),
        ("post not-taken", 500, 600, False),
        ("backoff", 600, 850, False),
        ("post accepted", 850, 900, False),
    ]


def test_a_delayed_order_waits_for_its_due_time_and_then_for_its_turn() -> None:
    done = replace(RECEIVED, status="delivered", due_ms=DUE_MS, ended_ms=CREATED_MS + 20_300)
    parked = step(10, "scheduled", detail=f"until {iso_ms(DUE_MS)}")
    assert lasting(done, parked, posted(20_300, "accepted", 100)) == [
        ("broker", 0, 5, False),
        ("delay", 5, 20_000, False),
        ("lane", 20_000, 20_200, False),
        ("post accepted", 20_200, 20_300, False),
    ]


def test_the_due_time_of_an_earlier_generation_is_the_one_that_it_noted_itself() -> None:
    again = replace(RECEIVED, generation=2, status="received", replayed_ms=CREATED_MS + 40_000)
    parked = step(10, "scheduled", detail=f"until {iso_ms(DUE_MS)}")
    died = step(20_000, "dead", detail="forbidden: x")
    told = story(again, parked, died, step(40_000, "replayed", generation=2, detail="by ann"))
    newest, oldest = sections(told)
    assert (newest.generation, oldest.generation) == (2, 1)
    assert "delay" in {shape.kind for shape in oldest.drawing.shapes}
    assert [shape.kind for shape in newest.drawing.shapes] == ["replayed", "lane"]


@pytest.mark.parametrize(
    ("one", "happened", "last"),
    [
        (replace(RECEIVED), [], ("lane", 5, 50_000, True)),
        (replace(RECEIVED, status="scheduled", due_ms=DUE_MS + 60_000), [], ("delay", 5, 80_000, True)),
        # It is due, and nobody has claimed it.
        (replace(RECEIVED, status="scheduled", due_ms=DUE_MS), [], ("lane", 20_000, 50_000, True)),
        (
            replace(RECEIVED, status="retrying", next_attempt_ms=CREATED_MS + 70_000),
            [posted(100, "not taken", 20)],
            ("backoff", 100, 70_000, True),
        ),
        # The time of its next attempt has passed, and it is not its turn.
        (
            replace(RECEIVED, status="retrying", next_attempt_ms=CREATED_MS + 9_000),
            [posted(100, "not taken", 20)],
            ("backoff", 100, 50_000, True),
        ),
        (
            replace(RECEIVED, status="sending", updated_ms=CREATED_MS + 49_000, lease_until_ms=NOW_MS + 1),
            [],
            ("post sending", 49_000, 50_000, True),
        ),
        (
            replace(RECEIVED, status="sending", updated_ms=CREATED_MS + 9_000),
            [],
            ("post unknown", 9_000, 50_000, True),
        ),
        (
            replace(RECEIVED, status="dying", reason="expired", updated_ms=CREATED_MS + 9_000),
            [],
            ("post sending", 9_000, 50_000, True),
        ),
    ],
    ids=["received", "scheduled", "due", "retrying", "its turn", "sending", "in doubt", "dead-lettering"],
)
def test_an_order_that_has_not_ended_ends_in_a_bar_that_goes_on_until_now_or_until_it_goes_on(
    one: Recorded, happened: list[Happened], last: tuple[str, int, int, bool]
) -> None:
    *before, open_one = lasting(one, *happened)
    assert open_one == last
    assert not any(is_open for *_, is_open in before)


@pytest.mark.parametrize("status", ["delivered", "dead", "canceled"])
def test_nothing_goes_on_after_an_ending(status: str) -> None:
    one = replace(RECEIVED, status=status, reason="expired", ended_ms=CREATED_MS + 700)
    canceled = [step(700, "canceled", detail="by ann")] if status == "canceled" else []
    assert lasting(one, *canceled) == [("broker", 0, 5, False), ("lane", 5, 700, False)]


@pytest.mark.parametrize(("reason", "waits"), [("rejected", False), ("outcome-unknown", False), ("expired", True)])
def test_a_death_that_an_attempt_brought_has_waited_for_nothing(reason: str, waits: bool) -> None:
    dead = replace(RECEIVED, status="dead", reason=reason, ended_ms=CREATED_MS + 900)
    kinds = [kind for kind, *_ in lasting(dead, posted(600, "refused", 100))]
    assert ("backoff" in kinds) is waits


def test_a_discarded_letter_does_not_stretch_the_drawing_by_the_days_that_it_lay_there() -> None:
    dead = replace(RECEIVED, status="dead", reason="rejected", ended_ms=CREATED_MS + 900)
    (section,) = sections(story(dead, posted(900, "refused", 100), step(86_400_000, "discarded", detail="by ann")))
    assert section.drawing.ticks[-1].after.endswith(" ms")
    assert section.first[-1].what == "discarded"


def test_a_drawing_of_two_entries_has_a_row_for_each_span_and_marks_with_both_times() -> None:
    (section,) = sections(story(RECEIVED, now_ms=CREATED_MS + 10_005))
    drawing = section.drawing
    assert [words for _, words in drawing.words] == [
        "created",
        "waited on the broker, 5 ms",
        "received",
        "waits in its lane",
    ]
    assert [shape.y for shape in drawing.shapes] == [y for y, _ in drawing.words]
    assert (drawing.ticks[0].after, drawing.ticks[0].clock) == ("0 s", "00:00:00")
    assert (drawing.ticks[1].after, drawing.ticks[1].clock) == ("2 s", "00:00:02")
    assert drawing.ticks[0].x == WORDS_WIDTH
    check(drawing)


def test_of_two_thousand_attempts_the_first_and_the_last_have_rows_and_steps_and_the_others_one_row() -> None:
    happened = [posted(100 + 1_000 * number, "not taken", 20) for number in range(2_000)]
    one = replace(RECEIVED, status="dead", reason="exhausted", attempts=2_000, ended_ms=CREATED_MS + 2_000_000)
    (section,) = sections(story(one, *happened, now_ms=CREATED_MS + 9_000_000))
    check(section.drawing)
    assert len(section.drawing.words) == FIRST_ROWS + 1 + LAST_ROWS
    assert section.drawing.words[FIRST_ROWS][1].endswith(" more")
    assert section.drawing.words[-1][1] == "dead"
    assert len(section.first) + len(section.last) == FIRST_STEPS + LAST_STEPS
    assert section.untold == 2_003 - FIRST_STEPS - LAST_STEPS
    assert (section.first[0].what, section.last[-1].what) == ("created", "dead")


def check(drawing: Drawing) -> None:
    """No shape is negative or outside of the frame, and there are not too many."""
    assert len(drawing.shapes) <= SHAPES_MAX
    assert len(drawing.ticks) <= MARKS_MAX
    for shape in drawing.shapes:
        assert shape.width >= 0
        assert WORDS_WIDTH <= shape.x <= shape.x + shape.width <= WORDS_WIDTH + PLOT_WIDTH + 0.1
        assert 0 < shape.y < drawing.axis_y < drawing.height
    assert all(WORDS_WIDTH <= tick.x <= WORDS_WIDTH + PLOT_WIDTH + 0.1 for tick in drawing.ticks)
    assert drawing.axis_y == ROW_HEIGHT * len(drawing.words)


MOMENTS = st.integers(min_value=-10_000, max_value=90_000_000)
EVENTS = st.one_of(
    st.builds(
        posted,
        MOMENTS,
        st.sampled_from(["accepted", "not taken", "refused", "unknown"]),
        st.integers(min_value=0, max_value=10_000_000),
    ),
    st.builds(lambda after_ms, what: step(after_ms, what, detail="x"), MOMENTS, st.sampled_from(["forwarded", "new"])),
    st.builds(lambda after_ms: step(after_ms, "scheduled", detail=f"until {iso_ms(DUE_MS)}"), MOMENTS),
)


@given(
    st.lists(EVENTS, max_size=60),
    st.sampled_from(["received", "scheduled", "sending", "retrying", "dying", "delivered", "dead", "canceled"]),
    st.one_of(st.none(), MOMENTS),
    MOMENTS,
    MOMENTS,
)
def test_every_shape_is_in_the_frame_and_no_bar_is_negative_whatever_the_clocks_said(
    happened: list[Happened], status: str, due: int | None, ended: int, now: int
) -> None:
    one = replace(
        RECEIVED,
        status=status,
        due_ms=None if due is None else CREATED_MS + due,
        received_ms=CREATED_MS + ended // 2,
        updated_ms=CREATED_MS + ended,
        ended_ms=CREATED_MS + ended,
        next_attempt_ms=CREATED_MS + now,
    )
    for section in sections(story(one, *happened, now_ms=CREATED_MS + now)):
        check(section.drawing)
    told = spans(timeline(one, happened, CREATED_MS + now), one.due_ms, CREATED_MS + now)
    assert all(span.end_ms >= span.from_ms for span in told)


def test_nothing_is_drawn_of_nothing_and_a_moment_is_a_dot() -> None:
    assert spans([], None, NOW_MS) == []
    check(drawn([Span("dead", CREATED_MS, None, "dead", "✕")]))
    assert drawn([]).shapes == []


@pytest.mark.parametrize(
    ("lasts_ms", "marks"),
    [
        (1, ["0 ms", "1 ms"]),
        (41, ["0 ms", "10 ms", "20 ms", "30 ms", "40 ms"]),
        (12_000, ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s"]),
        (100_000, ["0 s", "20 s", "40 s", "60 s", "80 s", "100 s"]),
        (3_600_000, ["0 min", "10 min", "20 min", "30 min", "40 min", "50 min", "60 min"]),
        (86_400_000, ["0 h", "6 h", "12 h", "18 h", "24 h"]),
        (7 * 86_400_000, ["0 d", "2 d", "4 d", "6 d"]),
    ],
)
def test_the_axis_has_marks_at_round_times(lasts_ms: int, marks: list[str]) -> None:
    assert [tick.after for tick in ticks(CREATED_MS, lasts_ms, 600)] == marks


@given(st.integers(min_value=1, max_value=10**11), st.integers(min_value=10**12, max_value=2 * 10**12))
def test_there_are_a_few_marks_whatever_lasts_how_long(lasts_ms: int, begin_ms: int) -> None:
    found = ticks(begin_ms, lasts_ms, 600)
    assert 1 <= len(found) <= MARKS_MAX
    assert all(0 <= tick.x <= 600 for tick in found)
    assert len({tick.after for tick in found}) == len(found)
