"""What is shown: escaped, masked, aligned."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import signalq.ops.terminal.escaping
import signalq.ops.terminal.plain
import signalq.ops.terminal.render
from signalq.message.strict_json import JsonNumber
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import ascii_json, plural
from signalq.ops.terminal.render import Column, print_rows, sized
from signalq.secrets.masking import without_tokens
from signalq.times import iso_utc

COLUMNS = [
    Column("id", "ID", is_id=True, least=2),
    Column("connector", "CONNECTOR", least=9),
    Column("tries", "TRIES", right=True),
]
ROWS = [
    {"id": "a1", "connector": "main", "tries": 3},
    {"id": "b2", "connector": "x\x1b[31m\n\u202eevil", "tries": None},
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("zürich 東京", "zürich 東京"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\u202eright to left\u2066", r"\u202eright to left\u2066"),
        ("\x7f\x9b", r"\x7f\x9b"),
        ("\ud800", r"\ud800"),
        ("\u2028\ufeff", r"\u2028\ufeff"),
    ],
)
def test_characters_that_could_move_the_cursor_or_turn_text_round_are_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text())
def test_nothing_escaped_leaves_the_line_it_is_on(text: str) -> None:
    assert escaped(text).isprintable()


def test_tokens_are_masked_however_deep_and_however_spelt() -> None:
    fields = {"connectorToken": "s3cret", "more": [{"ConnectorTOKEN": "s3cret", "fixed": "1"}]}
    assert without_tokens(fields) == {"connectorToken": "***", "more": [{"ConnectorTOKEN": "***", "fixed": "1"}]}


def test_json_is_one_line_of_ascii_that_keeps_text_and_digits(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(COLUMNS, [{**ROWS[1], "fixed": JsonNumber("1.50")}], as_json=True)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert '"fixed":1.50' in out
    assert json.loads(out)["connector"] == ROWS[1]["connector"]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
    )
)
def test_ascii_json_has_the_meaning_of_json(value: dict[str, str]) -> None:
    text = ascii_json(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value


def test_off_a_terminal_a_row_is_one_line_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(COLUMNS, ROWS, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "ID  CONNECTOR              TRIES",
        "a1  main                       3",
        r"b2  x\x1b[31m\n\u202eevil      -",
    ]


@given(st.text(), st.integers(min_value=2, max_value=40))
def test_a_cell_has_exactly_its_columns(text: str, columns: int) -> None:
    assert cell_len(sized(escaped(text), columns)) == columns


def test_times_are_iso_8601_in_utc() -> None:
    assert iso_utc(datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)) == "2026-01-31T12:00:00.123Z"


def test_one_is_not_many() -> None:
    assert [plural(count, "letter") for count in (0, 1, 1200)] == ["0 letters", "1 letter", "1,200 letters"]


def test_no_known_secret_is_in_a_row_of_json_nor_of_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signalq.ops.terminal.escaping, "secrets", known := signalq.ops.terminal.escaping.Secrets())
    monkeypatch.setattr(signalq.ops.terminal.plain, "secrets", known)
    known.learn(['kQ7"vX2mN-9pL4'])
    row = {"id": 'a kQ7"vX2mN-9pL4', "more": [{"connector": 'kQ7"vX2mN-9pL4 b'}], "connector": 'KQ7"VX2MN-9PL4'}
    print_rows(COLUMNS, [row], as_json=True)
    print_rows(COLUMNS, [row], as_json=False)
    written = capsys.readouterr().out
    assert "X2m" not in written
    assert "X2M" not in written
    assert json.loads(written.splitlines()[0]) == {"id": "a ***", "more": [{"connector": "*** b"}], "connector": "***"}
