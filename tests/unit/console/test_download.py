"""Orders as a file: the fields of the contract, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from signalq.ops.console.download import FIELDS, FORMS, csv_lines, json_lines
from signalq.ops.orders.records import row_of
from tests.unit.ops.test_timeline import RECEIVED

FULL_WIDTH = "\uff1d\uff0b\uff0d\uff20"


def cells(**facts: object) -> dict[str, str]:
    """The cells of an order with these facts, by name."""
    lines = FORMS["csv"].head + csv_lines([replace(RECEIVED, **facts)])  # type: ignore[arg-type]
    (row,) = csv.DictReader(io.StringIO(lines.decode("utf-8-sig"), newline=""))
    return row


def test_the_columns_are_the_fields_of_a_row() -> None:
    assert list(FIELDS) == list(row_of(RECEIVED))
    assert list(cells()) == list(FIELDS)


def test_the_lines_of_json_are_the_rows_of_the_command() -> None:
    lines = json_lines([RECEIVED, replace(RECEIVED, intent_id='"\n\u202e', order_fields='{"percent":"50"}')])
    first, second = map(json.loads, lines.decode("ascii").splitlines())
    assert first == row_of(RECEIVED)
    assert (second["intent_id"], second["order"]["percent"]) == ('"\n\u202e', "50")


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "  =1",
        "\t=1",
        "\r\n=1",
        *(f"{sign}1" for sign in FULL_WIDTH),
        "=cmd|' /C calc'!A0",
    ],
)
def test_no_foreign_text_is_a_formula(text: str) -> None:
    row = cells(intent_id=text, connector=text, strategy=text, client_order_id=text, action=text)
    for name in ("intent_id", "connector", "strategy", "client_order_id", "action"):
        assert not row[name].lstrip().startswith(("=", "+", "-", "@", *FULL_WIDTH)), name
        assert text.strip()[-1] == row[name][-1]


def test_a_cell_holds_a_line_break_or_a_quote_as_text() -> None:
    row = cells(intent_id='a\n"b",c', order_fields='{"log":"x,\\"y\\""}')
    assert row["intent_id"] == 'a\\n"b",c'
    assert json.loads(row["order"])["log"] == 'x,"y"'
    assert (row["client_order_id"], row["due_at"], row["attempts"]) == ("", "", "0")
