"""Lines of a file as intents with stable identities; a bad one is told by its number and stops nothing."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pytest

from signalq.producers.files.marks import FileChanged, Mark, MarkedLines
from signalq.producers.files.reader import (
    LINE_BYTES_MAX,
    BadLine,
    Identities,
    IntentLine,
    bounded_lines,
    read_csv,
    read_jsonl,
)

BUY = b'{"connectorName":"main","action":"buy","percent":12.50}\n'
# The identities of two such lines of the batch `pinned`.
PINNED = ["474a8ca3f5ea3e41b3a10ffa4bbf2020", "96a33df5e9a89ce0fd1a029834593006"]
SELL = b'{"connectorName":"main","action":"sell"}\n'


def jsonl(*lines: bytes, salt: bytes = b"") -> list[IntentLine | BadLine]:
    return list(read_jsonl(lines, identities=Identities(b"source", salt)))


def table(text: str | bytes, **options: Iterable[str]) -> list[IntentLine | BadLine]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_csv(bounded_lines(io.BytesIO(data)), identities=Identities(b"source"), **options))


def good(line: IntentLine | BadLine) -> IntentLine:
    assert isinstance(line, IntentLine), line
    return line


def bad(line: IntentLine | BadLine) -> BadLine:
    assert isinstance(line, BadLine), line
    return line


def test_every_line_is_an_intent_with_its_digits_and_its_number() -> None:
    first, second = map(good, jsonl(BUY, b"\n", SELL))
    assert (first.line, second.line) == (1, 3)
    assert first.intent.to_message() == b'{"connectorName":"main","action":"buy","percent":"12.50"}'


def test_the_same_file_gives_the_same_identities_and_equal_lines_differ() -> None:
    once, again = jsonl(BUY, SELL, BUY), jsonl(BUY, SELL, BUY)
    identities = [good(line).message_id for line in once]
    assert identities == [good(line).message_id for line in again]
    assert len(set(identities)) == 3


def test_an_identity_does_not_depend_on_other_lines_or_on_line_endings() -> None:
    alone, among = jsonl(b"\n", b"\n", BUY), jsonl(SELL, b"nonsense", BUY.replace(b"\n", b"\r\n"))
    assert good(alone[0]).message_id == good(among[2]).message_id


def test_an_equal_line_at_another_place_or_of_another_file_or_batch_is_another_order(tmp_path: Path) -> None:
    files = [tmp_path / "mon.jsonl", tmp_path / "tue.jsonl"]
    sources = [*map(Identities.of_file, files), Identities.of_batch("mon.jsonl"), Identities.of_batch(str(files[0]))]
    made = [source.of(line, BUY.strip()) for source in sources for line in (1, 2)]
    assert len(set(made)) == 8


def test_a_file_is_the_same_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "orders")
    paths = [Path("orders"), tmp_path / "orders", Path("./x/../orders"), Path("link")]
    assert len({Identities.of_file(path).of(1, BUY) for path in paths}) == 1


def test_another_salt_gives_other_identities_and_the_same_again_the_same() -> None:
    lines = [*jsonl(BUY, BUY), *jsonl(BUY, BUY, salt=b"a"), *jsonl(BUY, BUY, salt=b"b")]
    assert len({good(line).message_id for line in lines}) == 6
    assert jsonl(BUY, BUY, salt=b"a") == lines[2:4]


def test_identities_stay_the_same() -> None:
    """A file that was published before an upgrade, and is again after it, must not be ordered twice."""
    lines = read_jsonl([BUY, BUY], identities=Identities.of_batch("pinned"))
    assert [good(line).message_id for line in lines] == PINNED


@pytest.mark.parametrize("skip", range(5))
def test_lines_that_are_skipped_change_nothing_for_those_behind_them(skip: int) -> None:
    lines = [BUY, b"nonsense\n", BUY, SELL, BUY]
    wanted = [line for line in jsonl(*lines) if line.line > skip]
    assert list(read_jsonl(lines, identities=Identities(b"source"), skip_lines=skip)) == wanted
    rows = b'connectorName,action,log\nmain,buy,x\nmain,buy,"a\nb"\nmain,buy,x\nmain,bye,\n'
    below = list(read_csv(bounded_lines(io.BytesIO(rows)), identities=Identities(b"source"), skip_lines=skip))
    # A row that ends behind them is not skipped.
    assert below == [row for row in table(rows) if row.line > skip or (row.line, skip) == (3, 3)]


def marks_of(*lines: bytes, expected: Mark | None = None) -> list[Mark]:
    marked = MarkedLines(lines, expected=expected)
    return [marked.mark() for _ in marked]


def test_a_file_that_is_the_same_up_to_its_mark_may_grow_and_get_its_last_line_ending() -> None:
    mark = marks_of(b"a\n", b"b")[1]
    assert len(marks_of(b"a\n", b"b\r\n", b"c\n", expected=mark)) == 3
    assert len(marks_of(b"a\n", b"b", expected=mark)) == 2


@pytest.mark.parametrize("lines", [[b"A\n", b"b\n", b"c\n"], [b"a\n", b"bb\n", b"c\n"], [b"a\n"], []])
def test_a_file_that_has_changed_before_its_mark_is_refused_before_a_line_behind_it_is_read(lines: list[bytes]) -> None:
    mark = marks_of(b"a\n", b"b\n")[1]
    read: list[bytes] = []
    with pytest.raises(FileChanged, match="the first 2 lines are no longer those"):
        read.extend(MarkedLines(lines, expected=mark))
    assert b"c\n" not in read


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"not json\n", "not JSON"),
        (b"[1]\n", "not an object"),
        (b'{"connectorName":"main"}\n', "action: is missing"),
        (b'{"connectorName":"main","action":"buy","percnt":1}\n', "the nearest is percent"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b'{"log":"' + b"x" * LINE_BYTES_MAX + b'"}\n', "longer than"),
    ],
)
def test_a_bad_line_is_reported_and_the_next_goes_on(line: bytes, problem: str) -> None:
    told, after = jsonl(line, SELL)
    assert problem in bad(told).problem
    assert bad(told).line == 1
    assert good(after).line == 2


def test_a_line_that_grows_beyond_a_message_as_json_is_bad() -> None:
    cell = '""' * 16_000 + "\\" * 32_000  # every quote and every backslash takes two bytes in JSON
    (told,) = table(f'connectorName,action,log\nmain,buy,"{cell}"\n')
    assert "more than 65536 bytes" in bad(told).problem


def test_a_csv_row_is_an_intent_and_an_empty_cell_is_absent() -> None:
    text = "connectorName,action,percent,log,delaySeconds\r\nmain,buy,12.50,,\r\nmain,sell,,bye,1.5\r\n"
    first, second = map(good, table(text))
    assert first.intent.to_message() == b'{"connectorName":"main","action":"buy","percent":"12.50"}'
    assert second.intent.to_message() == b'{"connectorName":"main","action":"sell","log":"bye","delaySeconds":1.5}'


def test_a_quoted_cell_may_hold_commas_and_line_breaks() -> None:
    first, second = map(good, table('connectorName,action,log\nmain,buy,"a, b\nand c"\nmain,sell,\n'))
    assert first.intent.log == "a, b\nand c"
    assert (first.line, second.line) == (2, 4)


def test_a_byte_order_mark_belongs_to_the_file() -> None:
    assert good(table(b"\xef\xbb\xbfconnectorName,action\nmain,buy\n")[0]).line == 2
    lines = list(read_jsonl(bounded_lines(io.BytesIO(b"\xef\xbb\xbf" + BUY)), identities=Identities(b"source")))
    assert good(lines[0]).message_id == good(jsonl(BUY)[0]).message_id


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("connectorName;action", "not a field, the nearest is connectorName"),
        ("connectorName,action,prcent", "the nearest is percent"),
        ("connectorName,action,kQ7vX2mN9pL4", "'(a name of 12 characters, not shown)' is not a field"),
        ("connectorName,percent", "lacks action"),
        ("connectorName,action,action", "action more than once"),
        ("", "lacks connectorName and action"),
    ],
)
def test_with_a_header_that_is_wrong_no_row_is_read(header: str, problem: str) -> None:
    (told,) = table(f"{header}\nmain,buy\n")
    assert problem in bad(told).problem
    assert "no row was read" in bad(told).problem


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"main", "1 cells, the header has 2"),
        (b"main,buy,3", "3 cells, the header has 2"),
        (b'main,"bu"y', "not CSV"),
        (b"main,\xff", "not UTF-8"),
        (b"main,bye", "action: must be one of"),
        (b"," + b"x" * (LINE_BYTES_MAX + 1), "longer than"),
    ],
)
def test_a_bad_row_is_reported_and_the_next_goes_on(row: bytes, problem: str) -> None:
    told, after = table(b"connectorName,action\n" + row + b"\nmain,sell\n")
    assert problem in bad(told).problem
    assert (bad(told).line, good(after).line) == (2, 3)


def test_a_quote_that_is_never_closed_does_not_swallow_a_long_file() -> None:
    rows = "main,buy\n" * 20_000
    lines = table(f'connectorName,action\n"main,buy\n{rows}')
    assert "quote is not closed" in bad(lines[0]).problem
    assert len(lines) > 10_000


def test_the_same_cells_under_another_header_are_another_order() -> None:
    limit, fixed = (good(table(f"connectorName,action,{name}\nmain,buy,5\n")[0]) for name in ("limit", "fixed"))
    assert limit.message_id != fixed.message_id


def test_fields_that_a_connector_lets_through_may_be_columns() -> None:
    (told,) = table("connectorName,action,notional\nmain,buy,5\n", extra_fields=["notional"])
    assert "notional: is not a field" in bad(told).problem  # a column, but not one of this connector


def test_a_line_without_end_is_read_in_bounded_pieces() -> None:
    lines = list(bounded_lines(io.BytesIO(b"x" * (3 * LINE_BYTES_MAX) + b"\n" + BUY)))
    assert [len(line) for line in lines] == [LINE_BYTES_MAX + 1, len(BUY)]
