"""The orders that fit a search as a file, JSON lines or CSV: streamed, a slice of them in memory at a time."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from aiohttp import web

from signalq.consumer.ledger.queries import search
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.ops.console.gate.guard import add_headers
from signalq.ops.console.view import View
from signalq.ops.orders.records import row_of
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import json_line

ROWS_MAX = 100_000
# So many are read and written at a time: nothing else that the process does waits for more.
SLICE_ROWS = 100
# A browser that takes nothing for so long is gone.
WRITE_TIMEOUT_S = 30.0
# The fields of a row, as listings have them.
FIELDS = (
    *("intent_id", "generation", "connector", "strategy", "action", "client_order_id", "status", "reason"),
    *("attempts", "http_status", "created_at", "due_at", "updated_at", "order"),
)
# A spreadsheet takes a cell that begins so for a formula, the four signs in their full width as well:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile("\\s*[-=+@\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the file: the end of its name, its type, how it begins, and how rows are written."""

    ending: str
    content_type: str
    head: bytes
    lines: Callable[[Sequence[Recorded]], bytes]


async def download(view: View, wanted: Filter, form: Form) -> web.StreamResponse:
    """Give the newest ROWS_MAX orders that fit, however far back they are.

    An error once it has begun ends the connection before the file ends: nobody takes that part of it for the whole.
    """
    looked = await _look(view, wanted, ROWS_MAX)
    headers = {"Content-Disposition": f'attachment; filename="orders.{form.ending}"'}
    response = web.StreamResponse(headers={"Content-Type": f"{form.content_type}; charset=utf-8", **headers})
    add_headers(view.request, response, view.settings)
    await response.prepare(view.request)
    await _write(response, form.head)
    left = ROWS_MAX
    while True:
        await _write(response, form.lines(looked.found))
        left -= len(looked.found)
        if looked.older is None or not left:
            break
        looked = await _look(view, replace(wanted, before=looked.older), left)
    await response.write_eof()
    return response


async def _write(response: web.StreamResponse, lines: bytes) -> None:
    """Write it, as fast as it is taken. Raises ConnectionResetError where it is not."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(lines)
    except TimeoutError:
        raise ConnectionResetError(f"the browser takes nothing for {WRITE_TIMEOUT_S:g} s") from None


async def _look(view: View, wanted: Filter, rows_max: int) -> search.Looked:
    return await view.desk.ledger.read(partial(search.look, wanted=wanted, rows_max=min(SLICE_ROWS, rows_max)))


def json_lines(found: Sequence[Recorded]) -> bytes:
    """A line of JSON for each."""
    return "".join(f"{json_line(row_of(one))}\n" for one in found).encode()


def csv_lines(found: Sequence[Recorded]) -> bytes:
    """A line of CSV for each (RFC 4180)."""
    rows = [row_of(one) for one in found]
    return _csv([_cell(row[name]) for name in FIELDS] for row in rows)


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    """A value as a cell: foreign text escaped as on a terminal, and no cell a formula."""
    if value is None:
        return ""
    text = escaped(json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value))
    return f"'{text}" if _FORMULA.match(text) else text


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "jsonl": Form("jsonl", "application/x-ndjson", b"", json_lines),
        # Spreadsheets know UTF-8 by the mark at its beginning alone.
        "csv": Form("csv", "text/csv", b"\xef\xbb\xbf" + _csv([FIELDS]), csv_lines),
    }
)
