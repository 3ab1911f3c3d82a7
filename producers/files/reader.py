"""The lines of a file: each an intent with an identity, or a problem with its line. Pure: no broker, no clock."""

import csv
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from signalq.errors import InvalidIntent, Problem
from signalq.message.intent import FIELD_NAMES, OrderIntent, intent_from_fields
from signalq.message.near_names import nearest_name
from signalq.message.strict_json import BODY_BYTES_MAX, parse_object
from signalq.secrets.masking import shown_name

IDENTITY_CHARACTERS = 32
# An intent has at most BODY_BYTES_MAX bytes; the line that holds it gets a little more for its line ending.
LINE_BYTES_MAX = BODY_BYTES_MAX + 2
_SKIPPED_BYTES = 65_536
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MANDATORY = ("connectorName", "action")

MakeIntent = Callable[[Mapping[str, object]], OrderIntent]
"""Makes an intent from JSON fields; raises InvalidIntent."""


@dataclass(frozen=True, slots=True)
class IntentLine:
    """An intent, the line it came from (counted from 1) and its identity."""

    line: int
    message_id: str
    intent: OrderIntent


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no intent, and the problem; no value is quoted."""

    line: int
    problem: str


class Identities:
    """A stable identity for each line of a source (a file or a batch); with another `salt` the lines are new orders.

    An identity is a hash of the source, of the line's number and of its bytes. So the consumer drops a file that is
    published again as duplicates; an equal line of another file, or at another place of this one, is another order.
    """

    def __init__(self, source: bytes, salt: bytes = b"") -> None:
        self._source = hashlib.sha256(source).digest() + hashlib.sha256(salt).digest()

    @classmethod
    def of_file(cls, file: Path, salt: bytes = b"") -> Self:
        """The identities of a file, by its absolute path: links are followed, so all its names give the same."""
        return cls(b"file\0" + os.fsencode(file.resolve()), salt)

    @classmethod
    def of_batch(cls, name: str, salt: bytes = b"") -> Self:
        """The identities of a batch, by the name that its publisher gave it, wherever its lines come from."""
        return cls(b"batch\0" + name.encode(), salt)

    def of(self, line: int, content: bytes) -> str:
        """The identity of the line with this number and this content."""
        return hashlib.sha256(self._source + str(line).encode() + b"\0" + content).hexdigest()[:IDENTITY_CHARACTERS]


def bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a stream; a line longer than LINE_BYTES_MAX is cut to LINE_BYTES_MAX + 1 bytes.

    A byte-order mark at the beginning of the stream is taken off: it belongs to the file, not to its first line.
    """
    first = True
    while line := stream.readline(LINE_BYTES_MAX + 1):
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(_SKIPPED_BYTES)):
            pass
        yield line.removeprefix(_BYTE_ORDER_MARK) if first else line
        first = False


def read_jsonl(
    lines: Iterable[bytes],
    *,
    identities: Identities,
    make_intent: MakeIntent = intent_from_fields,
    skip_lines: int = 0,
) -> Iterator[IntentLine | BadLine]:
    """An intent or a problem for every line that is not blank, behind the first `skip_lines`."""
    for number, line in enumerate(lines, start=1):
        content = line.strip(b" \t\r\n")
        if not content or number <= skip_lines:
            continue
        try:
            _check_length(line)
            intent = make_intent(parse_object(content))
            _check_message(intent)
        except InvalidIntent as error:
            yield BadLine(number, str(error))
        else:
            yield IntentLine(number, identities.of(number, content), intent)


def read_csv(
    lines: Iterable[bytes],
    *,
    identities: Identities,
    make_intent: MakeIntent = intent_from_fields,
    extra_fields: Collection[str] = (),
    skip_lines: int = 0,
) -> Iterator[IntentLine | BadLine]:
    """An intent or a problem for every row below the header, which names the fields; an empty cell means absent.

    `extra_fields` may be columns, too. A header that can't be used is the only problem, and no row is read. Rows that
    end among the first `skip_lines` are passed over.
    """
    records = _Records(lines)
    header: list[str] = []
    for row in records:
        if header and records.last_line <= skip_lines:
            continue
        if isinstance(row, InvalidIntent):
            yield BadLine(records.line, str(row))
            if not header:
                return
        elif not header:
            if problem := _header_problem(row, [*FIELD_NAMES, *extra_fields]):
                yield BadLine(records.line, f"{problem}; no row was read")
                return
            header, header_content = row, records.content
        elif row:
            # The header is part of the content: the same cells under other names are another order.
            content = header_content + b"\n" + records.content
            yield _row_line(records.line, header, row, content, identities, make_intent)


def _row_line(
    number: int, header: list[str], row: list[str], content: bytes, identities: Identities, make_intent: MakeIntent
) -> IntentLine | BadLine:
    try:
        intent = make_intent(_fields(header, row))
        _check_message(intent)
    except InvalidIntent as error:
        return BadLine(number, str(error))
    return IntentLine(number, identities.of(number, content), intent)


class _Records:
    """The rows of a CSV file, with their first and last lines; bytes that are no row become an InvalidIntent."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.line = 0
        self.last_line = 0
        self.content = b""

    def __iter__(self) -> Iterator[list[str] | InvalidIntent]:
        rows = csv.reader(self._decoded(), strict=True)
        while True:
            self.line, self.content = self.last_line + 1, b""
            try:
                yield next(rows)
            except StopIteration:
                return
            except InvalidIntent as error:
                yield error
                rows = csv.reader(self._decoded(), strict=True)
            except csv.Error as error:
                yield InvalidIntent([Problem(None, f"the row is not CSV ({error})")])

    def _decoded(self) -> Iterator[str]:
        for line in self._lines:
            self.last_line += 1
            self.content += line.rstrip(b"\r\n") if not self.content else b"\n" + line.rstrip(b"\r\n")
            # Checked for each line: after a quote that is never closed, the rest of the file would be one cell.
            _check_length(self.content)
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidIntent([Problem(None, f"the row is not UTF-8 (byte {error.start})")]) from None


def _header_problem(header: list[str], known: list[str]) -> str | None:
    for name in header:
        if name not in known:
            return f"the header's {shown_name(name)!r} is not a field, the nearest is {nearest_name(name, known)}"
        if header.count(name) > 1:
            return f"the header has {name} more than once"
    missing = [name for name in _MANDATORY if name not in header]
    return f"the header lacks {' and '.join(missing)}" if missing else None


def _fields(header: list[str], row: list[str]) -> dict[str, object]:
    if len(row) != len(header):
        raise InvalidIntent([Problem(None, f"the row has {len(row)} cells, the header has {len(header)}")])
    return {name: cell for name, cell in zip(header, row, strict=True) if cell}


def _check_length(line: bytes) -> None:
    if len(line) > LINE_BYTES_MAX:
        raise InvalidIntent([Problem(None, f"is longer than {LINE_BYTES_MAX} bytes, or a quote is not closed")])


def _check_message(intent: OrderIntent) -> None:
    """Check the intent's length as JSON, which may be longer than its line: the consumer refuses longer messages."""
    if len(intent.to_message()) > BODY_BYTES_MAX:
        raise InvalidIntent([Problem(None, f"the message would have more than {BODY_BYTES_MAX} bytes")])
