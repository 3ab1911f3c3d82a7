"""Tables on a terminal: one line a row, as many columns as there is room for, ids that can be pasted (contract 5)."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import signalq.ops.terminal.render
from signalq.ops.commands import lanes, scheduled, topology
from signalq.ops.dead_letters import report
from signalq.ops.ledger import may_mean
from signalq.ops.terminal.layout import GAP, ID_CHARACTERS_MIN, Measure, characters_apart, fitted, short_ids
from signalq.ops.terminal.listing import View
from signalq.ops.terminal.moments import ago, clock_time, time_or_day
from signalq.ops.terminal.order_columns import ORDER_COLUMNS, order_text
from signalq.ops.terminal.plain import Row
from signalq.ops.terminal.render import CELL_CHARACTERS_MAX, Column, cut_name, print_rows
from signalq.ops.terminal.spool import Spool

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
PRESENT = datetime.now(UTC)  # a table of today's orders shows times, one of another day's their dates
ORDER = {"connectorName": "futures-main", "action": "openLong", "percent": "50", "limit": "65000.5", "loss": "60000"}
FULL = {
    "intent_id": "3b61a24e3b6743658da38126d25cb526",
    "generation": 1,
    "connector": "futures-main-account-1",
    "strategy": "momentum-15m",
    "action": "openLong",
    "client_order_id": "long-2026-11-30-0001",
    "status": "dead",
    "reason": "outcome-unknown",
    "attempts": 8,
    "http_status": 503,
    "order": ORDER,
    "created_at": (PRESENT + timedelta(minutes=-1)).isoformat(),
    "due_at": (PRESENT + timedelta(minutes=30)).isoformat(),
    "updated_at": (PRESENT + timedelta(seconds=-30)).isoformat(),
    "dead_at": (PRESENT + timedelta(seconds=-30)).isoformat(),
    "remaining_s": 1800.5,
    "detail": "an attempt went out and its outcome is not known: look on the platform",
    "result": "refused",
    "why": "it is not known whether the webhook took it",
    "queue": "signalq.orders.futures-main-account-1",
    "state": "close-only",
    "ready": 12_000,
    "unacked": 1_000,
    "active_consumer": "trading-host-7.example 12345",
}
LISTINGS: dict[str, Sequence[Column]] = {
    "orders list": ORDER_COLUMNS,
    "scheduled list": scheduled.COLUMNS,
    "dead list": report.COLUMNS,
    "lanes list": lanes.COLUMNS,
}
ALL_TABLES = LISTINGS | {
    "dead replay": report.RESULT_COLUMNS,
    "scheduled cancel": [scheduled.RESULT, *scheduled.COLUMNS],
    "topology show": topology.COLUMNS,
}


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], rows: Sequence[Row], width: int
) -> list[str]:
    """The lines of a table on a terminal of this width."""
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=width, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(signalq.ops.terminal.render, "console", lambda: terminal)
    print_rows(columns, rows, as_json=False)
    text = out.getvalue().replace("\x1b[1;2m", "").replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("columns", ALL_TABLES.values(), ids=ALL_TABLES)
def test_a_row_is_one_line_that_fits(monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], width: int) -> None:
    rows = [FULL, dict.fromkeys(FULL), FULL | {"connector": "我的機器人" * 9, "intent_id": "x" * 255}]
    lines = on_terminal(monkeypatch, columns, rows, width)
    assert len(lines) == 1 + len(rows)
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("columns", LISTINGS.values(), ids=LISTINGS)
def test_at_140_columns_a_terminal_shows_every_column_that_a_pipe_shows(
    monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], capsys: pytest.CaptureFixture[str]
) -> None:
    print_rows(columns, [FULL], as_json=False)
    piped = capsys.readouterr().out.splitlines()[0]
    assert piped.split() == [word for column in columns for word in column.title.split()]
    wide = on_terminal(monkeypatch, columns, [FULL], 140)[0].split()
    assert wide == [word for word in piped.split() if word != "AT"]


def test_at_80_columns_two_orders_differ_by_their_size_and_price_and_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [FULL | {"order": {"action": "openLong", "percent": size, "limit": "65000"}} for size in ("25", "50")]
    alt = FULL | {"connector": "futures-alternative-2"}
    delivered = FULL | {"status": "delivered", "reason": None}
    head, first, second, other, good = on_terminal(monkeypatch, ORDER_COLUMNS, [*rows, alt, delivered], 80)
    assert head.split() == ["CREATED", "INTENT", "STATUS", "CONNECTOR", "ORDER"]
    assert "openLong 25 % limit 65000" in first
    assert "openLong 50 % limit 65000" in second
    assert first.split()[2] == "outcome-unknown", "the reason stands for the status that it explains"
    assert good.split()[2] == "delivered"
    assert first.split()[3] != other.split()[3], "names are cut in their middles"


def test_in_a_pipe_everything_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ORDER_COLUMNS, [FULL], as_json=False)
    line = capsys.readouterr().out.splitlines()[1]
    for part in (FULL["intent_id"], FULL["connector"], FULL["client_order_id"], FULL["created_at"], FULL["due_at"]):
        assert str(part) in line
    assert "openLong 50 % limit 65000.5 loss 60000" in line


def test_no_color_leaves_the_colours_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=80, highlight=False, soft_wrap=True)
    monkeypatch.setattr(signalq.ops.terminal.render, "console", lambda: terminal)
    print_rows(ORDER_COLUMNS, [FULL], as_json=False)
    assert "\x1b[3" not in out.getvalue()


def test_thousands_of_rows_have_one_head_and_the_same_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [FULL | {"intent_id": f"{number:032x}"} for number in range(1_001)]
    lines = on_terminal(monkeypatch, ORDER_COLUMNS, rows, 80)
    assert len(lines) == 1 + len(rows)
    assert len({line.index("openLong") for line in lines[1:]}) == 1


def test_foreign_text_in_the_place_of_a_time_is_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, line) = on_terminal(monkeypatch, report.COLUMNS, [FULL | {"dead_at": "\x1b[31mnever"}], 140)
    assert r"\x1b[31mnever" in line


sizes = st.integers(1, 60)


@given(st.lists(st.tuples(sizes, sizes, sizes, st.integers(0, 9)), min_size=1), st.integers(1, 200))
def test_columns_fit_where_they_can_and_none_is_cut_below_its_least(columns: Any, room: int) -> None:
    measures = [Measure(width, least, max(least, ample), rank) for width, least, ample, rank in columns]
    widths = fitted(measures, room)
    there = [(one, width) for one, width in zip(measures, widths, strict=True) if width]
    assert all(min(one.width, one.least) <= width <= one.width for one, width in there)
    assert all(width for one, width in zip(measures, widths, strict=True) if not one.rank)
    total = sum(width for _, width in there) + len(GAP) * (len(there) - 1)
    if total > room:
        assert all(not one.rank and width == min(one.width, one.least) for one, width in there)
    left_out = [one.rank for one, width in zip(measures, widths, strict=True) if not width]
    assert not left_out or min(left_out) >= max((one.rank for one, _ in there), default=0)


@given(st.lists(st.text("ab0", min_size=1, max_size=12), min_size=1, unique=True))
def test_ids_are_cut_to_what_tells_them_apart(ids: list[str]) -> None:
    length = characters_apart(ids)
    assert length >= ID_CHARACTERS_MIN
    assert len({one[:length] for one in ids}) == len(ids)
    if length > ID_CHARACTERS_MIN:
        assert len({one[: length - 1] for one in ids}) < len(ids)


@given(st.lists(st.text("ab0", min_size=1, max_size=40), min_size=1, unique=True), st.text("ab0", max_size=30))
def test_a_short_id_is_of_one_id_of_its_table_alone_however_alike_they_begin(ids: list[str], begins: str) -> None:
    known = [begins + one for one in ids]
    shorten = short_ids(known)
    assert len(set(map(shorten, known))) == len(known)
    assert all(may_mean(shorten(one), one) for one in known)
    cut = [one for one in known if shorten(one) != one]
    assert all([may for may in known if may_mean(shorten(one), may)] == [one] for one in cut if len(one) > 40)


def test_at_80_columns_ids_that_begin_alike_differ_and_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"momentum-btcusdt-20261130-{number:04}" for number in range(1, 30)]
    rows = [FULL | {"intent_id": one} for one in ids]
    shown = [line.split()[1] for line in on_terminal(monkeypatch, ORDER_COLUMNS, rows, 80)[1:]]
    assert [[one for one in ids if may_mean(short, one)] for short in shown] == [[one] for one in ids]
    assert max(map(len, shown)) <= 16
    random = [FULL | {"intent_id": f"{number:x}" * 32} for number in range(9)]
    assert {len(line.split()[1]) for line in on_terminal(monkeypatch, ORDER_COLUMNS, random, 80)[1:]} == {8}


@given(st.text(), st.integers(1, 60))
def test_a_name_is_cut_to_its_room_and_keeps_both_ends(text: str, columns: int) -> None:
    cut = cut_name(text, columns)
    assert cell_len(cut) <= columns
    if cut != text:
        splits = [(cut[:at].rstrip(), cut[at + 1 :]) for at, sign in enumerate(cut) if sign == "…"]
        assert any(text.startswith(beginning) and text.endswith(end) for beginning, end in splits)


HUGE = "我" * 300_000


@pytest.mark.parametrize("columns", LISTINGS.values(), ids=LISTINGS)
def test_a_foreign_text_of_a_mebibyte_makes_no_table_as_wide_as_that(
    monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {name: HUGE for name, value in FULL.items() if isinstance(value, str)}
    row = FULL | texts | {"order": {"action": HUGE, "limit": HUGE}}
    print_rows(columns, [row], as_json=False)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= len(columns) * (2 * CELL_CHARACTERS_MAX + len(GAP))
    (_, line) = on_terminal(monkeypatch, columns, [row], 80)
    assert cell_len(line) <= 80


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-11-30"])
def test_a_time_that_no_zone_has_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    (_, line) = on_terminal(monkeypatch, report.COLUMNS, [FULL | {"dead_at": at}], 140)
    assert line


def test_rows_on_disk_are_sorted_without_being_read_into_memory_those_without_a_value_last() -> None:
    columns = {column.key: column for column in ORDER_COLUMNS}
    given = [{"intent_id": f"{number:04}", "attempts": (number * 7) % 50 or None} for number in range(1_000)]
    with Spool() as rows:
        for row in given:
            rows.add(row | {"filler": "x" * 2_000})
        for descending in (False, True):
            view = View(ORDER_COLUMNS, as_json=True, sort=columns["attempts"], descending=descending)
            found = view.sorted(rows)
            assert not isinstance(found, list)
            expected = [row["intent_id"] for row in view.sorted(given)]
            assert [row["intent_id"] for row in found] == [row["intent_id"] for row in found] == expected
            attempts = [row["attempts"] for row in found]
            known = [one for one in attempts if one is not None]
            assert attempts == [*sorted(known, reverse=descending), *[None] * 20]
        assert [row["intent_id"] for row in rows] == [row["intent_id"] for row in given]
        rows.add({"intent_id": "more"})
        assert len(list(rows)) == len(rows) == 1_001


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"action": "openLong", "percent": "50", "limit": "65000"}, "openLong 50 % limit 65000"),
        ({"action": "buy", "fixed": "0.10", "percent": "50"}, "buy 0.10"),
        ({"action": "openShort", "fixed": "1", "profit": "2", "loss": "3"}, "openShort 1 profit 2 loss 3"),
        ({"action": "cancel", "clientOrderId": "Long Entry"}, "cancel Long Entry"),
        ({"action": "cancelAll"}, "cancelAll"),
        ({"connectorName": "main"}, "?"),
        ({"action": "buy", "fixed": "1", "limit": None}, "buy 1 limit null"),
        (None, "sell"),
    ],
)
def test_an_order_is_told_in_words(order: Any, words: str) -> None:
    assert order_text({"action": "sell", "order": order}) == words


def test_times_are_short_and_local(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ.get("TZ") is None
    today, earlier, last_year = (NOW - timedelta(seconds=5), NOW - timedelta(days=3), NOW - timedelta(days=300))
    assert time_or_day(today.isoformat(), NOW) == f"{today.astimezone():%H:%M:%S}"
    assert (time_or_day(earlier.isoformat(), NOW), time_or_day(last_year.isoformat(), NOW)) == ("Nov 27", "Feb 3")
    assert time_or_day("2025-11-30T12:00:00Z", NOW) == "Nov 2025"
    new_year = datetime(2027, 1, 1, 0, 30).astimezone()
    before = new_year - timedelta(hours=1)
    assert time_or_day(before.isoformat(), new_year) == "23:30:00", "midnight was in between, and it is no other time"
    assert clock_time(before.isoformat(), new_year) == "Dec 31 23:30"
    assert time_or_day((new_year - timedelta(days=1)).isoformat(), new_year) == "Dec 31", "not all of Dec 2026"
    assert time_or_day((new_year + timedelta(days=2)).isoformat(), new_year) == "Jan 3"
    assert clock_time(earlier.isoformat(), NOW) == f"Nov 27 {earlier.astimezone():%H:%M}"
    lengths = {0: "now", 5: "5s ago", -5: "in 5s", 600: "10m ago", -36_000: "in 10h", 864_000: "10d ago"}
    for seconds, told in lengths.items():
        assert ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == told
