"""The view of an intent and its timeline: aligned on a terminal, one line an entry elsewhere."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from signalq.ops.orders.records import TimelineEntry
from signalq.ops.terminal.layout import GAP
from signalq.ops.terminal.order_columns import STATUS_STYLES, order_text
from signalq.ops.terminal.render import console, shown, sized

NAME_COLUMNS = 18
BESIDE_THE_WORDS = ("log", "delaySeconds", "delaySecondsFilter")
ENTRY_STYLES = STATUS_STYLES | {"accepted": "green", "refused": "red", "unknown": "red", "not taken": "yellow"}
SAID_BY = {
    "signalq-created-ms": "says its producer (signalq-created-ms)",
    "timestamp_in_ms": "says the broker (timestamp_in_ms)",
    "timestamp": "says its producer, in whole seconds (timestamp)",
    "first receipt": "no time was given, so its first receipt counts",
}
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000


def print_order(order: Mapping[str, object], *, is_first: bool) -> None:
    """Show one intent: its row, and its timeline with the time from each entry to the next."""
    out = console()
    if not is_first:
        out.print()
    out.print(Text("Order", style="bold"))
    for name, value in _facts(order):
        style = STATUS_STYLES.get(str(value), "") if name == "status" else ""
        out.print(Text.assemble("  ", (name.ljust(NAME_COLUMNS), "dim"), "  ", (shown(value), style)))
    out.print(Text("Timeline", style="bold"))
    lines = list(_lines(order["timeline"]))  # type: ignore[arg-type]
    if out.is_terminal:
        out.print(_table(lines), soft_wrap=False)
    else:
        _print_plain(lines)


def _facts(order: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The names and values of the row: of the order its words, and the fields that these leave out."""
    for name, value in order.items():
        if name == "order" and isinstance(value, Mapping):
            yield name, order_text(order)
            yield from ((field, value[field]) for field in BESIDE_THE_WORDS if field in value)
        elif name != "timeline":
            yield name, value


def lasted(duration_ms: int) -> str:
    """A duration as `12 ms`, `3.250 s`, `4 min 5 s`, `2 h 3 min` or `7 d 1 h`; negative if two clocks disagree."""
    sign, ms = ("-", -duration_ms) if duration_ms < 0 else ("", duration_ms)
    if ms < SECOND_MS:
        return f"{sign}{ms} ms"
    if ms < MINUTE_MS:
        return f"{sign}{ms / SECOND_MS:.3f} s"
    if ms < HOUR_MS:
        return f"{sign}{ms // MINUTE_MS} min {ms % MINUTE_MS // SECOND_MS} s"
    if ms < DAY_MS:
        return f"{sign}{ms // HOUR_MS} h {ms % HOUR_MS // MINUTE_MS} min"
    return f"{sign}{ms // DAY_MS} d {ms % DAY_MS // HOUR_MS} h"


def says(entry: TimelineEntry) -> str:
    """The further facts of an entry, as one line of safe text."""
    return ", ".join(part for part in _parts(entry) if part)


def _parts(entry: TimelineEntry) -> Iterator[str]:
    if "said_by" in entry:
        yield SAID_BY.get(str(entry["said_by"]), shown(entry["said_by"]))
    if "user" in entry:
        yield f"published by the user {shown(entry['user'])}"
    if entry["what"] == "replayed":
        yield f"generation {entry['generation']}"
    if "certainty" in entry:
        yield from _outcome(entry)
    elif entry.get("reason") is not None:
        yield f"{shown(entry['reason'])}: {shown(entry.get('detail'))}"
    elif entry.get("detail") is not None:
        yield shown(entry["detail"])


def _outcome(entry: TimelineEntry) -> Iterator[str]:
    answer = f"HTTP {entry['http_status']}" if entry["http_status"] is not None else ""
    duration_ms = entry["duration_ms"]
    yield shown(entry["certainty"])
    yield answer
    yield lasted(duration_ms) if isinstance(duration_ms, int) else ""
    # With an answer, the detail begins with it.
    yield shown(entry["detail"]).removeprefix(answer).strip()
    if "answer" in entry:
        yield f"it said: {shown(entry['answer'])}"


def _lines(entries: Sequence[TimelineEntry]) -> Iterator[tuple[str, str, Text, str]]:
    """The cells of each entry: its time, the time since the entry before, its event, its facts."""
    before: datetime | None = None
    for entry in entries:
        at = datetime.fromisoformat(str(entry["at"]))
        since = "" if before is None else lasted(round((at - before).total_seconds() * 1000))
        before = at
        number = f" {entry['attempt']}" if "attempt" in entry else ""
        style = ENTRY_STYLES.get(str(entry.get("certainty") or entry["what"]), "")
        what = Text(shown(entry["what"]) + number, style=style)
        yield str(entry["at"]), since if since.startswith("-") or not since else f"+{since}", what, says(entry)


def _table(lines: Sequence[tuple[str, str, Text, str]]) -> Table:
    """A table in which long facts continue on the next line."""
    table = Table.grid(padding=(0, len(GAP)), pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column()
    for at, since, what, more in lines:
        table.add_row(Text(f"  {at}"), Text(since), what, Text(more))
    return table


def _print_plain(lines: Sequence[tuple[str, str, Text, str]]) -> None:
    """Write the lines uncut and unwrapped, for grep and less."""
    since_columns = max(len(since) for _, since, _, _ in lines)
    what_columns = max(len(what) for _, _, what, _ in lines)
    for at, since, what, more in lines:
        cells = [at, sized(since, since_columns, right=True), sized(what.plain, what_columns), more]
        sys.stdout.write(f"  {GAP.join(cells)}".rstrip() + "\n")
